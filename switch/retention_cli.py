"""`payswitch retention`: what is old enough to go. Commands import what they run when they run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from switch.command_database import run_on_database

if TYPE_CHECKING:
    from switch.config import Settings

retention_app = typer.Typer(
    name="retention", help="What is kept how long: show what the next housekeeping would drop.",
    pretty_exceptions_show_locals=False,
)  # fmt: skip


@retention_app.callback()
def _retention() -> None:
    """Keeps `show` a command of its own, though it is the only one."""


@retention_app.command()
def show(
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
    ] = None,
) -> None:
    """Print what would go by the settings in force, and what holds the oldest day of the journal. Changes nothing."""

    async def work(settings: "Settings", url: str) -> int:
        from datetime import UTC, datetime

        from switch.wiring.foundation import SystemClock
        from switch.wiring.housekeeping import retention_of

        for each in await retention_of(settings, url, SystemClock()).show():
            until = (
                f"before {datetime.fromtimestamp(each.before_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}" if each.before_ms else ""
            )
            rows = "the whole day" if each.rows is None else f"{each.rows} rows"
            typer.echo("\t".join((each.what, until or "of dropped days", f"held: {each.held}" if each.held else rows)))
        return 0

    run_on_database(work, state_dir)
