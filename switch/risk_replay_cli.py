"""`payswitch risk replay`: what would have changed, had a candidate judged the stored payments.

Exit codes: 0 done; 1 the candidate was refused, or the database cannot be used; 2 the command line or the settings are
wrong. Nothing is stored: what is to go live is replayed by `RiskService`.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from switch.config import Settings
    from switch.domain.risk_replay import ReplayReport, Tally
    from switch.ports.risk_desk import Candidate

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
_SHANGHAI: Final = timezone(timedelta(hours=8))

Begin = Annotated[str, typer.Option("--from", metavar="TIME", help="2026-01-05 or 2026-01-05T12:00, Shanghai's time.")]
End = Annotated[str | None, typer.Option("--to", metavar="TIME", help="The end, excluded. Default: now.")]
RulesFile = Annotated[Path | None, typer.Option("--rules", metavar="FILE", help="A rule set; default: the live one.")]
ModelFile = Annotated[
    Path | None, typer.Option("--model", metavar="FILE", help="A model; default: the scores that are stored.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Processes = Annotated[int | None, typer.Option(help="That judge; default: the settings'.", min=1, max=64)]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]


def replay(
    begin: Begin, end: End = None, rules: RulesFile = None, model: ModelFile = None, as_json: AsJson = False,
    processes: Processes = None, state_dir: StateDir = None,
) -> None:  # fmt: skip
    """Judge stored payments once more, by a candidate: what would be declined, by which rules, and what it was."""
    if rules is None and model is None:
        _end("give --rules, --model or both", EXIT_USAGE)
    from_ms, to_ms = _time_ms(begin), _now_ms() if end is None else _time_ms(end)
    if from_ms >= to_ms:
        _end("--to must be after --from", EXIT_USAGE)
    settings, started_s = _settings(state_dir), time.monotonic()
    report = _replayed(settings, rules, model, (from_ms, to_ms), processes)
    if as_json:
        from switch.domain.risk_replay import as_fields

        share = {"newly_declined_basis_points": report.newly_declined_basis_points}
        typer.echo(json.dumps(as_fields(report) | share, ensure_ascii=False, indent=1))
        return
    for line in lines_of(report):
        typer.echo(line)
    typer.echo(f"{time.monotonic() - started_s:.1f} s", err=True)


# --- what it says -----------------------------------------------------------------------------------------------------


def lines_of(report: "ReplayReport") -> Iterator[str]:
    yield from _changes(report)
    yield from _labelled(report)
    yield from _rules(report)
    for name, count in sorted(report.missing.items()):
        yield f"not stored: {name}, in {count:,} judgements that should have it"


def _changes(report: "ReplayReport") -> Iterator[str]:
    yield f"judged              {_shown(report.judged)}"
    yield f"declined before     {_shown(report.declined_before)}"
    yield f"declined            {_shown(report.declined)}"
    yield f"newly declined      {_shown(report.newly_declined)}"
    yield f"no longer declined  {_shown(report.no_longer_declined)}"
    yield f"reviewed before     {_shown(report.reviewed_before)}"
    yield f"reviewed            {_shown(report.reviewed)}"
    yield f"newly declined of what was let pass: {report.newly_declined_basis_points / 100:.2f} %"


def _labelled(report: "ReplayReport") -> Iterator[str]:
    if not report.fraud.payments and not report.legitimate.payments:
        yield "labels: none"
        return
    yield f"fraud               {_shown(report.fraud)}"
    yield f"  caught before     {_shown(report.fraud_declined_before)}"
    yield f"  caught            {_shown(report.fraud_declined)}"
    yield f"legitimate          {_shown(report.legitimate)}"
    yield f"  declined before   {_shown(report.legitimate_declined_before)}"
    yield f"  declined          {_shown(report.legitimate_declined)}"


def _rules(report: "ReplayReport") -> Iterator[str]:
    if not report.rules:
        return
    width = max(4, *(len(each) for each in report.rules))
    heads = ("before", "fired", "shadow", "failed", "fraud", "legitimate")
    yield f"{'rule':<{width}}" + "".join(f"{head:>12}" for head in heads)
    for identity, each in sorted(report.rules.items()):
        counts = (each.fired_before, each.fired, each.shadow, each.failed, each.fraud, each.legitimate)
        yield f"{identity:<{width}}" + "".join(f"{count:>12,}" for count in counts)


def _shown(tally: "Tally") -> str:
    """Amounts in minor units, as everywhere."""
    amounts = ", ".join(f"{currency} {minor:,}" for currency, minor in sorted(tally.amounts.items()))
    return f"{tally.payments:>12,}" + (f"  {amounts}" if amounts else "")


# --- the work ---------------------------------------------------------------------------------------------------------


def _replayed(
    settings: "Settings", rules: Path | None, model: Path | None, time: tuple[int, int], processes: int | None
) -> "ReplayReport":
    import asyncpg

    from switch.domain.refusals import NotInForce
    from switch.ops import logs
    from switch.ports import StoreUnavailable
    from switch.ports.risk_desk import ReplayFailed
    from switch.store.embedded import EmbeddedServerError
    from switch.store.migrate import MigrationError

    logs.configure("warning")  # what a command says on standard output is for programs, too
    given = (None if rules is None else _text_of(rules), None if model is None else _bytes_of(model))
    try:
        return asyncio.run(_on_database(settings, given, time, processes))
    except (ReplayFailed, NotInForce) as error:
        _end(str(error), EXIT_REFUSED)
    except (asyncpg.PostgresError, OSError, StoreUnavailable, MigrationError, EmbeddedServerError) as error:
        _end(f"the database cannot be used: {error}", EXIT_REFUSED)


async def _on_database(
    settings: "Settings", given: tuple[str | None, bytes | None], time: tuple[int, int], processes: int | None
) -> "ReplayReport":
    from switch.wiring.monitor import starter_of
    from switch.wiring.risk_replay import ProcessReplays, opened_database

    async with opened_database(settings) as dsn:
        candidate = await _candidate(dsn, *given)
        starter = starter_of(settings)
        replays = ProcessReplays(dsn, starter, processes or settings.risk_desk.replay_processes)
        return await replays(candidate, *time, _heard)


async def _candidate(dsn: str, rules: str | None, model: bytes | None) -> "Candidate":
    from switch.ports.risk_desk import Candidate
    from switch.wiring.risk import live_rules_text

    return Candidate(await live_rules_text(dsn) if rules is None else rules, model)


async def _heard(judged: int) -> None:
    typer.echo(f"{judged:,} judged", err=True)


# --- around it --------------------------------------------------------------------------------------------------------


def _settings(state_dir: Path | None) -> "Settings":
    from switch.config import ConfigurationError, load

    given: dict[str, Any] = {} if state_dir is None else {"state_dir": state_dir}
    try:
        return load(**given)
    except ConfigurationError as error:
        _end(str(error), EXIT_USAGE)


def _time_ms(text: str) -> int:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        _end(f"{text!r}: must be 2026-01-05 or 2026-01-05T12:00", EXIT_USAGE)
    moment = given if given.tzinfo is not None else given.replace(tzinfo=_SHANGHAI)
    return int(moment.astimezone(UTC).timestamp() * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _text_of(file: Path) -> str:
    try:
        return _bytes_of(file).decode()
    except UnicodeDecodeError:
        _end(f"{file} is not UTF-8", EXIT_REFUSED)


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        _end(f"cannot read {file}: {error.strerror}", EXIT_USAGE)


def _end(text: str, status: int) -> NoReturn:
    typer.echo(f"payswitch: {text}", err=True)
    raise typer.Exit(status)
