"""Daily bills, against the simulator's book and against everything that can be wrong with one."""

import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.wechat import bill
from adapters.wechat.metrics import REFUSED_BILLS
from adapters.wechat.simulator.bills import BillCounter, fund_flow_bill, trade_bill
from adapters.wechat.simulator.world import CallFault
from switch.domain.bill import BillKind
from switch.domain.states import Operation
from switch.ports import BillNotReady, BillRefused

pytestmark = pytest.mark.usefixtures("clear_of_midnight")

ZONE = ZoneInfo("Asia/Shanghai")
MCHID = "1230000109"


@pytest.fixture
async def simulator(simulator_for: Any) -> Any:
    return await simulator_for(bills_at_once=True)


def today(simulator: Any) -> date:
    return datetime.fromtimestamp(simulator.world.now_s(), ZONE).date()


@pytest.fixture
async def traded(till: Any, simulator: Any) -> Any:
    """Three payments, one of them reversed, one refunded in part; one that failed."""
    sales = [till.sale(amount) for amount in (1_000, 2_345, 83)]
    for sale in sales:
        await till.do_one(sale)
    await till.do_one(till.sale(990_151))
    await till.do_one(till.follow(sales[1], Operation.REVERSAL))
    refund = till.follow(sales[0], Operation.REFUND, 400)
    await till.do_one(refund)
    return sales, refund


async def test_the_bill_agrees_with_the_book(till: Any, simulator: Any, traded: Any) -> None:
    sales, refund = traded
    made = await till.channel.bill(today(simulator))
    numbers = [sale.trace["out_trade_no"] for sale in sales]
    assert (made.channel, made.day) == ("wechat", today(simulator))
    by_kind = {kind: [line for line in made.lines if line.kind is kind] for kind in BillKind}
    payments = [(line.reference, line.money.amount_minor, line.fee_minor) for line in by_kind[BillKind.PAYMENT]]
    assert payments == [(numbers[0], 1_000, 6), (numbers[1], 2_345, 14), (numbers[2], 83, 0)]
    [back] = by_kind[BillKind.REFUND]
    assert (back.reference, back.original_reference) == (refund.trace["out_refund_no"], numbers[0])
    assert (back.money.amount_minor, back.fee_minor) == (400, -2)
    [reversal] = by_kind[BillKind.REVERSAL]
    assert (reversal.reference, reversal.money.amount_minor, reversal.fee_minor) == (numbers[1], 2_345, -14)
    booked = {entry["out_trade_no"]: entry for entry in simulator.book() if entry["kind"] == "payment"}
    assert {line.channel_reference for line in by_kind[BillKind.PAYMENT]} == {
        booked[number]["transaction_id"] for number in numbers
    }


async def test_the_fund_flow_agrees_with_the_trade_bill(
    till_for: Any, settings_for: Any, simulator: Any, traded: Any
) -> None:
    till = await till_for(settings_for(simulator, fund_flow_check=True))
    made = await till.channel.bill(today(simulator))
    flows = await till.channel.fund_flow(today(simulator))
    [book] = simulator.world.books.values()
    assert sum(each.amount_fen for each in flows) == flows[-1].balance_fen == book.balance_fen()
    assert len(made.lines) == 5


async def test_certificates_verify_offers_of_bills_too(
    till_for: Any, settings_for: Any, simulator: Any, traded: Any, certificate_settings: Any
) -> None:
    till = await till_for(settings_for(simulator, **certificate_settings(simulator)))
    assert await till.channel._keeper.refresh()
    assert len((await till.channel.bill(today(simulator))).lines) == 5


# --- not ready, not to be had ---------------------------------------------------------------------------------------


async def test_a_day_without_trade_has_no_bill(till: Any, simulator: Any) -> None:
    with pytest.raises(BillNotReady, match="NO_STATEMENT_EXIST"):
        await till.channel.bill(today(simulator) - timedelta(days=3))


async def test_a_day_that_is_not_over_has_no_bill(till: Any, simulator: Any, traded: Any) -> None:
    simulator.world.bills.at_once = False
    for ahead in (0, 1):
        with pytest.raises(BillNotReady, match="PARAM_ERROR"):
            await till.channel.bill(today(simulator) + timedelta(days=ahead))


def test_a_bill_is_ready_at_ten_the_next_day() -> None:
    now = datetime(2026, 3, 2, 9, 59, 59, tzinfo=ZONE)
    counter = BillCounter(lambda: now.timestamp(), at_once=False)
    with pytest.raises(Exception, match="STATEMENT_CREATING"):
        counter.day("2026-03-01")
    assert counter.day("2026-02-28") == date(2026, 2, 28)
    now += timedelta(seconds=1)
    assert counter.day("2026-03-01") == date(2026, 3, 1)
    for wrong in ("2026-03-02", "2026-03-03", "2025-01-01", "20260301", ""):
        with pytest.raises(Exception, match="PARAM_ERROR"):
            counter.day(wrong)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/tradebill", 500, "SYSTEM_ERROR"),
        ("/tradebill", 403, "NO_AUTH"),
        ("/tradebill", 429, "FREQUENCY_LIMITED"),
        ("/file", 404, "RESOURCE_NOT_EXISTS"),
    ],
)
async def test_a_bill_that_cannot_be_had(
    till: Any, simulator: Any, traded: Any, path: str, status: int, code: str
) -> None:
    simulator.world.faults.append(CallFault(path, status, code))
    with pytest.raises(ConnectionError):
        await till.channel.bill(today(simulator))
    assert len((await till.channel.bill(today(simulator))).lines) == 5


async def test_a_platform_that_is_down(till: Any, simulator: Any, traded: Any) -> None:
    await simulator.stop_listening()
    with pytest.raises(ConnectionError):
        await till.channel.bill(today(simulator))


async def test_a_merchant_of_v2_has_no_bill_here(
    till_for: Any, settings_for: Any, simulator: Any, v2_settings: Any
) -> None:
    till = await till_for(settings_for(simulator, **v2_settings))
    with pytest.raises(ConnectionError, match="v2"):
        await till.channel.bill(today(simulator))


# --- not believed ---------------------------------------------------------------------------------------------------


def lines_of(plain: bytes) -> list[str]:
    return plain.decode("utf-8-sig").split("\r\n")


def joined(lines: list[str]) -> bytes:
    return b"\xef\xbb\xbf" + "\r\n".join(lines).encode()


def without_a_line(lines: list[str]) -> list[str]:
    return lines[:2] + lines[3:]


def with_an_extra_line(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[2].replace(lines[2].split(",`")[6], "another-number"), *lines[3:]]


def with_a_line_twice(lines: list[str]) -> list[str]:
    return [*lines[:3], *lines[2:]]


def with_a_changed_amount(lines: list[str]) -> list[str]:
    return [*lines[:1], lines[1].replace("`10.00", "`10.01"), *lines[2:]]


def with_a_changed_number(lines: list[str]) -> list[str]:
    return [*lines[:1], lines[1].replace("`10.00", "`9.99", 1), *lines[2:]]


CHANGES: list[tuple[Callable[[list[str]], list[str]], str]] = [
    (without_a_line, "totals"),
    (with_an_extra_line, "totals"),
    (with_a_changed_amount, "totals"),
    (with_a_changed_number, "totals"),
    (with_a_line_twice, "malformed"),
    (lambda lines: lines[:-2], "malformed"),
    (lambda lines: lines[1:], "malformed"),
    (lambda lines: [], "malformed"),
    (lambda lines: [lines[0], lines[1].replace("`CNY", "`USD"), *lines[2:]], "malformed"),
    (lambda lines: [lines[0], lines[1].replace("`SUCCESS", "`GUESSED"), *lines[2:]], "malformed"),
    (lambda lines: [lines[0], lines[1].replace("`10.00", "`10.001"), *lines[2:]], "malformed"),
    (lambda lines: [lines[0], lines[1].replace("`10.00", "`1e1"), *lines[2:]], "malformed"),
    (lambda lines: [lines[0], lines[1].replace("`10.00", "`-10.00"), *lines[2:]], "malformed"),
    (lambda lines: [lines[0], lines[1] + ",`one more", *lines[2:]], "malformed"),
    (lambda lines: [lines[0], lines[1][1:], *lines[2:]], "malformed"),
    (lambda lines: [lines[0].replace("手续费,", "费,"), *lines[1:]], "malformed"),
    (lambda lines: [lines[0], lines[1].replace(f"`{MCHID}", "`1230000110"), *lines[2:]], "foreign"),
]


@pytest.mark.parametrize(("change", "cause"), CHANGES, ids=range(len(CHANGES)))
async def test_a_changed_bill_that_hashes_well(
    till: Any, simulator: Any, traded: Any, change: Callable[[list[str]], list[str]], cause: str
) -> None:
    """As if the platform itself had made it so."""
    [book] = simulator.world.books.values()
    plain = trade_bill(book, today(simulator), "ALL", simulator.world.now_ms())
    assert len(bill.trade_lines([plain], MCHID, today(simulator))) == 5
    with pytest.raises(BillRefused) as refused:
        bill.trade_lines([joined(change(lines_of(plain)))], MCHID, today(simulator))
    assert refused.value.cause == cause


async def test_another_days_bill(till: Any, simulator: Any, traded: Any) -> None:
    [book] = simulator.world.books.values()
    plain = trade_bill(book, today(simulator), "ALL", simulator.world.now_ms())
    with pytest.raises(BillRefused, match="another day"):
        bill.trade_lines([plain], MCHID, today(simulator) - timedelta(days=1))


async def test_a_file_that_is_not_what_was_offered(
    till: Any, simulator: Any, traded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's answer is unsigned: only the hash of its offer, which is signed, holds it."""
    before: float = REFUSED_BILLS.labels("hash")._value.get()
    offer = simulator.world.bills.offer

    def swapped(mchid: str, content: bytes, gzipped: bool) -> str:
        token: str = offer(mchid, joined(without_a_line(lines_of(content))), gzipped)
        return token

    monkeypatch.setattr(simulator.world.bills, "offer", swapped)
    with pytest.raises(BillRefused) as refused:
        await till.channel.bill(today(simulator))
    assert refused.value.cause == "hash"
    assert REFUSED_BILLS.labels("hash")._value.get() == before + 1


@pytest.mark.parametrize(
    "packed", [b"", b"PK", gzip.compress(b"bill")[:-4], gzip.compress(b"bill") + b"x", gzip.compress(b"b") * 2]
)
def test_packing_that_is_broken(packed: bytes) -> None:
    with pytest.raises(BillRefused) as refused:
        list(bill.unpacked(packed, hashlib.sha1(b"bill").hexdigest()))
    assert refused.value.cause == "malformed"


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill, "_LARGEST_BYTES", 1_000)
    with pytest.raises(BillRefused, match="too large"):
        list(bill.unpacked(gzip.compress(b"\0" * 1_001), ""))


def test_a_bomb_is_given_up_where_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty megabytes in little: no more of them are ever there than a few pieces."""
    bomb = gzip.compress(b"\0" * 30_000_000, 1)
    monkeypatch.setattr(bill, "_LARGEST_BYTES", 10_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BillRefused, match="too large"):
            for _ in bill.unpacked(bomb, ""):
                pass
        with pytest.raises(BillRefused, match="line is too long"):
            bill.trade_lines(bill.unpacked(bomb, ""), MCHID, date(2026, 1, 2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


async def test_a_large_bill_takes_little_memory(till: Any, simulator: Any, traded: Any) -> None:
    """The first line twenty thousand times, under numbers of their own: what is kept of them is shorter than the text,
    and nothing else is large."""
    [book] = simulator.world.books.values()
    header, first, *_, summary_header, _, _ = lines_of(
        trade_bill(book, today(simulator), "ALL", simulator.world.now_ms())
    )
    cells = dict(zip(header.removeprefix("\ufeff").split(","), first.removeprefix("`").split(",`"), strict=True))
    count, number = 20_000, cells["商户订单号"]
    totals = {"应结订单总金额": "应结订单金额", "退款总金额": "退款金额", "充值券退款总金额": "充值券退款金额"}
    totals |= {"手续费总金额": "手续费", "订单总金额": "订单金额", "申请退款总金额": "申请退款金额"}
    sums = [str(Decimal(cells[totals[name]]) * count) for name in summary_header.split(",")[1:]]
    said = ["`" + str(count), *sums]
    rows = [first.replace(number, f"{number[:-6]}{n:06d}") for n in range(count)]
    plain = joined([header, *rows, summary_header, ",`".join(said), ""])
    del rows
    packed, sha1 = gzip.compress(plain, 1), hashlib.sha1(plain).hexdigest()
    size = len(plain)
    del plain
    tracemalloc.start()
    try:
        lines = bill.trade_lines(bill.unpacked(packed, sha1), MCHID, today(simulator))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(lines) == count
    assert peak < size * 2 / 3


@pytest.mark.parametrize(
    "change",
    [
        without_a_line,
        lambda lines: [lines[0], lines[1].replace("`10.00,`10.00", "`10.01,`10.00"), *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines[:-2], lines[-2].replace("`9,", "`8,"), ""],
    ],
    ids=["missing", "changed", "out of order", "count"],
)
async def test_a_changed_fund_flow(
    till: Any, simulator: Any, traded: Any, change: Callable[[list[str]], list[str]]
) -> None:
    [book] = simulator.world.books.values()
    plain = fund_flow_bill(book, today(simulator))
    flows = list(bill.flows([plain], today(simulator)))
    assert len(flows) == 9
    with pytest.raises(BillRefused) as refused:
        list(bill.flows([joined(change(lines_of(plain)))], today(simulator)))
    assert refused.value.cause == "totals"


async def test_two_bills_that_differ(till_for: Any, settings_for: Any, simulator: Any, traded: Any) -> None:
    till = await till_for(settings_for(simulator, fund_flow_check=True))
    [book] = simulator.world.books.values()
    book._move(simulator.world.now_ms(), book.orders(0)[0], "交易", 1, "out of nothing")
    with pytest.raises(BillRefused) as refused:
        await till.channel.bill(today(simulator))
    assert refused.value.cause == "totals"


@pytest.mark.parametrize(
    ("offer", "exception"),
    [
        ({"download_url": "https://x/v3/other?token=1"}, "download_url"),
        ({"hash_type": "MD5"}, "SHA-1"),
        ({"hash_value": "zz"}, "SHA-1"),
        ({"download_url": 1}, "download_url"),
    ],
)
async def test_an_offer_that_is_no_offer(
    till: Any, simulator: Any, monkeypatch: pytest.MonkeyPatch, offer: dict[str, Any], exception: str
) -> None:
    fetch = till.channel._billing._fetch
    good = {"hash_type": "SHA1", "hash_value": "0" * 40, "download_url": "https://x/v3/billdownload/file?token=1"}

    async def offered(call: Any, *largest: int) -> Any:
        answer = await fetch(call, *largest)
        body = json.dumps(good | offer).encode()
        return type(answer)(200, simulator.world.platform.headers(body, simulator.public_key_id), body)

    monkeypatch.setattr(till.channel._billing, "_fetch", offered)
    with pytest.raises(BillRefused, match=exception):
        await till.channel.bill(today(simulator))
