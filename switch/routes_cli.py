"""`payswitch routes`: routing plans from the command line: check, load, put in force, go back, explain.

Exit codes: 0 done; 1 the plan was refused, or somebody else was faster; 2 the command line or the settings are wrong.
"""

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:
    from switch.config import Settings

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2

routes_app = typer.Typer(
    name="routes",
    help="Routing plans: check, load, put in force while the switch runs, go back, explain.",
    pretty_exceptions_show_locals=False,
)

PlanFile = Annotated[Path, typer.Argument(metavar="FILE", help="The plan, TOML or JSON.")]
Bins = Annotated[
    list[str] | None,
    typer.Option("--bins", metavar="[NAME=]CSV", help="A BIN table that the plan names; repeatable."),
]
Version = Annotated[int, typer.Argument(help="As `list` shows it.", min=1)]
Actor = Annotated[str | None, typer.Option("--as", help="Your name in the record; default: the system's user.")]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
]


@routes_app.command()
def validate(file: PlanFile, bins: Bins = None, state_dir: StateDir = None) -> None:
    """Check a plan against the settings' channels and its own expectations; nothing is stored."""
    from switch import routes_desk

    with _refusals():
        table = routes_desk.validate(_settings(state_dir), file, bins or [])
    plan = table.plan
    typer.echo(
        f"{plan.name}: good; rules: {len(plan.rules)}, contracts: {len(plan.contracts)}, "
        f"PAN ranges: {table.ranges}, expectations met: {len(plan.expect)}"
    )


@routes_app.command()
def load(file: PlanFile, bins: Bins = None, actor: Actor = None, state_dir: StateDir = None) -> None:
    """Check a plan and store it with its BIN tables, as a draft. A table that is stored need not be given again."""
    from switch import routes_desk

    with _refusals():
        version, plan = routes_desk.load(_settings(state_dir), file, bins or [], _actor(actor), _now_ms())
    typer.echo(f"version {version}: {plan.name}, a draft; `payswitch routes activate {version}` puts it in force")


@routes_app.command("list")
def list_plans(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, state_dir: StateDir = None
) -> None:
    """All plans, and who did what when. Times are UTC."""
    from switch import routes_desk

    with _refusals():
        stored = routes_desk.stored_plans(_settings(state_dir))
    rows: list[dict[str, Any]] = [
        {
            "version": each.version,
            "name": each.name,
            "state": each.state.name.lower(),
            "created_by": each.created_by,
            "created": _shown(each.created_time_ms),
            "changed_by": each.changed_by,
            "changed": _shown(each.changed_time_ms),
        }
        for each in stored
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        typer.echo("  ".join(map(str, row.values())))
    if not any(row["state"] == "live" for row in rows):
        typer.echo("no plan is live: the settings' routes decide (version 0)")


@routes_app.command()
def show(version: Version, state_dir: StateDir = None) -> None:
    """A plan as it was loaded."""
    from switch import routes_desk

    with _refusals():
        typer.echo(routes_desk.content_of(_settings(state_dir), version))


@routes_app.command()
def activate(version: Version, actor: Actor = None, state_dir: StateDir = None) -> None:
    """Check a stored plan again and put it in force. Running processes take it over within about a second."""
    from switch import routes_desk

    with _refusals():
        before = routes_desk.activate(_settings(state_dir), version, _actor(actor), _now_ms())
    typer.echo(f"version {version} is live instead of {before}")


@routes_app.command()
def rollback(actor: Actor = None, state_dir: StateDir = None) -> None:
    """Go back to what was in force before the last change; a second time undoes the first."""
    from switch import routes_desk

    with _refusals():
        version, before = routes_desk.rollback(_settings(state_dir), _actor(actor), _now_ms())
    typer.echo(f"version {version} is live instead of {before}" + ("" if version else " (0: the settings' routes)"))


@routes_app.command()
def explain(
    card: Annotated[str | None, typer.Option(help="Leading digits of a card number, at most 11.")] = None,
    length: Annotated[int, typer.Option(help="Digits of the whole card number.")] = 16,
    code: Annotated[str | None, typer.Option(help="First two digits of a payment code.")] = None,
    amount_minor: Annotated[int, typer.Option(help="In minor units.")] = 100,
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "CNY",
    merchant: Annotated[str, typer.Option(help="Merchant id (DE42).")] = "M0000001",
    category: Annotated[str, typer.Option(help="Merchant category, ISO 18245.")] = "5999",
    acquirer: Annotated[str, typer.Option(help="Acquirer id.")] = "acquirer",
    entry: Annotated[str | None, typer.Option(help="nfc, payer_code …; default: by --card or --code.")] = None,
    operation: Annotated[str, typer.Option(help="sale, pre_authorization or order.")] = "sale",
    at: Annotated[str | None, typer.Option(help="Shanghai's time, 2026-01-05T12:00; default: now.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="With a PIN.")] = False,
    unready: Annotated[list[str] | None, typer.Option(help="A channel that is down; repeatable.")] = None,
    file: Annotated[Path | None, typer.Option(help="By this plan, instead of the database's.")] = None,
    bins: Bins = None,
    version: Annotated[int | None, typer.Option(help="By this version; default: the live one.", min=0)] = None,
    state_dir: StateDir = None,
) -> None:
    """Say where a payment would go, and why: the line that `Get` returns. All channels but --unready count as ready."""
    from switch import routes_desk

    payment = {
        "card": card, "length": length, "code": code, "amount_minor": amount_minor, "currency": currency,
        "merchant": merchant, "category": category, "acquirer": acquirer, "entry": entry, "operation": operation,
        "at": at or _shanghai_now(), "pin": pin, "unready": tuple(unready or ()),
    }  # fmt: skip
    with _refusals():
        for line in routes_desk.explain(_settings(state_dir), payment, file, bins or [], version):
            typer.echo(line)


# --- around it --------------------------------------------------------------------------------------------------------


@contextmanager
def _refusals() -> Iterator[None]:
    """What is expected to go wrong ends the command with a line; a fault of ours shows itself."""
    from switch.routes_desk import NotDone, WrongCommandLine
    from switch.routing.document import PlanRefused

    try:
        yield
    except (NotDone, PlanRefused) as error:
        _end(str(error), EXIT_REFUSED)
    except WrongCommandLine as error:
        _end(str(error), EXIT_USAGE)


def _settings(state_dir: Path | None) -> "Settings":
    from switch.config import ConfigurationError, load

    try:
        return load(**({} if state_dir is None else {"state_dir": state_dir}))
    except ConfigurationError as error:
        _end(str(error), EXIT_USAGE)


def _actor(given: str | None) -> str:
    return given or getpass.getuser()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _shanghai_now() -> str:
    return datetime.fromtimestamp(time.time() + 8 * 3600, UTC).strftime("%Y-%m-%dT%H:%M")


def _shown(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _end(text: str, status: int) -> NoReturn:
    typer.echo(f"payswitch: {text}", err=True)
    raise typer.Exit(status)
