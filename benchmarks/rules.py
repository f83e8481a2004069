"""`python -m benchmarks.rules`: judging with 50 live rules, beside each rule alone and the same conditions in Python.

CPU time of one judgement, all in one run, over the same payments; what the ways find is compared before anything is
timed. Then what a million entries of lists take, and what a look-up costs.
"""

import argparse
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import CodeType

from cel_expr_python import cel

from switch.domain.risk import FactValue, Listing, ListKind, Mode, Subject
from switch.risk.evaluation import Alone, Guarded
from switch.risk.facts import BY_NAME, FACTS, FactType
from switch.risk.lists import Lists
from switch.risk.rules import RuleSet
from switch.risk.starter import starter_document

LIVE_RULES = 50
BATCH = 64
NOW_MS = 1_800_000_000_000
_TYPES = {
    FactType.INT: cel.Type.INT,
    FactType.BOOL: cel.Type.BOOL,
    FactType.TEXT: cel.Type.STRING,
    FactType.TEXTS: cel.Type.List(cel.Type.STRING),
}

Facts = Mapping[str, FactValue]


@dataclass(frozen=True)
class Figures:
    """cpu_us: of one judgement, by way. least is the best of the rounds."""

    rules: int
    facts: int
    compile_ms: float
    cpu_us: dict[str, float]
    fired: float
    entries: int
    entry_bytes: float
    standing_us: float


def live_rules() -> RuleSet:
    """The first 50 of the starter set, limits and model included."""
    return RuleSet([each for each in starter_document().all_rules() if each.mode is Mode.LIVE][:LIVE_RULES])


def payments(count: int, random: Random) -> list[dict[str, FactValue]]:
    """Nine in ten subjects are known; counts are small, times long, as of honest payers: few rules fire."""
    made = []
    for _ in range(count):
        facts: dict[str, FactValue] = {
            each.name: random.random() < 0.9 if each.name.endswith("_known") else random.random() < 0.02
            for each in FACTS
            if each.type is FactType.BOOL
        }
        for each in FACTS:
            if each.name in facts or not all(facts[need] for need in each.needs):
                continue
            if each.type is FactType.INT:
                facts[each.name] = _number(each.name, random)
            elif each.type is FactType.TEXT:
                facts[each.name] = random.choice(("nfc", "CNY", "5411", "sale"))
            else:
                facts[each.name] = []
        facts["amount_minor"] = int(random.expovariate(1 / 8_000)) + 1
        made.append({name: value for name, value in facts.items() if _there(name, facts)})
    return made


def _number(name: str, random: Random) -> int:
    if name == "hour":
        return random.randrange(24)
    if name.endswith("_minutes"):
        return int(random.expovariate(1 / 50_000))
    return int(random.expovariate(1 / 5_000 if "_sum_" in name else 1.5))


def _there(name: str, facts: Facts) -> bool:
    return all(facts[need] for need in BY_NAME[name].needs)


# --- the other ways ---------------------------------------------------------------------------------------------------


def one_by_one(rules: RuleSet) -> Callable[[Facts], list[bool]]:
    alone: list[Alone] = [each.alone for each in rules.compiled]
    return lambda facts: [each.holds(facts) is True for each in alone]


def by_variables(rules: RuleSet) -> Callable[[Facts], list[bool]]:
    """One expression as here, but each fact a variable of its own."""
    names = rules.reads
    environment = cel.NewEnv(variables={name: _TYPES[BY_NAME[name].type] for name in names})
    same = {name: name for name in names}
    sources = [_guarded(rules, at).source(same) for at in range(len(rules.compiled))]
    expression = environment.compile(f"[{', '.join(sources)}]")

    def hold(facts: Facts) -> list[bool]:
        found: list[bool] = expression.eval(data={name: facts[name] for name in names if name in facts}).plain_value()
        return found

    return hold


def in_python(rules: RuleSet) -> Callable[[Facts], list[bool]]:
    """As an interpreter of one's own could do at best: each condition compiled to Python's bytecode, with its guard."""
    same = {name: name for name in rules.reads}
    codes: list[CodeType] = []
    for at in range(len(rules.compiled)):
        text = _guarded(rules, at).source(same).replace("\n", " ")
        text = re.sub(r"!(?!=)", " not ", text).replace("&&", " and ").replace("||", " or ").replace("/", "//")
        codes.append(compile(re.sub(r"\btrue\b", "True", text), f"rule {at}", "eval"))
    nothing: dict[str, object] = {"__builtins__": {}}
    return lambda facts: [bool(eval(code, nothing, facts)) for code in codes]  # noqa: S307


def _guarded(rules: RuleSet, at: int) -> Guarded:
    each = rules.compiled[at]
    return Guarded(each.condition, each.rule.limit_minor if each.rule.limit_minor else None)


# --- measuring --------------------------------------------------------------------------------------------------------


def cpu_us(call: Callable[[Facts], object], paid: Sequence[Facts], rounds: int) -> float:
    """Of one payment, in batches of 64; the best batch of all."""
    best_ns = float("inf")
    for _ in range(rounds):
        for at in range(0, len(paid) - BATCH + 1, BATCH):
            batch = paid[at : at + BATCH]
            started_ns = time.process_time_ns()
            for facts in batch:
                call(facts)
            best_ns = min(best_ns, time.process_time_ns() - started_ns)
    return best_ns / BATCH / 1000


def list_figures(count: int, rounds: int, random: Random) -> tuple[float, float]:
    """(bytes an entry, CPU µs of a standing of four subjects)."""
    keys = [random.randbytes(16).hex() for _ in range(count)]
    subjects = list(Subject)
    tracemalloc.start()
    held = Lists(
        Listing(ListKind.WATCH, "watched", subjects[at % len(subjects)], key, "bench", "bench", NOW_MS + at)
        for at, key in enumerate(keys)
    )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    asked = [{each: random.choice(keys) for each in subjects[:4]} for _ in range(BATCH)]
    best_ns = float("inf")
    for _ in range(rounds):
        started_ns = time.process_time_ns()
        for each in asked:
            held.standing(each, NOW_MS)
        best_ns = min(best_ns, time.process_time_ns() - started_ns)
    return size / count, best_ns / BATCH / 1000


def run(count: int, rounds: int, entries: int, seed: int = 1) -> Figures:
    random = Random(seed)
    started_ns = time.process_time_ns()
    rules = live_rules()
    compile_ms = (time.process_time_ns() - started_ns) / 1e6
    paid = payments(count, random)
    ways = {
        "one by one": one_by_one(rules),
        "one expression, a variable a fact": by_variables(rules),
        "Python's own bytecode": in_python(rules),
    }
    fired = 0
    for facts in paid:
        found = [each.rule.id for each, holds in zip(rules.compiled, ways["one by one"](facts), strict=True) if holds]
        fired += len(found)
        if list(rules.judge(facts).fired) != found:
            raise AssertionError(f"{found} one by one, {rules.judge(facts).fired} together")
        for name, way in ways.items():
            if [each.rule.id for each, holds in zip(rules.compiled, way(facts), strict=True) if holds] != found:
                raise AssertionError(f"{name} finds something else than {found}")
    times = {"judge: one expression, facts in four lists": cpu_us(rules.judge, paid, rounds)}
    times |= {name: cpu_us(way, paid, rounds) for name, way in ways.items()}
    entry_bytes, standing_us = list_figures(entries, rounds, random)
    return Figures(
        len(rules.compiled), len(rules.reads), compile_ms, times, fired / len(paid), entries, entry_bytes, standing_us
    )


def page(figures: Figures) -> str:
    """Markdown."""
    lines = [
        f"{figures.rules} live rules over {figures.facts} facts, compiled in {figures.compile_ms:.0f} ms; "
        f"{figures.fired:.1f} fire on average; batches of {BATCH}",
        "",
        "| way | CPU µs a payment |",
        "|---|---|",
    ]
    lines += [f"| {name} | {each_us:.1f} |" for name, each_us in figures.cpu_us.items()]
    lines += [
        "",
        f"lists of {figures.entries:,} entries: {figures.entry_bytes:.0f} bytes each; the standing of four subjects "
        f"{figures.standing_us:.1f} µs",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--payments", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    print(page(run(options.payments, options.rounds, options.entries)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
