"""`payswitch demo`: start everything, play the scenes, print the table."""

import asyncio
import contextlib
import shlex
import signal
import sys

from rich.console import Console
from rich.table import Table

from switch import config
from switch.demo.environment import Environment
from switch.demo.presenting import fresh_code
from switch.demo.scenes import SCENES, Row, stage_for
from switch.ops import logs


def main(keep: bool = False) -> int:
    """The exit code: 0 if every row is as expected."""
    logs.configure("warning")
    # Wide enough for the remarks when nobody looks at a terminal.
    console = Console(width=None if sys.stdout.isatty() else 160)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how KEEP=1 ends
        return asyncio.run(_play(console, keep))
    return 130


async def _play(console: Console, keep: bool) -> int:
    settings = config.load()
    console.print("starting PostgreSQL, Redis, the token, the simulators and the switch …")
    async with Environment(settings.state_dir) as environment:
        rows: list[Row] = []
        async with environment.client() as client:
            stage = stage_for(environment, client)
            await client.ready.wait()
            for scene in SCENES:
                row = await scene(stage)
                rows.append(row)
                console.print(f"  {'✗' if row.problem else '✓'} {row.name}", highlight=False)
        console.print(_table(rows))
        _explain(console, environment)
        if keep:
            console.print("everything is running; Ctrl-C ends it")
            await _until_interrupted()
    wrong = [row for row in rows if row.problem]
    for row in wrong:
        console.print(f"[red]{row.name}: {row.problem}[/red]")
    console.print(f"{len(rows) - len(wrong)} of {len(rows)} as expected")
    return 1 if wrong else 0


def _table(rows: list[Row]) -> Table:
    table = Table("authorization", "channel", "entry", "decision", "code", "ms", "", "remark")
    for row in rows:
        latency = f"{row.latency_ms:.1f}" if row.latency_ms else "—"
        mark = "[red]✗[/red]" if row.problem else "[green]✓[/green]"
        table.add_row(
            row.name, row.channel or "—", row.entry, row.decision, row.response_code or "—", latency, mark, row.remark
        )
    return table


def _explain(console: Console, environment: Environment) -> None:
    binary = shlex.quote(sys.argv[0] if sys.argv[0].endswith("payswitch") else ".venv/bin/payswitch")
    console.print("\nWith everything running (make demo KEEP=1), send one by hand:", highlight=False)
    for line in (
        f"{binary} authorize 12.00 --card 6225880000000019 --pin 123456 --tap",
        f"{binary} authorize 12.00 --code {fresh_code('28')}",
        f"curl '{environment.operations_url}/readyz?verbose'",
        f"curl {environment.operations_url}/metrics",
        f"curl {environment.control_url}/unionpay/book",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print(f"The children's logs are in {environment.state_dir / 'log'}.\n", highlight=False, soft_wrap=True)


async def _until_interrupted() -> None:
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    await ended.wait()
