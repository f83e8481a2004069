"""`payswitch risk`: check a rule set, train a model, evaluate both on a generated population, replay stored payments.

Exit codes: 0 done; 1 refused (rules, a model, a history); 2 the command line is wrong.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from switch.risk_replay_cli import replay
from switch.risk_share_cli import share_app

if TYPE_CHECKING:
    from switch.risk_evaluation import Evaluation

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
_SEEDS_FROM: Final = 1_000  # switch.risk.population.stream.EVALUATION_SEEDS_FROM; a test holds them equal
_PAYMENTS: Final = 300_000
_DAYS: Final = 45
_PROCESSES: Final = min(4, os.cpu_count() or 1)

risk_app = typer.Typer(
    name="risk",
    help="Risk control: check rules, train a model, evaluate them, replay stored payments.",
    pretty_exceptions_show_locals=False,
)
risk_app.command()(replay)
risk_app.add_typer(share_app, no_args_is_help=True)

Payments = Annotated[int, typer.Option(help="About so many honest payments, in all days.", min=1_000, max=20_000_000)]
Days = Annotated[int, typer.Option(help="Of them, the first fifteen fill the counters.", min=6, max=400)]
Processes = Annotated[int, typer.Option(help="Populations that are played at the same time.", min=1, max=16)]
TrainingSeeds = Annotated[
    list[int] | None,
    typer.Option("--training-seed", help="Learn from this population; repeatable. Default: 1 and 2.", min=0,
                 max=_SEEDS_FROM - 1, show_default=False),
]  # fmt: skip


@risk_app.command()
def check(rules: Annotated[Path, typer.Argument(metavar="FILE", help="A rule set.")]) -> None:
    """Say what each rule needs and does, or every fault with its place; docs/risk_rules.md says how one is written."""
    from switch.risk.check import check_rules

    with _refusals():
        for line in check_rules(rules.read_text(encoding="utf-8")).lines():
            typer.echo(line)


@risk_app.command()
def train(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model's file.")],
    history: Annotated[
        Path | None,
        typer.Option("--history", metavar="JSONL", help="Labelled judgements; without it, generated populations."),
    ] = None,
    training_seeds: TrainingSeeds = None,
    payments: Payments = _PAYMENTS,
    days: Days = _DAYS,
    features: Annotated[int, typer.Option(help="Facts the model may read.", min=1, max=400)] = 64,
    every: Annotated[int, typer.Option(help="Learn from one in so many legitimate payments.", min=1, max=1000)] = 3,
    seed: Annotated[int, typer.Option(help="Of the training's own draws.", min=0)] = 1,
    processes: Processes = _PROCESSES,
) -> None:
    """Train a model and write it as one file; docs/risk_model.md says from what, and how good is good."""
    from switch.risk.labelled import read_history
    from switch.risk.model_file import read
    from switch.risk.training import Plan
    from switch.risk.training import train as grown
    from switch.risk_evaluation import TRAINING_SEEDS, train_on_populations

    plan = Plan(features=features, every=every, seed=seed)
    begun = time.monotonic()
    with _refusals():
        if history is None:
            content = train_on_populations(training_seeds or TRAINING_SEEDS, payments, days, plan, processes)
        else:
            with history.open("rb") as lines:
                content = grown(read_history(lines), plan, history.name)
        file = read(content)
        out.write_bytes(content)
    header = file.header
    typer.echo(
        f"{out}: {header.payments} payments, {header.frauds} frauds, {len(header.features)} facts, "
        f"{header.metrics['trees']:.0f} trees, average precision {header.metrics['average_precision']:.3f}, "
        f"{len(content)} bytes, SHA-256 {file.sha256}; {time.monotonic() - begun:.0f} s"
    )
    for point in header.points:
        typer.echo(
            f"  from {point.score:4}: legitimate declined {100 * point.legitimate_declined:.3f} %, "
            f"frauds {100 * point.caught:.1f} %, their value {100 * point.value_caught:.1f} %"
        )


@risk_app.command()
def evaluate(
    seed: Annotated[
        int, typer.Option(help=f"The population's. Below {_SEEDS_FROM} it is a rehearsal: rules are written on those.")
    ] = _SEEDS_FROM,
    payments: Payments = _PAYMENTS,
    days: Days = _DAYS,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules",
            metavar="TOML",
            help="A rule set; without it, the starter rules and an analyst's for these people.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="FILE", help="A model; without it, one is trained first.")
    ] = None,
    training_seeds: TrainingSeeds = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FOLDER", help="Write the precision-recall plot there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    processes: Processes = _PROCESSES,
) -> None:
    """Rules alone, a model alone and both, on a generated population; docs/risk_evaluation.md says how it counts."""
    from switch import risk_evaluation
    from switch.risk.population.stream import Population
    from switch.risk.training import Plan

    begun = time.monotonic()
    seeds = tuple(training_seeds or risk_evaluation.TRAINING_SEEDS)
    if model is None and seed in seeds:
        typer.echo(f"the model would learn from seed {seed}, which it is then evaluated on", err=True)
        raise typer.Exit(EXIT_USAGE)
    with _refusals():
        if model is not None:
            content = model.read_bytes()
        else:
            content = risk_evaluation.train_on_populations(seeds, payments, days, Plan(), processes)
        found = risk_evaluation.evaluate(Population(seed, payments, days), _rules(rules), content, processes)
    if as_json:
        typer.echo(json.dumps(risk_evaluation.as_document(found), indent=2))
    else:
        _show(found, time.monotonic() - begun)
    for path in risk_evaluation.write_plot(found, plot) if plot else []:
        typer.echo(f"{path} written", err=True)


def _show(found: "Evaluation", took_s: float) -> None:
    from rich.console import Console

    from switch import risk_evaluation

    console = Console(width=140)
    if found.population.seed < _SEEDS_FROM:
        console.print("A rehearsal: this seed is one that rules and models are made on.")
    console.print(risk_evaluation.summary_table(found))
    console.print(risk_evaluation.kinds_table(found))
    console.print(f"The model declines from {found.threshold} thousandths on. {took_s:.0f} s.")


def _rules(path: Path | None) -> str:
    from switch.risk import population, starter

    if path is not None:
        return path.read_text(encoding="utf-8")
    return starter.STARTER_FILE.read_text(encoding="utf-8") + population.ANALYST_RULES.read_text(encoding="utf-8")


@contextmanager
def _refusals() -> Iterator[None]:
    from switch.risk.document import RulesRefused
    from switch.risk.labelled import HistoryRefused
    from switch.risk.model_file import ModelRefused
    from switch.risk.training import TrainingRefused

    try:
        yield
    except (HistoryRefused, ModelRefused, RulesRefused, TrainingRefused) as refusal:
        typer.echo(f"refused: {refusal}", err=True)
        raise typer.Exit(EXIT_REFUSED) from refusal
    except (OSError, ValueError) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(EXIT_USAGE) from refusal
    except ModuleNotFoundError as missing:
        typer.echo(f"{missing.name} is not installed; the model needs the extra `model`", err=True)
        raise typer.Exit(EXIT_USAGE) from missing
