"""`payswitch bill` on a real journal, with a channel whose bill is planted."""

import asyncio
import csv
import time
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from settlement_books import TABLES
from typer.testing import CliRunner, Result

from switch import billing, cli
from switch.domain.authorization import Authorization
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.ports import BillNotReady, BillRefused
from switch.settlement.bill_file import SHANGHAI, day_of, write_bill
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.pool import create_pool

NOW_MS = int(time.time() * 1000)
DAY = datetime.fromtimestamp(NOW_MS / 1000, SHANGHAI).date()


class Billed:
    """The one channel; `says` is its bill, or what it raises."""

    name = "alipay"

    def __init__(self) -> None:
        self.says: Any = Bill("alipay", DAY, ())
        self.asked: list[Any] = []

    async def start(self) -> None:
        self.asked.append("start")

    async def close(self) -> None:
        self.asked.append("close")

    async def bill(self, day: Any) -> Bill:
        self.asked.append(day)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says  # type: ignore[no-any-return]


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Billed:
    channel = Billed()

    async def open_hsm(settings: Any, lifecycle: Any) -> Any:
        return SimpleNamespace(hsm=None)

    monkeypatch.setattr(billing, "open_hsm", open_hsm)
    monkeypatch.setattr(
        billing, "build_channels", lambda *_, slot: {"alipay": channel, "unionpay": SimpleNamespace(name="unionpay")}
    )
    return channel


@pytest.fixture
def payswitch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_dsn: str, logging_restored: None) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", postgres_dsn)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["bill", *arguments, "--channel", "alipay", "--day", DAY.isoformat()])

    return run


def line(name: str, **changes: Any) -> BillLine:
    return replace(BillLine(BillKind.PAYMENT, name, Money(1_200, "CNY"), NOW_MS, fee_minor=7), **changes)


def sell(dsn: str, *names: str) -> None:
    async def work() -> None:
        pool = await create_pool(dsn, size=1)
        owner, _ = await PostgresLeases(pool, lease_s=30).join("test")
        journal = PostgresJournal(pool)
        records = [_sale(name, owner) for name in names]
        await journal.record_intents(records)
        for each in records:
            each.state, each.decision, each.response_code = State.APPROVED, Decision.APPROVED, "00"
            each.approved_minor = each.captured_minor = each.money.amount_minor
            each.answered_time_ms = NOW_MS
        assert all(await journal.record_outcomes(records, [0.0] * len(records)))
        await pool.close()

    asyncio.run(work())


def _sale(name: str, owner: UUID) -> Authorization:
    return Authorization(
        computed_id("acme", "m1", NOW_MS, name), "acme", "m1", "t1", "5999", Operation.SALE, Money(1_200, "CNY"),
        EntryMode.PAYER_CODE, "28**42", channel="alipay", attempt=1, trace={"out_trade_no": name}, owner=owner,
        created_time_ms=NOW_MS,
    )  # fmt: skip


def counted(result: Result) -> dict[str, int]:
    rows = [[cell.strip() for cell in each.split("│")] for each in result.stdout.splitlines() if "│" in each]
    return {row[1]: int(row[2]) for row in rows}


def test_a_bill_is_fetched_and_read_again(payswitch: Any, channel: Billed, postgres_dsn: str) -> None:
    channel.says = Bill("alipay", DAY, (line("a"), line("b", kind=BillKind.REFUND, fee_minor=-7)))
    fetched = payswitch("fetch", "--out", "bill.csv")
    assert (fetched.exit_code, fetched.stdout) == (0, "")
    assert channel.asked == ["start", DAY, "close"]
    assert payswitch("fetch").stdout == Path("bill.csv").read_text()
    sell(postgres_dsn, "a")
    channel.asked.clear()
    compared = payswitch("compare", "--bill", "bill.csv")
    assert (compared.exit_code, channel.asked) == (1, [])
    assert counted(compared)["theirs only"] == 1


def test_what_agrees_is_0(payswitch: Any, channel: Billed, postgres_dsn: str) -> None:
    sell(postgres_dsn, "a", "b")
    channel.says = Bill("alipay", DAY, (line("b"), line("a")))
    result = payswitch("compare", "--out", "found.csv", "--matches")
    assert result.exit_code == 0, result.output
    assert {verdict: count for verdict, count in counted(result).items() if count} == {"match": 2}
    assert "24.00 CNY" in result.stdout
    with Path("found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((each["verdict"], each["reference"], each["their_reference"]) for each in rows) == [
        ("match", "a", "a"),
        ("match", "b", "b"),
    ]


def test_every_break_is_counted_and_written(payswitch: Any, channel: Billed, postgres_dsn: str, tmp_path: Path) -> None:
    sell(postgres_dsn, "same", "dearer", "ours")
    channel.says = Bill(
        "alipay", DAY, (line("same"), line("same"), line("dearer", money=Money(1_300, "CNY")), line("theirs"))
    )
    # However late in the day this test runs, it is not about midnight.
    result = payswitch("compare", "--out", "found.csv", "--tolerance-s", "0")
    assert result.exit_code == 1, result.output
    assert {verdict: count for verdict, count in counted(result).items() if count} == {
        "match": 1,
        "ours only": 1,
        "theirs only": 1,
        "differs": 1,
        "duplicate in bill": 1,
    }
    with Path("found.csv").open(newline="") as file:
        rows = {each["verdict"]: each for each in csv.DictReader(file)}
    assert set(rows) == {"ours only", "theirs only", "differs", "duplicate in bill"}
    assert rows["differs"]["detail"] == "amount: 1200 1300"
    assert rows["ours only"]["our_record"].startswith("sale m1/")


def test_nothing_is_changed(payswitch: Any, channel: Billed, postgres_dsn: str) -> None:
    async def everything() -> list[Any]:
        connection = await asyncpg.connect(postgres_dsn)
        rows = [await connection.fetch(f"SELECT * FROM {name}") for name in ("authorizations", "follow_ups")]
        await connection.close()
        return rows

    sell(postgres_dsn, "a")
    before = asyncio.run(everything())
    channel.says = Bill("alipay", DAY, (line("a", money=Money(1, "CNY")), line("b")))
    assert payswitch("compare").exit_code == 1
    assert asyncio.run(everything()) == before


@pytest.mark.parametrize("command", ["fetch", "compare"])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BillNotReady("ready after 10:00"), "not ready: ready after 10:00"),
        (BillRefused("hash", "SHA1 differs"), "the bill is refused: hash: SHA1 differs"),
        (ConnectionError("refused"), "ConnectionError: refused"),
    ],
)
def test_no_bill_is_3(payswitch: Any, channel: Billed, command: str, error: Exception, says: str) -> None:
    channel.says = error
    result = payswitch(command)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", f"payswitch: {says}\n")
    assert channel.asked[-1] == "close"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--channel", "unionpay"], "unionpay has no bill"),
        (["--channel", "visa"], "no channel 'visa'; there are unionpay, alipay, wechat"),
        (["--day", "yesterday"], "--day 'yesterday' is not YYYY-MM-DD"),
    ],
)
def test_usage_is_2(payswitch: Any, channel: Billed, options: list[str], says: str) -> None:
    arguments = ["--channel", "alipay", "--day", DAY.isoformat()]
    result = CliRunner().invoke(cli.app, ["bill", "fetch", *arguments, *options])
    assert result.exit_code == 2
    assert says in result.stderr
    assert channel.asked == []


@pytest.mark.parametrize(
    ("options", "target"),
    [
        (["--channel", "issuer:bank-1"], "127.0.0.1:7443"),
        (["--channel", "issuer:bank-1", "--through", "other:1"], "other:1"),
        (["--through", "other:2"], "other:2"),
    ],
)
def test_a_running_switch_is_asked(
    payswitch: Any, channel: Billed, monkeypatch: pytest.MonkeyPatch, options: list[str], target: str
) -> None:
    """As an operator, with a certificate of the development authority."""
    asked: list[Any] = []

    async def bill_through(address: str, credentials: Any, name: str, day: Any) -> Bill:
        asked.append((address, name, day, b"BEGIN CERTIFICATE" in credentials.certificate))
        return Bill(name, day, (line("a"),))

    monkeypatch.setattr(billing, "bill_through", bill_through)
    arguments = ["bill", "fetch", "--channel", "alipay", "--day", DAY.isoformat(), *options]
    result = CliRunner().invoke(cli.app, arguments)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    assert asked == [(target, options[1] if options[0] == "--channel" else "alipay", DAY, True)]
    assert Path(".payswitch/pki/operator-bill.pem").exists()
    assert channel.asked == []


def test_another_authority_needs_a_certificate_of_its_own(
    payswitch: Any, channel: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYSWITCH_TLS__CA", "/etc/ca.pem")
    assert payswitch("fetch", "--through", "other:1").exit_code == 2
    assert payswitch("fetch", "--through", "other:1", "--certificate", "x.pem").exit_code == 2
    assert not Path(".payswitch").exists()


def test_a_journal_that_is_away_is_3(
    payswitch: Any, channel: Billed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PAYSWITCH_POSTGRES_URL", f"postgresql://x@/x?host={tmp_path}")
    assert payswitch("compare").exit_code == 3


def test_a_day_is_reconciled_and_told(payswitch: Any, channel: Billed, postgres_dsn: str) -> None:
    async def forget() -> None:
        connection = await asyncpg.connect(postgres_dsn)
        for table in TABLES:
            await connection.execute(f"DELETE FROM {table}")
        await connection.close()

    def reconciled(*lines: BillLine) -> Result:
        with Path("bill.csv").open("w", newline="") as file:
            write_bill(Bill("alipay", date(2026, 1, 2), lines), file)
        named = ["bill", "reconcile", "--channel", "alipay", "--day", "2026-01-02", "--bill", "bill.csv"]
        return CliRunner().invoke(cli.app, named)

    asyncio.run(forget())
    theirs = line("theirs", time_ms=day_of(date(2026, 1, 2), 0).from_ms + 43_200_000)
    for _ in range(2):
        found = reconciled(theirs)
        assert found.exit_code == 1, found.output
        assert counted(found) == {"THEIRS_ONLY": 1, "breaks that have not ended": 1}
        assert "bill 1" in found.stdout
    corrected = reconciled()
    assert (corrected.exit_code, counted(corrected)) == (0, {"breaks that have not ended": 0})
    assert "bill 2" in corrected.stdout
    too_soon = payswitch("reconcile")
    assert (too_soon.exit_code, "has not ended" in too_soon.output) == (3, True)
    asyncio.run(forget())
