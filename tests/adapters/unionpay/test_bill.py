"""The daily bill: it agrees with the network's book, and a damaged one is refused whole."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.unionpay import metrics
from adapters.unionpay.settlement_file import read_bill
from adapters.unionpay.simulator import SimulatorSettings, UnionPaySimulator
from adapters.unionpay.simulator.settlement import settlement_file
from switch.domain.bill import BillKind
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import BillNotReady, BillRefused

INSTITUTION = "44190440"
DAY = date(2026, 11, 27)

# Written by hand: a sale of 12.00 with a fee of 0.05, and a refund of 2.00 of it a minute later.
LINES = (
    "00010000    44190440    046875 1127152000 622588******0019    000000001200 156 0200 000000 T0000001"
    " 104110554110001 32EZ0C046875 000001 D 00000000005 0000000000 000000 20261127152001\n"
    "00010000    44190440    046876 1127152100 622588******0019    000000000200 156 0220 200000 T0000001"
    " 104110554110001 32EZ0C046876 000002 C 00000000001 1127152000 046875 20261127152101\n"
)


def closed(text: str, **changes: Any) -> bytes:
    """With its line of totals: two lines, 12.00 paid, 2.00 returned."""
    totals = {
        "day": "20261127",
        "institution": INSTITUTION.ljust(11),
        "lines": 2,
        "paid": 1200,
        "returned": 200,
        "digest": hashlib.sha256(text.encode("latin-1")).hexdigest(),
    } | changes
    closing = "TOTAL {day} {institution} {lines:09d} {paid:016d} {returned:016d} {digest}\n"
    return text.encode("latin-1") + closing.format(**totals).encode()


GOOD_DIGEST = hashlib.sha256(LINES.encode()).hexdigest()


def read(content: bytes, **changes: Any) -> Any:
    return read_bill("unionpay", DAY, INSTITUTION, [io.BytesIO(content)], **changes)


def test_a_file_written_by_hand() -> None:
    bill = read(closed(LINES))
    assert (bill.channel, bill.day, len(bill.lines)) == ("unionpay", DAY, 2)
    sale, refund = bill.lines
    assert (sale.kind, sale.reference, sale.money, sale.fee_minor) == (
        BillKind.PAYMENT, "1127152000-046875", Money(1200, "CNY"), 5,
    )  # fmt: skip
    assert sale.original_reference == ""
    assert sale.channel_reference == "1127152000046875"
    assert sale.time_ms == 1_795_764_001_000
    assert (refund.kind, refund.original_reference, refund.fee_minor) == (BillKind.REFUND, sale.reference, -1)
    assert read(LINES.encode(), totals=False) == bill
    assert read(closed("", lines=0, paid=0, returned=0)).lines == []


FIRST, SECOND = LINES.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (closed(FIRST), "totals"),  # a line is missing
        (closed(LINES + SECOND.replace("046876", "046877")), "totals"),  # one too many
        (closed(LINES.replace("000000001200", "000000001201")), "totals"),  # an amount was changed
        (closed(LINES, paid=1201), "totals"),
        (closed(LINES, returned=0), "totals"),
        (closed(LINES, lines=3), "totals"),
        (LINES.encode(), "totals"),  # cut off before its totals
        (b"", "totals"),
        (closed(LINES.replace("32EZ0C046875", "32EZ0C046874"), digest=GOOD_DIGEST), "hash"),
        (closed(SECOND + FIRST, digest=GOOD_DIGEST), "hash"),
        (closed(LINES, day="20261126"), "foreign"),
        (closed(LINES, institution="00010001   "), "foreign"),
        (closed(LINES.replace("44190440", "44190441")), "foreign"),
        (closed(FIRST + FIRST, returned=0, paid=2400), "malformed"),
        (closed(LINES.replace("\n", " \n", 1)), "malformed"),
        (closed(LINES.replace(" 156 ", " 999 ", 1)), "malformed"),
        (closed(LINES.replace(" 0220 ", " 0110 ")), "malformed"),
        (closed(LINES.replace(" D ", " X ")), "malformed"),
        (closed(LINES.replace("20261127152001", "20261327152001")), "malformed"),
        (closed(LINES.replace("000000001200", "0000000012O0")), "malformed"),
        (closed(LINES.replace("000000001200", "000000000000")), "malformed"),
        (closed(LINES.replace("046875 1127", "046875_1127")), "malformed"),
        (closed(LINES.replace("T0000001", "T000000\xe9")), "malformed"),
    ],
)  # fmt: skip
def test_a_damaged_file(content: bytes, cause: str) -> None:
    with pytest.raises(BillRefused) as caught:
        read(content)
    assert caught.value.cause == cause


def test_every_line_removed_doubled_or_changed_is_noticed() -> None:
    content = closed(LINES)
    rows = content.splitlines(keepends=True)
    for at, row in enumerate(rows):
        for damaged in ([*rows[:at], *rows[at + 1 :]], [*rows[:at], row, *rows[at:]]):
            with pytest.raises(BillRefused):
                read(b"".join(damaged))
    for at, byte in enumerate(content):
        for other in (byte ^ 1, ord("7")):
            if other == byte:
                continue
            with pytest.raises(BillRefused):
                read(content[:at] + bytes((other,)) + content[at + 1 :])


class Endless(io.RawIOBase):
    """A file of zeros without a line's end, that counts what is read of it."""

    read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"0" * len(buffer)
        self.read_bytes += len(buffer)
        return len(buffer)


def test_a_line_without_an_end_is_given_up_soon() -> None:
    endless = Endless()
    with pytest.raises(BillRefused, match="too long"):
        read_bill("unionpay", DAY, INSTITUTION, [io.BufferedReader(endless)])
    assert endless.read_bytes < 100_000


# --- the network's own ------------------------------------------------------------------------------------------------


@pytest.fixture
async def network(settings: Any, mmk: bytes, tmp_path: Path) -> AsyncIterator[UnionPaySimulator]:
    simulator = UnionPaySimulator(SimulatorSettings({settings.forwarder: mmk}, bills_dir=tmp_path))
    await simulator.start()
    yield simulator
    await simulator.close()


@pytest.fixture
async def channel(start_channel: Any, network: Any, tmp_path: Path) -> Any:
    return await start_channel(network.port, bills_dir=str(tmp_path / INSTITUTION))


def name_of(request: Any) -> str:
    return f"{request.trace['transmission']}-{request.trace['stan']}"


async def test_the_day_after_a_cutover(
    network: Any, channel: Any, exchange_on: Any, make_request: Any, rich: Any, tmp_path: Path
) -> None:
    exchange = exchange_on(channel)
    day = network.settlement_day()
    with pytest.raises(ConnectionError):
        await channel.bill(day)
    before_minor = rich.balance_minor

    async def done(amount_minor: int, operation: Operation = Operation.SALE, original: Any = None) -> Any:
        request = make_request(rich, amount_minor, operation, original=original)
        await exchange(request)
        return request

    sale, partial = await done(1_000), await done(990_110)
    await done(990_151)  # declined
    refunds = [await done(300, Operation.REFUND, sale), await done(200, Operation.REFUND, sale)]
    voided = await done(500)
    void = await done(500, Operation.VOID, voided)
    hold = await done(2_000, Operation.PRE_AUTHORIZATION)
    captures = [await done(700, Operation.CAPTURE, hold), await done(300, Operation.CAPTURE, hold)]
    released = await done(2_000, Operation.PRE_AUTHORIZATION)
    await done(2_000, Operation.VOID, released)
    undone = await done(800)
    reversals = [await done(800, Operation.REVERSAL, undone) for _ in range(2)]  # the second finds it undone
    silent = make_request(rich, 990_200)
    channel.prepare([silent])
    channel.send([silent])
    await asyncio.sleep(0.05)

    await network.end_cutover()
    bill = await channel.bill(day)
    by_name = {each.reference: each for each in bill.lines}
    assert len(by_name) == len(bill.lines)
    payments = [each.reference for each in bill.lines if each.kind is BillKind.PAYMENT]
    assert payments == [name_of(each) for each in (sale, partial, voided, *captures, undone, silent)]
    assert by_name[name_of(partial)].money.amount_minor == 495_055
    assert [(each.reference, each.original_reference) for each in bill.lines if each.kind is BillKind.REFUND] == [
        (name_of(each), name_of(sale)) for each in refunds
    ]
    assert [(each.reference, each.original_reference) for each in bill.lines if each.kind is BillKind.REVERSAL] == [
        (name_of(void), name_of(voided)), (name_of(reversals[0]), name_of(undone)),
    ]  # fmt: skip
    signs = {BillKind.PAYMENT: -1, BillKind.REFUND: 1, BillKind.REVERSAL: 1}
    held_minor = 2_000 - 1_000  # of the pre-authorization, not captured yet
    moved_minor = sum(signs[each.kind] * each.money.amount_minor for each in bill.lines)
    assert rich.balance_minor == before_minor + moved_minor - held_minor
    file = next((tmp_path / INSTITUTION).iterdir())
    assert file.name == f"IND{day:%y%m%d}01ACOM"
    assert rich.pan not in file.read_text() + repr(bill)

    with pytest.raises(BillNotReady):
        await channel.bill(network.settlement_day())
    late = await done(400)
    network.write_bills(network.settlement_day())
    assert [each.reference for each in (await channel.bill(network.settlement_day())).lines] == [name_of(late)]
    assert (await channel.bill(day)) == bill


async def test_what_was_undone_twice_is_whole_again(
    network: Any, channel: Any, exchange_on: Any, make_request: Any, rich: Any
) -> None:
    """A client of its own may reverse a void: the sale stands, and the file says so line by line."""
    exchange = exchange_on(channel)
    sale = make_request(rich, 1_000)
    await exchange(sale)
    void = make_request(rich, 1_000, Operation.VOID, original=sale)
    await exchange(void)
    sale_entry, void_entry = network._book.of(INSTITUTION, f"{network.settlement_day()}")
    void_entry.original = sale_entry
    fields = {
        2: rich.pan, 3: "200000", 4: "000000001000", 7: "1127000000", 11: "000009", 12: "000000", 13: "1127",
        25: "00", 32: "00010000", 33: INSTITUTION, 37: void.trace["rrn"], 41: "T0000001", 42: "m" * 15,
        90: "0200" + void_entry.key,
    }  # fmt: skip
    assert network.rules.process("0420", "reversal", fields, None, [])[0] == "00"
    day = network.settlement_day()
    bill = read_bill(
        "unionpay",
        day,
        INSTITUTION,
        [io.BytesIO(settlement_file(INSTITUTION, day, network._book.of(INSTITUTION, f"{day}")))],
    )
    assert [each.kind for each in bill.lines] == [BillKind.PAYMENT, BillKind.REVERSAL, BillKind.PAYMENT]
    assert sum(each.fee_minor for each in bill.lines) == bill.lines[0].fee_minor


async def test_refusals_are_counted_and_files_of_several_batches_are_one_bill(
    start_channel: Any, network: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "arrivals"
    channel = await start_channel(network.port, bills_dir=str(folder))
    folder.mkdir()
    (folder / "IND26112701ACOM").write_bytes(closed(FIRST, lines=1, returned=0))
    (folder / "IND26112702ACOM").write_bytes(closed(SECOND, lines=1, paid=0))
    assert (await channel.bill(DAY)).lines == read(closed(LINES)).lines
    count: Callable[[], float] = lambda: metrics.REFUSED.labels("bill_totals")._value.get()  # noqa: E731
    before = count()
    (folder / "IND26112702ACOM").write_bytes(SECOND.encode())
    with pytest.raises(BillRefused):
        await channel.bill(DAY)
    assert count() == before + 1
    (folder / "IND26112703ACOM").mkdir()
    no_folder = await start_channel(network.port)
    with pytest.raises(ConnectionError):
        await no_folder.bill(DAY)


async def test_midnight_closes_the_day_too(settings: Any, mmk: bytes, tmp_path: Path) -> None:
    now = [datetime(2026, 11, 27, 23, 59)]
    network = UnionPaySimulator(SimulatorSettings({INSTITUTION: mmk}, bills_dir=tmp_path), now=lambda: now[0])
    assert network.settlement_day() == DAY
    now[0] = datetime(2026, 11, 28, 0, 1)
    assert network.settlement_day() == date(2026, 11, 28)
    assert [each.name for each in (tmp_path / INSTITUTION).iterdir()] == ["IND26112701ACOM"]
