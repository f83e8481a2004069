"""`payswitch demo`: start everything, play the scenes, tell the platform's story, print the tables."""

import asyncio
import contextlib
import shlex
import signal
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from switch import config
from switch.demo.environment import Environment
from switch.demo.presenting import fresh_code
from switch.demo.scenes import SCENES, Row, stage_for
from switch.demo.story.chapters import CHAPTERS
from switch.demo.story.judging import take_back
from switch.demo.story.telling import Told, tell
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
            await take_back(environment)
            for scene in SCENES:
                row = await scene(stage)
                rows.append(row)
                console.print(_line(row.name, row.problem))
            console.print(_table(rows))
            told = await tell(environment, client, lambda each: console.print(_line(each.name, each.problem)))
        console.print(_story_table(told))
        _explain(console, environment)
        if keep:
            console.print("everything is running; Ctrl-C ends it")
            await _until_interrupted()
    problems = [(each.name, each.problem) for each in rows] + [(each.name, each.problem) for each in told]
    wrong = [(name, problem) for name, problem in problems if problem]
    for name, problem in wrong:
        console.print(f"[red]{name}: {escape(problem)}[/red]")
    shown = len(rows) + len(CHAPTERS)
    console.print(f"{len(problems) - len(wrong)} of {shown} as expected")
    return 1 if wrong else 0


def _line(name: str, problem: str) -> Text:
    return Text(f"  {'✗' if problem else '✓'} {name}")


def _story_table(told: list[Told]) -> Table:
    table = Table("the platform", "", "shown")
    for each in told:
        table.add_row(each.name, _mark(each.problem), escape(each.remark))
    return table


def _mark(problem: str) -> str:
    return "[red]✗[/red]" if problem else "[green]✓[/green]"


def _table(rows: list[Row]) -> Table:
    table = Table("authorization", "channel", "entry", "decision", "code", "ms", "", "remark")
    for row in rows:
        latency = f"{row.latency_ms:.1f}" if row.latency_ms else "—"
        table.add_row(
            row.name, row.channel or "—", row.entry, row.decision, row.response_code or "—", latency,
            _mark(row.problem), row.remark,
        )  # fmt: skip
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
