"""The wiring of `payswitch bill`: the one channel as the switch builds it, the journal read only, the comparison."""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TextIO

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from adapters.issuer.hub import IssuerHub
from hsm.errors import HsmError
from switch.billing_through import bill_through
from switch.client.connection import ClientCredentials
from switch.config import ConfigurationError, Settings, load
from switch.domain.bill import Bill
from switch.domain.money import Money
from switch.domain.refusals import Refusal
from switch.ops import logs
from switch.ops.lifecycle import Lifecycle
from switch.pki import Authority, PkiError
from switch.ports import BilledChannel, BillNotReady, BillRefused
from switch.settlement.bill_file import FindingFile, day_of, read_bill, write_bill
from switch.settlement.compare import BREAKS, Comparison, Finding, Verdict
from switch.store.day_movements import day_movements
from switch.store.embedded import EmbeddedPostgres, EmbeddedServerError
from switch.store.sessions import Connection
from switch.wiring.channel import build_channels
from switch.wiring.foundation import SystemClock
from switch.wiring.hsm import open_hsm
from switch.wiring.reconciliation import reconcile_once

EXIT_AGREES, EXIT_BREAKS, EXIT_USAGE, EXIT_NO_BILL = range(4)

Tally = Counter[tuple[Verdict, str, str]]

# Not started for a bill: a second sign-on, and the sign-off at its end, would disturb the switch's own links.
_SIGNS_ON = frozenset({"unionpay"})

_UNREMARKABLE = frozenset({Verdict.MATCH, Verdict.REFUSED, Verdict.CANCELLED_OUT})


class _Ended(Exception):
    """The command ends with that code, having said why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True)
class Source:
    """Where a bill comes from. through: host:port of a running switch, "" for its own way; of an issuer the settings'.

    certificate, private_key: an operator's, for that switch; None for the development authority's.
    """

    channel: str
    through: str = ""
    certificate: Path | None = None
    private_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One comparison. out: where findings go; matches: those that agree, too. bill_file: instead of the channel."""

    source: Source
    day: date
    tolerance_s: int
    out: Path | None
    bill_file: Path | None
    matches: bool


def settings_in_force() -> Settings:
    try:
        return load()
    except ConfigurationError as error:
        typer.echo(f"payswitch: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def day_from(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        typer.echo(f"payswitch: --day {text!r} is not YYYY-MM-DD", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def fetch(settings: Settings, source: Source, day: date, out: Path | None) -> int:
    async def work() -> int:
        bill = await _fetched(settings, source, day)
        with _opened(out) as file:
            write_bill(bill, file)
        typer.echo(f"{source.channel} {day}: {len(bill.lines)} lines", err=True)
        return EXIT_AGREES

    return _run(work)


def compare(settings: Settings, work: Work) -> int:
    async def run() -> int:
        bill = await _bill_for(settings, work)
        found: Tally = Counter()
        async with _journal(settings) as connection:
            with _opened(work.out) if work.out else contextlib.nullcontext() as file:
                findings = FindingFile(file) if file else None
                async for each in _compared(connection, bill, work):
                    money = _money_of(each)
                    found[each.verdict, money.currency, "count"] += 1
                    found[each.verdict, money.currency, "amount"] += money.amount_minor
                    if findings is not None and (work.matches or each.verdict not in _UNREMARKABLE):
                        findings.write(each)
        _show(work, found)
        return EXIT_BREAKS if any(verdict in BREAKS for verdict, *_ in found) else EXIT_AGREES

    return _run(run)


def reconcile(settings: Settings, work: Work) -> int:
    async def run() -> int:
        bill = await _bill_for(settings, work)
        try:
            done = await reconcile_once(settings, bill, work.tolerance_s, "command/bill")
        except Refusal as refusal:
            raise _Ended(EXIT_NO_BILL, str(refusal)) from refusal
        table = Table(title=f"{done.channel} {done.day}, bill {done.bill_version}", title_justify="left")
        for heading in ("what", "count"):
            table.add_column(heading, justify="left" if heading == "what" else "right")
        for name, count in sorted(done.counts.items()):
            table.add_row(name, str(count))
        table.add_row("breaks that have not ended", str(done.active_breaks))
        Console().print(table)
        return EXIT_BREAKS if done.active_breaks else EXIT_AGREES

    return _run(run)


async def _compared(connection: Connection, bill: Bill, work: Work) -> AsyncIterator[Finding]:
    day = day_of(work.day, work.tolerance_s)
    comparison = Comparison(bill, day)
    from_ms, until_ms = day.from_ms - day.tolerance_ms, day.until_ms + day.tolerance_ms
    async for movement in day_movements(connection, work.source.channel, from_ms, until_ms):
        finding = comparison.take(movement)
        if finding is not None:
            yield finding
    for finding in comparison.rest():
        yield finding


def _money_of(finding: Finding) -> Money:
    side = finding.ours or finding.line
    assert side is not None
    return side.money


def _show(work: Work, found: Tally) -> None:
    """Every verdict, those that did not occur as well: a zero is read as a zero."""
    table = Table(title=f"{work.source.channel} {work.day}", title_justify="left")
    for heading in ("verdict", "count", "amount"):
        table.add_column(heading, justify="left" if heading == "verdict" else "right")
    for verdict in Verdict:
        currencies = sorted({currency for each, currency, _ in found if each is verdict})
        count = sum(found[verdict, currency, "count"] for currency in currencies)
        amounts = (f"{Money(found[verdict, each, 'amount'], each).decimal_text()} {each}" for each in currencies)
        style = "red" if verdict in BREAKS and count else None
        table.add_row(verdict.value, str(count), ", ".join(amounts), style=style)
    Console().print(table)


# --- where it comes from ----------------------------------------------------------------------------------------------


async def _bill_for(settings: Settings, work: Work) -> Bill:
    if work.bill_file is None:
        return await _fetched(settings, work.source, work.day)
    with work.bill_file.open(encoding="utf-8", newline="") as file:
        return read_bill(file, work.source.channel, work.day)


async def _fetched(settings: Settings, source: Source, day: date) -> Bill:
    name = source.channel
    if source.through or name.startswith("issuer:"):
        return await bill_through(source.through or settings.listen, _credentials(settings, source), name, day)
    if name not in settings.channel_names():
        raise _Ended(EXIT_USAGE, f"no channel {name!r}; there are {', '.join(settings.channel_names())}")
    lifecycle = Lifecycle(grace_s=0)
    try:
        access = await open_hsm(settings, lifecycle)
        channel = build_channels(settings, access.hsm, SystemClock(), IssuerHub(), slot=0)[name]
        if not isinstance(channel, BilledChannel):
            raise _Ended(EXIT_USAGE, f"{name} has no bill")
        if name not in _SIGNS_ON:
            await channel.start()
            lifecycle.on_close(name, channel.close)
        return await channel.bill(day)
    finally:
        lifecycle.stop("done")
        await lifecycle.run()


def _credentials(settings: Settings, source: Source) -> ClientCredentials:
    """An operator's: the files that were named, or one that the development authority issues."""
    if (source.certificate is None) != (source.private_key is None):
        raise _Ended(EXIT_USAGE, "--certificate and --private-key belong together")
    if source.certificate is None and settings.tls.ca:
        raise _Ended(
            EXIT_USAGE, "give an operator's --certificate and --private-key: tls.ca is an authority of its own"
        )
    if source.certificate is not None and source.private_key is not None:
        root = settings.ca_path.read_bytes()
        return ClientCredentials(root, source.certificate.read_bytes(), source.private_key.read_bytes())
    authority = Authority(settings.state_dir / "pki")
    pair = authority.participant("operator", "bill")
    return ClientCredentials(
        authority.ensure().read_bytes(), pair.certificate.read_bytes(), pair.private_key.read_bytes()
    )


@asynccontextmanager
async def _journal(settings: Settings) -> AsyncIterator[Connection]:
    """One connection that writes nothing and may take its time."""
    embedded = None
    url = settings.postgres_url.get_secret_value()
    if not url:
        embedded = EmbeddedPostgres(settings.state_dir / "postgres")
        url = await embedded.start()
    try:
        options = {"application_name": "payswitch-bill", "default_transaction_read_only": "on"}
        connection = await asyncpg.connect(url, timeout=10, server_settings=options)
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        if embedded is not None:
            await embedded.stop()


@contextlib.contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        yield file


def _run(work: Callable[[], Awaitable[int]]) -> int:
    """The exit code; what an operator can mend is one line on stderr."""
    logs.configure("warning", None)  # to stderr: stdout is the bill's

    async def running() -> int:
        return await work()

    try:
        return asyncio.run(running())
    except _Ended as ended:
        typer.echo(f"payswitch: {ended}", err=True)
        return ended.code
    except BillNotReady as error:
        typer.echo(f"payswitch: not ready: {error}", err=True)
    except BillRefused as refused:
        typer.echo(f"payswitch: the bill is refused: {refused}", err=True)
    except (OSError, HsmError, PkiError, EmbeddedServerError, asyncpg.PostgresError) as error:
        typer.echo(f"payswitch: {type(error).__name__}: {error}", err=True)
    return EXIT_NO_BILL
