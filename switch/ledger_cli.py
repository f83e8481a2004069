"""`payswitch ledger`: whether the books are right. Commands import what they run when they run."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from switch.command_database import run_on_database

if TYPE_CHECKING:
    from switch.config import Settings

ledger_app = typer.Typer(
    name="ledger", help="The ledger: check it against itself and against the journal.",
    pretty_exceptions_show_locals=False,
)  # fmt: skip


@ledger_app.callback()
def _ledger() -> None:
    """Keeps `check` a command of its own, though it is the only one."""


@ledger_app.command()
def check(
    day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="One business day, and what can be said of it; default: everything.",
            show_default=False,
        ),
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
    ] = None,
) -> None:
    """Check the rules of docs/ledger.md as of one moment; print what breaks one, at most 100 of each rule.

    From the entries and the journal's events alone, with nothing of what entered them. Changes nothing. Exit code: 0
    nothing is wrong, 1 something is, 2 usage, 3 the database cannot be asked.
    """

    async def work(settings: "Settings", url: str) -> int:
        from switch.store.heavy import HeavyConnections
        from switch.store.ledger_check import LedgerChecker

        faults = await LedgerChecker(HeavyConnections(url)).check(f"{day:%Y-%m-%d}" if day is not None else "")
        for each in faults:
            typer.echo(f"{each.rule}\t{each.subject}\t{each.detail}")
        return 1 if faults else 0

    run_on_database(work, state_dir)
