"""Daily bills: those that agree with the books, and those that are not believed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from issuer_loopback import LoopbackSwitch
from prometheus_client import REGISTRY

from adapters.issuer.bill import CHUNK_LINES, BillReader
from adapters.issuer.messages import BillChunk, IssuerBillLine, IssuerBillTotal
from switch.client.issuer import IssuerConnection
from switch.domain.bill import Bill, BillKind
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import BillNotReady, BillRefused

DAY = date(2026, 3, 4)
NOON_MS = int(datetime(2026, 3, 4, 4, tzinfo=UTC).timestamp() * 1000)  # noon in Shanghai


class Wall:
    """A clock on the wall, Unix milliseconds."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def __call__(self) -> int:
        return self.now_ms


async def a_days_trade(switch: LoopbackSwitch) -> list[tuple[BillKind, str, int]]:
    """What it comes to: (kind, message id, amount)."""
    sale, reversed_sale = switch.request(1_000), switch.request(2_000)
    hold, silent_hold = (switch.request(3_000, Operation.PRE_AUTHORIZATION) for _ in range(2))
    declined = switch.request(990_105)
    refund = switch.request(300, Operation.REFUND, of=sale.authorization)
    reversal = switch.request(2_000, Operation.REVERSAL, of=reversed_sale.authorization)
    captures = [switch.request(each, Operation.CAPTURE, of=hold.authorization) for each in (1_100, 1_200)]
    no_money = switch.request(3_000, Operation.REVERSAL, of=silent_hold.authorization)
    for each in (sale, reversed_sale, hold, silent_hold, declined, refund, reversal, *captures, no_money):
        await switch.ask(each)
    name = {id(each): each.trace["message_id"] for each in (sale, reversed_sale, refund, reversal, *captures)}
    return [
        (BillKind.PAYMENT, name[id(sale)], 1_000),
        (BillKind.PAYMENT, name[id(reversed_sale)], 2_000),
        (BillKind.REFUND, name[id(refund)], 300),
        (BillKind.REVERSAL, name[id(reversal)], 2_000),
        (BillKind.PAYMENT, name[id(captures[0])], 1_100),
        (BillKind.PAYMENT, name[id(captures[1])], 1_200),
    ]


async def test_the_bill_is_the_days_movements(switch: LoopbackSwitch) -> None:
    wall = Wall()
    await switch.simulator(now_ms=wall)
    expected = await a_days_trade(switch)
    with pytest.raises(BillNotReady):
        await switch.channel.bill(DAY)
    wall.now_ms += 24 * 3_600_000
    bill = await switch.channel.bill(DAY)
    assert (bill.channel, bill.day) == ("issuer:bank", DAY)
    assert [(line.kind, line.reference, line.money.amount_minor) for line in bill.lines] == expected
    assert bill.lines[0].fee_minor == 3
    assert bill.lines[2].original_reference == bill.lines[0].reference
    assert {line.time_ms for line in bill.lines} == {NOON_MS}
    assert await switch.channel.bill(DAY - timedelta(days=1)) == Bill("issuer:bank", DAY - timedelta(days=1), ())


async def test_a_long_bill_comes_in_parts_and_payments_between_them(switch: LoopbackSwitch) -> None:
    wall = Wall()
    simulator = await switch.simulator(now_ms=wall)
    for each in range(100):
        await asyncio.gather(*switch.channel.send([switch.request(1 + each) for _ in range(30)]))
    wall.now_ms += 24 * 3_600_000
    asked = asyncio.create_task(switch.channel.bill(DAY))
    payment = await switch.ask(switch.request(7))
    bill = await asked
    assert payment.response_code == "00"
    assert len(bill.lines) == 3_000
    assert sum(line.money.amount_minor for line in bill.lines) == 30 * sum(range(1, 101))
    assert len(simulator.book()) == 3_001


async def test_two_may_ask_at_once(switch: LoopbackSwitch) -> None:
    wall = Wall()
    await switch.simulator(now_ms=wall)
    await a_days_trade(switch)
    wall.now_ms += 24 * 3_600_000
    one, other = await asyncio.gather(switch.channel.bill(DAY), switch.channel.bill(DAY))
    assert one == other


async def test_no_bill_without_a_link_or_with_a_lost_or_silent_one(start_switch) -> None:
    switch = await start_switch(bill_silence_s=0.1)
    with pytest.raises(ConnectionError, match="not signed on"):
        await switch.channel.bill(DAY)

    hold = asyncio.Event()

    async def handler(messages: object) -> list[object]:
        return []

    async def never(day: date) -> list[IssuerBillLine]:
        hold.set()
        await asyncio.Event().wait()
        return []

    connection = IssuerConnection(switch.target, "bank", handler, bill=never)
    running = asyncio.create_task(connection.run())
    await asyncio.wait_for(connection.ready.wait(), 30)
    await switch.settled(lambda: switch.hub.link_count("bank") == 1)
    with pytest.raises(ConnectionError, match="no more"):
        await switch.channel.bill(DAY)
    hold.clear()
    switch.channel._bills._silence_s = 30
    asked = asyncio.create_task(switch.channel.bill(DAY))
    await hold.wait()
    connection.disconnect()
    with pytest.raises(ConnectionError, match="lost"):
        await asked
    await connection.close()
    await running


# --- what is not believed ---------------------------------------------------------------------------------------------


def line(number: int, kind: BillKind = BillKind.PAYMENT, **changes: object) -> IssuerBillLine:
    return replace(IssuerBillLine(kind, f"m-{number}", Money(100, "CNY"), NOON_MS, fee_minor=1), **changes)


LINES = [line(1), line(2), line(3, BillKind.REFUND, fee_minor=-1)]
TOTALS = [
    IssuerBillTotal(BillKind.PAYMENT, "CNY", 2, 200, 2),
    IssuerBillTotal(BillKind.REFUND, "CNY", 1, 100, -1),
]


def read(*chunks: BillChunk) -> Bill | None:
    reader = BillReader("issuer:bank", DAY)
    for chunk in chunks[:-1]:
        assert reader.take(chunk) is None
    return reader.take(chunks[-1])


def test_a_bill_in_two_parts() -> None:
    bill = read(BillChunk("r", 0, LINES[:1]), BillChunk("r", 1, LINES[1:], TOTALS, last=True))
    assert bill is not None
    assert [each.reference for each in bill.lines] == ["m-1", "m-2", "m-3"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda lines, totals: (lines[1:], totals), "totals"),  # a missing line
        (lambda lines, totals: ([*lines, line(4)], totals), "totals"),  # an extra one
        (lambda lines, totals: ([*lines, line(4, money=Money(100, "USD"))], totals), "totals"),
        (lambda lines, totals: ([line(1, money=Money(101, "CNY")), *lines[1:]], totals), "totals"),  # a changed one
        (lambda lines, totals: ([line(1, fee_minor=2), *lines[1:]], totals), "totals"),
        (lambda lines, totals: ([line(1, kind=BillKind.REFUND), *lines[1:]], totals), "totals"),
        (lambda lines, totals: (lines, totals[:1]), "totals"),
        (lambda lines, totals: (lines, []), "totals"),
        (lambda lines, totals: (lines, [*totals, totals[0]]), "malformed"),
        (lambda lines, totals: (lines, [*totals, replace(totals[0], kind=None)]), "malformed"),
        (lambda lines, totals: ([*lines, lines[0]], totals), "malformed"),  # a line twice
        (lambda lines, totals: ([line(1, kind=None), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, message_id=""), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, message_id="m 1"), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, money=Money(0, "CNY")), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, money=Money(-100, "CNY")), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, money=Money(100, "XXX")), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, money=Money(10**12, "CNY")), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, fee_minor=101), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, original_message_id="\x7f"), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, issuer_reference="x" * 65), *lines[1:]], totals), "malformed"),
        (lambda lines, totals: ([line(1, booked_time_ms=NOON_MS + 86_400_000), *lines[1:]], totals), "foreign"),
        (lambda lines, totals: ([line(1, booked_time_ms=2**62), *lines[1:]], totals), "foreign"),
        (lambda lines, totals: ([line(each) for each in range(CHUNK_LINES + 1)], totals), "malformed"),
    ],
)
def test_a_bill_that_is_wrong_is_refused(
    change: Callable[[list[IssuerBillLine], list[IssuerBillTotal]], object], cause: str
) -> None:
    lines, totals = change(list(LINES), list(TOTALS))
    with pytest.raises(BillRefused) as refused:
        read(BillChunk("r", 0, lines, totals, last=True))
    assert refused.value.cause == cause


@pytest.mark.parametrize("sequence", [1, 2, 4_294_967_295])
def test_a_part_out_of_order_is_refused(sequence: int) -> None:
    with pytest.raises(BillRefused, match="malformed"):
        read(BillChunk("r", sequence, LINES, TOTALS, last=True))
    with pytest.raises(BillRefused, match="malformed"):
        read(BillChunk("r", 0, LINES[:1]), BillChunk("r", sequence + 1, LINES[1:], TOTALS, last=True))


def test_midnight_is_shanghais() -> None:
    day_begins_ms = NOON_MS - 12 * 3_600_000
    total = IssuerBillTotal(BillKind.PAYMENT, "CNY", 1, 100, 1)
    assert read(BillChunk("r", 0, [line(1, booked_time_ms=day_begins_ms)], [total], last=True))
    with pytest.raises(BillRefused, match="foreign"):
        read(BillChunk("r", 0, [line(1, booked_time_ms=day_begins_ms - 1)], [total], last=True))


async def test_a_refused_bill_is_counted_by_its_cause_and_the_link_lives(switch: LoopbackSwitch) -> None:
    wall = Wall()
    simulator = await switch.simulator(now_ms=wall)
    wall.now_ms += 24 * 3_600_000
    link = next(iter(simulator.connection._lines)).link

    async def of_another_day(day: date) -> list[IssuerBillLine]:
        return [line(1, booked_time_ms=0)]

    link._bill = of_another_day
    labels = {"issuer": "bank", "cause": "bill_foreign"}
    before = REGISTRY.get_sample_value("payswitch_issuer_refused_total", labels) or 0
    with pytest.raises(BillRefused, match="foreign"):
        await switch.channel.bill(DAY)
    assert REGISTRY.get_sample_value("payswitch_issuer_refused_total", labels) == before + 1
    assert (await switch.ask(switch.request())).response_code == "00"
