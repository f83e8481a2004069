"""Trains and evaluates from the command line: the arms in processes of their own, the tables, the plot."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switch.risk.document import read_rules
from switch.risk.evaluate import Arm, Curve, Result, observe, precision_recall, run, threshold
from switch.risk.model import Model, load_model
from switch.risk.population.events import Kind
from switch.risk.population.stream import EVALUATION_SEEDS_FROM, Population
from switch.risk.rehearsal import examples
from switch.risk.rules import RuleSet
from switch.risk.training import Columns, Plan, gather, grow

if TYPE_CHECKING:
    from rich.table import Table

TRAINING_SEEDS = (1, 2)
_ARMS = (Arm.RULES, Arm.MODEL, Arm.BOTH)
_STYLES = {Arm.RULES: ("tab:orange", "s"), Arm.MODEL: ("tab:blue", "o"), Arm.BOTH: ("tab:green", "D")}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """curve: of the run without risk control, whose result is in `results` too."""

    population: Population
    threshold: int
    results: dict[Arm, Result]
    curve: Curve


def train_on_populations(seeds: Sequence[int], payments: int, days: int, plan: Plan, processes: int = 1) -> bytes:
    """The file of a model. Raises TrainingRefused; ValueError for a seed that evaluates."""
    if any(seed >= EVALUATION_SEEDS_FROM for seed in seeds):
        raise ValueError(f"seeds from {EVALUATION_SEEDS_FROM} on evaluate; a model learns from smaller ones")
    populations = [Population(seed, payments, days) for seed in seeds]
    if processes == 1:
        tables = [_gathered(each, plan) for each in populations]
    else:
        with _pool(processes) as pool:
            tables = list(pool.map(_gathered, populations, [plan] * len(populations)))
    trained_from = (
        f"generated populations, seeds {', '.join(map(str, seeds))}, {payments} payments and {days} days each"
    )
    return grow(tables, plan, trained_from)


def _gathered(population: Population, plan: Plan) -> Columns:
    return gather(examples(population), plan)


def _pool(processes: int) -> ProcessPoolExecutor:
    """Not forked: LightGBM's threads do not outlive a fork."""
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))


def evaluate(population: Population, rules: str, model: bytes, processes: int) -> Evaluation:
    """rules: a document. model: a file's content. Raises RulesRefused, ModelRefused."""
    _rule_set(rules)
    loaded = load_model(model)
    with _pool(processes) as pool:
        seen: Future[tuple[Result, Curve]] = pool.submit(_observed, population, rules, model)
        runs = [pool.submit(_ran, population, arm, rules, model) for arm in _ARMS]
        base, curve = seen.result()
        results = {arm: each.result() for arm, each in zip(_ARMS, runs, strict=True)}
    return Evaluation(population, threshold(loaded.header), {Arm.NONE: base, **results}, curve)


def _observed(population: Population, rules: str, model: bytes) -> tuple[Result, Curve]:
    return observe(population, _rule_set(rules), load_model(model))


def _ran(population: Population, arm: Arm, rules: str, model: bytes) -> Result:
    return run(population, arm, _rule_set(rules), _model_for(arm, model))


def _model_for(arm: Arm, model: bytes) -> Model | None:
    return None if arm is Arm.RULES else load_model(model)


def _rule_set(rules: str) -> RuleSet:
    document = read_rules(rules)
    return RuleSet(document.all_rules(), document.thresholds)


# --- shown ------------------------------------------------------------------------------------------------------------


def summary_table(evaluation: Evaluation) -> "Table":
    from rich.table import Table

    lost_minor = evaluation.results[Arm.NONE].passed_minor
    table = Table(title=f"Seed {evaluation.population.seed}: fraud stopped, and what it cost the honest")
    names = ("", "fraud value stopped", "fraud purchases stopped", "loss, of that without", "legitimate declined",
             "of them step-ups", "proved, then paid", "reviewed")  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if not name else "right")
    for arm in _ARMS:
        result = evaluation.results[arm]
        total = result.total
        table.add_row(
            arm.value, _percent(total.value_stopped), _percent(total.stopped / max(1, total.purchases)),
            _percent(result.passed_minor / max(1, lost_minor)), _percent(result.legitimate_declined, 3),
            f"{result.stepped_up}", f"{result.proved}", _percent(result.reviewed / max(1, result.legitimate), 2),
        )  # fmt: skip
    return table


def kinds_table(evaluation: Evaluation) -> "Table":
    """Of each kind: what fraudsters tried without risk control, and the share of value that each arm stopped."""
    from rich.table import Table

    table = Table(title="Fraud value stopped, by kind")
    for name in ("kind", "purchases", "value, yuan", *(arm.value for arm in _ARMS)):
        table.add_column(name, justify="left" if name == "kind" else "right")
    tried = evaluation.results[Arm.NONE].kinds
    for kind in Kind:
        if kind in tried:
            shares = [evaluation.results[arm].kinds.get(kind) for arm in _ARMS]
            table.add_row(
                kind.value, f"{tried[kind].purchases}", f"{tried[kind].value_minor // 100:,}",
                *(_percent(each.value_stopped) if each else "–" for each in shares),
            )  # fmt: skip
    return table


def as_document(evaluation: Evaluation) -> dict[str, Any]:
    """For JSON. Shares are 0 to 1, values minor units."""
    return {
        "seed": evaluation.population.seed,
        "payments": evaluation.population.payments,
        "days": evaluation.population.days,
        "threshold": evaluation.threshold,
        "arms": {arm.name.lower(): _result(result) for arm, result in evaluation.results.items()},
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "value_stopped": result.total.value_stopped,
        "legitimate": result.legitimate,
        "legitimate_declined": result.legitimate_declined,
        "stepped_up": result.stepped_up,
        "proved": result.proved,
        "reviewed": result.reviewed,
        "fraud_passed_minor": result.passed_minor,
        "kinds": {
            kind.name.lower(): {
                "purchases": each.purchases,
                "stopped": each.stopped,
                "value_minor": each.value_minor,
                "stopped_minor": each.stopped_minor,
            }
            for kind, each in result.kinds.items()
        },
    }


def write_plot(evaluation: Evaluation, folder: Path) -> list[Path]:
    """risk_precision_recall.png and .svg: a curve per arm over all payments of the run without risk control."""
    import matplotlib
    from matplotlib.figure import Figure

    # The same bytes for the same figures.
    matplotlib.rcParams["svg.hashsalt"] = "payswitch"
    figure = Figure(figsize=(9, 5.5), dpi=120)
    axes = figure.subplots()
    for arm in _ARMS:
        points = precision_recall(evaluation.curve, arm)
        colour, marker = _STYLES[arm]
        axes.plot(
            [recall for recall, _ in points], [precision for _, precision in points], label=arm.value, color=colour,
            marker=marker if len(points) < 40 else None, markersize=4,
        )  # fmt: skip
    axes.set_xlabel("recall: of the fraudulent payments, those ranked so high")
    axes.set_ylabel("precision: of the payments ranked so high, those that are fraud")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="best")
    axes.set_title(f"Precision and recall by payments, population of seed {evaluation.population.seed}")
    figure.tight_layout()
    paths = [folder / f"risk_precision_recall.{suffix}" for suffix in ("png", "svg")]
    for path in paths:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"
