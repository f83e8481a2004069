"""Statements and balances: every line, to the minor unit, as of one moment."""

import csv
from io import StringIO
from random import Random

import pytest
from books import DAY, NEXT_DAY, SHOP, Books, life

from switch.domain.access import Caller, Role
from switch.domain.books import StatementFrame, StatementLine
from switch.domain.business_day import later
from switch.domain.journal_event import EventKind
from switch.domain.money import Money
from switch.domain.refusals import Invalid, TooMany
from switch.settlement.statement import StatementCsv, check_period

ANN = Caller("finance/ann", frozenset({Role.FINANCE}))


async def read(
    books: Books, first: str, last: str, currency: str = "CNY"
) -> tuple[StatementFrame, list[StatementLine], StatementFrame]:
    opening, *lines, closing = [each async for each in books.accounts.statement(SHOP, currency, first, last)]
    assert isinstance(opening, StatementFrame)
    assert isinstance(closing, StatementFrame)
    return opening, [each for each in lines if isinstance(each, StatementLine)], closing


async def test_every_line_from_the_opening_to_the_closing_balance(books: Books) -> None:
    books.merchants.sign(refunds_return_fee=True, reserve_basis_points=1_000, reserve_days=7)
    sale = await books.sale(10_000)
    await books.sale(500, merchant_id="other")
    await books.close_day()
    await books.settlements.create("k", "CNY", ANN)
    await books.enter(books.event(EventKind.REFUNDED, 5_000, of=sale, day=NEXT_DAY))
    opening, lines, closing = await read(books, NEXT_DAY, NEXT_DAY)
    assert (opening.balance_minor, closing.balance_minor) == (9_940, -4_970)
    told = {each.kind.name: (each.gross_minor, each.fee_minor, each.amount_minor) for each in lines}
    assert told == {"SETTLEMENT": (0, 0, -9_940), "REFUND": (-5_000, -30, -4_970)}
    _, [first], closing = await read(books, DAY, DAY)
    assert (first.gross_minor, first.fee_minor, first.amount_minor, first.balance_minor) == (10_000, 60, 9_940, 9_940)
    assert closing.balance_minor == 9_940
    assert await read(books, DAY, DAY, "HKD") == (
        StatementFrame(SHOP, "HKD", DAY, DAY, 0), [], StatementFrame(SHOP, "HKD", DAY, DAY, 0),
    )  # fmt: skip


async def test_days_closed_or_open_the_balances_meet(books: Books) -> None:
    random = Random(3)
    books.merchants.sign(refunds_return_fee=True)
    days = [later(DAY, number) for number in range(4)]
    for day in days:
        await books.enter(*(event for _ in range(25) for event in life(books, random, day=day)))
    await books.close_day(days[0])
    await books.close_day(days[1])
    before = 0
    for day in days:
        opening, lines, closing = await read(books, day, day)
        assert opening.balance_minor == before
        for line in lines:
            before += line.amount_minor
            assert line.balance_minor == before
            assert line.amount_minor == line.gross_minor - line.fee_minor
        assert closing.balance_minor == before
    assert before == -await books.balance()
    _, lines, closing = await read(books, days[0], days[-1])
    assert closing.balance_minor == before
    assert len(lines) == await books.pool.fetchval("SELECT count(DISTINCT transaction_id) FROM ledger_entries")
    of_shop = {each.account: each for each in await books.accounts.balances_of(SHOP)}
    _, _, closed = await read(books, days[0], days[1])
    assert (of_shop["merchant"].closed_minor, of_shop["merchant"].now_minor) == (-closed.balance_minor, -before)
    assert await books.accounts.balances(("", "", ""), 100) == list(of_shop.values())


async def test_the_csv_adds_up(books: Books) -> None:
    books.merchants.sign()
    sale = await books.sale(10_000)
    await books.enter(books.event(EventKind.REFUNDED, 10_000, of=sale))
    maker, data = StatementCsv(), b""
    async for part in books.accounts.statement(SHOP, "CNY", DAY, DAY):
        data += maker.part(part)
    opening, sold, refunded, closing = csv.DictReader(StringIO(data.decode(), newline=""))
    assert (opening["kind"], opening["balance"]) == ("OPENING_BALANCE", "0.00")
    assert [sold[each] for each in ("day", "kind", "gross", "fee", "amount", "balance", "currency")] == [
        DAY, "PAYMENT", "100.00", "0.60", "99.40", "99.40", "CNY",
    ]  # fmt: skip
    assert sold["time"].startswith(f"{DAY}T12:00:00.0")
    assert [refunded[each] for each in ("gross", "fee", "amount", "balance")] == ["-100.00", "0.00", "-100.00", "-0.60"]
    assert (closing["kind"], closing["balance"]) == ("CLOSING_BALANCE", f"-{Money(60, 'CNY').decimal_text()}")


async def test_too_many_statements_at_once_are_refused(books: Books) -> None:
    held = [books.accounts.statement(SHOP, "CNY", DAY, DAY) for _ in range(2)]
    for each in held:
        await anext(each)
    with pytest.raises(TooMany):
        await read(books, DAY, DAY)
    for each in held:
        await each.aclose()
    await read(books, DAY, DAY)


async def test_a_reader_sees_one_moment(books: Books) -> None:
    books.merchants.sign()
    await books.sale(1_000)
    reading = books.accounts.statement(SHOP, "CNY", DAY, NEXT_DAY)
    opening = await anext(reading)
    await books.sale(5_000)
    rest = [each async for each in reading]
    assert (opening.balance_minor, rest[-1].balance_minor, len(rest)) == (0, 994, 2)


@pytest.mark.parametrize(
    ("first", "last"), [(NEXT_DAY, DAY), (DAY, later(DAY, 92)), ("", DAY), (DAY, "2026-13-01"), (DAY, "20260303")]
)
def test_periods_are_bounded(first: str, last: str) -> None:
    check_period(DAY, later(DAY, 91))
    with pytest.raises(Invalid):
        check_period(first, last)
