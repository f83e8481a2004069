"""`python -m benchmarks.replay`: a million stored judgements judged once more by a rule set of 50 rules, and a model.

A PostgreSQL of its own is filled with a day of judgements of payments with all their counters, one in fifty of them
labelled. What is timed is what `payswitch risk replay` and `RiskService` do: read the pages, unpack, score, judge, sum
up, in processes of their own.
"""

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from switch.domain.identity import lowest_id_at
from switch.domain.risk import FactValue, Subject
from switch.domain.risk_replay import ReplayReport
from switch.ports.risk_desk import Candidate
from switch.risk.document import read_rules
from switch.risk.facts import FACTS, NEVER, FactType
from switch.risk.packing import pack_facts
from switch.store.embedded import EmbeddedPostgres
from switch.store.judgement_pages import PART_PAGES
from switch.store.migrate import migrate
from switch.wiring.risk_replay import ProcessReplays

RULES: Final = 50
_DAY_MS: Final = 86_400_000
_FIRST_MS: Final = 1_767_225_600_000
_KINDS: Final = 5_000  # different sets of facts; the rest repeats them
_FILL = """
INSERT INTO risk_judgements (
    merchant_id, id, outcome, response_code, score, model_score, rules_version, model_version, fired, shadow, absent,
    facts, subjects, amount_minor, currency, time_ms)
SELECT 'm' || n % 1000,
       (lpad(to_hex($1::bigint + n * 86400000 / $2::bigint), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
       CASE WHEN n % 200 = 0 THEN 4 ELSE 1 END, CASE WHEN n % 200 = 0 THEN '59' ELSE '' END, 0, NULL, 0, 0,
       CASE WHEN n % 200 = 0 THEN ARRAY['rule_1'] ELSE ARRAY[]::text[] END, '{}', '{}',
       kinds.facts, sha256('subjects'), kinds.amount_minor, 'CNY', $1::bigint + n * 86400000 / $2::bigint
FROM generate_series(0, $2::bigint - 1) AS n JOIN kinds ON kinds.number = n % $3::bigint
"""
_LABEL = """
INSERT INTO risk_labels (merchant_id, authorization_id, source, label, time_ms)
SELECT merchant_id, id, 'case', 1 + (random() < 0.5)::int, time_ms FROM risk_judgements
WHERE ('x' || right(id::text, 4))::bit(16)::int % 50 = 0
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds. bytes_each: of a row's facts. cpu_s: of the processes that judge. peak_mib, child_mib: the largest
    resident set of this process, and of one of those."""

    judgements: int
    processes: int
    bytes_each: int
    fill_s: float
    replay_s: float
    cpu_s: float
    peak_mib: float
    child_mib: float
    report: ReplayReport


def facts_drawn(dice: random.Random) -> dict[str, FactValue]:
    """Of a card's payment at a terminal, from a user's device half the time: all that the road would know of it."""
    known = {Subject.CARD, Subject.MERCHANT, Subject.TERMINAL, Subject.IP}
    known |= {Subject.USER, Subject.DEVICE} if dice.random() < 0.5 else set()
    truths = {f"{each}_known": each in known for each in Subject}
    truths |= {name: dice.random() < 0.3 for name in ("pin_given", "chip_known", "place_known", "posture_known")}
    truths["model_known"] = False
    facts: dict[str, FactValue] = {}
    for each in FACTS:
        if not all(truths[need] for need in each.needs):
            continue
        facts[each.name] = truths.get(each.name, _drawn(each.name, each.type, dice))
    return facts


def _drawn(name: str, type_: FactType, dice: random.Random) -> FactValue:
    match type_:
        case FactType.BOOL:
            return dice.random() < 0.05
        case FactType.TEXT:
            return {"currency": "CNY", "entry": "nfc", "merchant_category": "5411"}.get(name, "")
        case FactType.TEXTS:
            return []
    if name == "hour":
        return dice.randrange(24)
    if name.endswith("_minutes"):
        return dice.choice([NEVER, dice.randrange(100_000)])
    return int(dice.expovariate(1 / (5_000 if "sum" in name or name == "amount_minor" else 3))) + 1


def document(count: int = RULES) -> str:
    """Rules as analysts write them: a subject's counter, with an amount or an hour."""
    lines = ['name = "benchmark"']
    subjects, windows = ("card", "user", "device", "merchant", "terminal"), ("1m", "10m", "1h", "1d", "30d")
    for number in range(count):
        subject, window = subjects[number % 5], windows[number // 5 % 5]
        when = f"{subject}_count_{window} > {12 + number % 7} && amount_minor > {2_000 + 100 * number}"
        if number % 3 == 0:
            when += f" || {subject}_sum_{window} > {60_000 + number} && (hour < 5 || !pin_given)"
        action = 'action = "score"\nscore = 300' if number % 10 else 'action = "decline"'
        reason = '{ en = "too often", zh = "过于频繁" }'
        lines.append(
            f'[[rules]]\nid = "rule_{number}"\nversion = 1\nowner = "bench"\nwhen = \'{when}\'\n{action}\n'
            f"reason = {reason}"
        )
    return "\n".join(lines)


async def fill(dsn: str, count: int) -> int:
    """Judgements of one day, vacuumed; the mean of the facts' bytes."""
    dice = random.Random(6)
    kinds = [facts_drawn(dice) for _ in range(min(_KINDS, count))]
    rows = [(number, pack_facts(each), each["amount_minor"]) for number, each in enumerate(kinds)]
    connection = await asyncpg.connect(dsn)
    try:
        bounds = f"FROM ('{lowest_id_at(_FIRST_MS)}') TO ('{lowest_id_at(_FIRST_MS + _DAY_MS)}')"
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS risk_judgements_20260101 PARTITION OF risk_judgements FOR VALUES {bounds}"
        )
        await connection.execute("CREATE TEMP TABLE kinds (number bigint, facts bytea, amount_minor bigint)")
        await connection.copy_records_to_table("kinds", records=rows)
        await connection.execute(_FILL, _FIRST_MS, count, len(kinds))
        await connection.execute(_LABEL)
        await connection.execute("VACUUM (ANALYZE) risk_judgements_20260101, risk_labels")
    finally:
        await connection.close()
    return sum(len(facts) for _, facts, _ in rows) // len(rows)


async def measured(dsn: str, count: int, processes: int, model: bytes | None, part_pages: int = PART_PAGES) -> Figures:
    started = time.perf_counter()
    bytes_each = await fill(dsn, count)
    fill_s, started = time.perf_counter() - started, time.perf_counter()
    replays, before_s = ProcessReplays(dsn, read_rules(document()), processes, part_pages), _children_s()
    report = await replays(Candidate(document(), model), _FIRST_MS, _FIRST_MS + _DAY_MS, _unheard)
    replay_s, cpu_s = time.perf_counter() - started, _children_s() - before_s
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Figures(count, processes, bytes_each, fill_s, replay_s, cpu_s, own, child, report)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _unheard(judged: int) -> None:
    return None


async def measure(count: int, processes: int, model: bytes | None, directory: Path) -> Figures:
    server = EmbeddedPostgres(directory / "postgres")
    dsn = await server.start()
    try:
        await migrate(dsn)
        return await measured(dsn, count, processes, model)
    finally:
        await server.stop()


def page(figures: Figures) -> str:
    report = figures.report
    each_us = figures.cpu_s / figures.judgements * 1e6
    return "\n".join(
        (
            f"{figures.judgements:,} judgements, {figures.bytes_each} bytes of facts each (filled in"
            f" {figures.fill_s:.0f} s), {RULES} rules, {figures.processes} processes",
            "| | |",
            "|---|---|",
            f"| replay | {figures.replay_s:.1f} s, {figures.judgements / figures.replay_s:,.0f} a second,"
            f" {figures.cpu_s:.1f} s of processors, {each_us:.0f} µs each, beside PostgreSQL's |",
            f"| largest resident set | {figures.peak_mib:.0f} MiB, a judging process {figures.child_mib:.0f} MiB |",
            f"| found | judged {report.judged.payments:,}, newly declined {report.newly_declined.payments:,}, no longer"
            f" declined {report.no_longer_declined.payments:,}, labelled"
            f" {report.fraud.payments + report.legitimate.payments:,} |",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--judgements", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--model", type=Path, help="a model's file, as `payswitch risk train` writes it")
    given = parser.parse_args(arguments)
    model = given.model.read_bytes() if given.model else None
    with tempfile.TemporaryDirectory(prefix="payswitch-replay-", ignore_cleanup_errors=True) as directory:
        print(page(asyncio.run(measure(given.judgements, given.processes, model, Path(directory)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
