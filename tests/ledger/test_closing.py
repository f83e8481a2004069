"""Closing days: once, in order, whole; and the checker finds whatever was changed behind its back."""

import asyncio
from datetime import date

import pytest
from books import DAY, NEXT_DAY, SHOP, Books

from switch.domain.business_day import begins_ms, ends_ms, later
from switch.domain.journal_event import EventKind
from switch.domain.ledger import Leg, Posting, PostingKind
from switch.domain.refusals import Invalid, NotPossible
from switch.settlement.close import DayClose
from switch.store.ledger import post
from switch.store.sessions import Connection, Sessions


async def test_a_day_is_summed_once(books: Books) -> None:
    books.merchants.sign()
    sale = await books.sale(10_000)
    await books.sale(5_000, merchant_id="m2", currency="HKD")
    await books.enter(books.event(EventKind.REFUNDED, 1_000, of=sale))
    closed = await books.close_day()
    assert (closed.day, closed.transactions, closed.entries) == (DAY, 3, 7)
    assert await books.close_day() == closed
    assert books.feed.completed == [date.fromisoformat(DAY)]
    totals, unpriced = await books.days.totals(DAY)
    assert [(each.currency, each.account, each.kind.name, each.amount_minor, each.entries) for each in totals] == [
        ("CNY", "channel:unionpay", "PAYMENT", 10_000, 1), ("CNY", "channel:unionpay", "REFUND", -1_000, 1),
        ("CNY", "fees", "PAYMENT", -60, 1), ("CNY", "merchant", "PAYMENT", -9_940, 1),
        ("CNY", "merchant", "REFUND", 1_000, 1), ("HKD", "channel:unionpay", "PAYMENT", 5_000, 1),
        ("HKD", "merchant", "PAYMENT", -5_000, 1),
    ]  # fmt: skip
    assert [each.merchant_id for each in unpriced] == ["m2"]
    balances = {
        (each.merchant_id, each.account): each.closed_minor for each in await books.accounts.balances(("",) * 3, 9)
    }
    assert balances[SHOP, "merchant"] == -8_940


async def test_a_day_is_not_closed_before_it_is_over_and_a_little_more(books: Books) -> None:
    books.clock.now_ms = ends_ms(DAY) + 299_999
    with pytest.raises(NotPossible, match="is not over"):
        await books.close.close(DAY, "finance/ann")
    books.clock.now_ms += 1
    assert (await books.close.close(DAY, "finance/ann")).sealed_by == "finance/ann"


async def test_a_day_that_may_be_closed_early_leaves_the_rest_to_the_next(books: Books) -> None:
    books.merchants.sign()
    books.clock.now_ms = begins_ms(DAY) + 13 * 3_600_000
    await books.sale(10_000)
    early = DayClose(books.days, books.batches, books.feed, books.follower, books.clock, early=True)
    assert (await early.close(DAY, "finance/ann")).transactions == 1
    await books.sale(700, time_ms=books.clock.now_ms)
    books.clock.now_ms = ends_ms(NEXT_DAY) + 300_000
    assert (await books.close_day(NEXT_DAY)).transactions == 1
    assert await books.checker.check("") == []


@pytest.mark.parametrize("day", ["", "2026-3-2", "20260302", "yesterday", "2026-02-30"])
async def test_what_is_no_day_is_refused(books: Books, day: str) -> None:
    with pytest.raises(Invalid):
        await books.close.close(day, "finance/ann")


async def test_days_are_closed_in_order_and_empty_ones_may_be_passed_over(books: Books) -> None:
    books.merchants.sign()
    await books.sale(day=DAY)
    with pytest.raises(NotPossible, match=f"there are entries of {DAY}"):
        await books.close_day(NEXT_DAY)
    await books.close_day(DAY)
    await books.close_day(later(DAY, 5))
    with pytest.raises(NotPossible, match="days are closed in order"):
        await books.close_day(NEXT_DAY)
    await books.sale(100, day=NEXT_DAY)  # late: of the first open day
    assert await books.pool.fetchval("SELECT max(day) FROM ledger_entries") == date.fromisoformat(later(DAY, 6))


async def test_what_the_feed_finds_at_the_end_is_of_the_day(books: Books) -> None:
    books.merchants.sign()
    books.feed.found = lambda: books.feed_in(books.event(amount=700))
    assert (await books.close_day()).transactions == 1
    assert await books.checker.check("") == []


async def test_two_who_close_at_once_close_it_once(books: Books) -> None:
    books.merchants.sign()
    await books.feed_in(*(books.event(amount=1_000) for _ in range(120)))
    both = await asyncio.gather(*(books.close.close(DAY, f"finance/{name}") for name in ("ann", "bob", "eve")))
    assert both[0] == both[1] == both[2]
    assert both[0].transactions == 120
    assert await books.checker.check("") == []
    assert await books.balance() == -120 * 994


async def test_who_enters_and_who_seals_wait_for_each_other(books: Books) -> None:
    """An entry of the day whose transaction is open when the day is sealed is in its sums."""
    legs = (Leg("bank", 5), Leg("suspense", -5))

    def posting(number: int) -> Posting:
        return Posting(
            "", books.event().authorization_id, PostingKind.CORRECTION, DAY, "CNY", legs, f"test/{number}", 0
        )

    async with books.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await post(connection, [posting(1)])
        closing = asyncio.create_task(books.close_day())
        done, _ = await asyncio.wait([closing], timeout=0.3)
        assert not done
        await transaction.commit()
    assert (await closing).entries == 2
    async with books.pool.acquire() as connection:
        await post(connection, [posting(2)])
    assert await books.checker.check("") == []
    days = await books.pool.fetch("SELECT day, count(*) FROM ledger_entries GROUP BY 1 ORDER BY 1")
    assert [(row[0].isoformat(), row[1]) for row in days] == [(DAY, 2), (NEXT_DAY, 2)]


async def test_of_two_with_one_name_the_first_stays_whole(books: Books) -> None:
    """Also where the second has more legs, comes while the first is open, and is told twice in one call."""
    identity = books.event().authorization_id

    def posting(*legs: Leg) -> Posting:
        return Posting("", identity, PostingKind.CORRECTION, DAY, "CNY", legs, "test/1", 0)

    first = posting(Leg("bank", 5), Leg("suspense", -5))
    second = posting(Leg("bank", 7), Leg("suspense", -6), Leg("losses", -1))

    async def enter(connection: Connection) -> None:
        await post(connection, [second, second])

    async with books.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await post(connection, [first, second])
        at_once = (Sessions(books.pool).transaction(enter), books.heavy.transaction(enter))
        others = [asyncio.create_task(each) for each in at_once]
        done, _ = await asyncio.wait(others, timeout=0.3)
        assert not done
        await transaction.commit()
    await asyncio.gather(*others)
    rows = await books.pool.fetch("SELECT account, amount_minor FROM ledger_entries ORDER BY leg")
    assert [tuple(row) for row in rows] == [("bank", 5), ("suspense", -5)]


async def test_a_closing_that_broke_is_taken_up(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    books.merchants.sign()
    await books.sale()

    async def break_off(*_: object) -> bytes:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr("switch.store.ledger_days.digest_of", break_off)
        with pytest.raises(RuntimeError):
            await books.close_day()
    assert await books.pool.fetchval("SELECT count(*) FROM ledger_days") == 0
    sealed = await books.days.day(DAY)
    assert sealed is not None
    assert sealed.closed_time_ms is None
    with pytest.raises(NotPossible, match="sealed and not summed"):
        await books.close_day(NEXT_DAY)
    await books.sale(100, day=DAY)  # it is sealed already
    assert (await books.close_day()).transactions == 1
    assert await books.pool.fetchval("SELECT sum(entries) FROM ledger_days") == 3


async def test_a_ledger_that_does_not_catch_up_is_not_closed(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    await books.feed_in(books.event())

    async def at_something_else() -> int:
        books.clock.now_ms += 1_000
        return 0

    monkeypatch.setattr(books.follower, "step", at_something_else)
    with pytest.raises(NotPossible, match="the ledger is at event 0 of"):
        await books.close_day()
    assert await books.days.day(DAY) is None


CHANGES = {
    "UPDATE ledger_entries SET amount_minor = amount_minor + 10 WHERE account = 'fees' AND leg = 2": {
        "transaction-balances", "currency-balances", "day-is-its-entries", "day-is-unchanged", "fee-within-its-payment",
    },
    "UPDATE ledger_entries SET amount_minor = amount_minor * 2": {
        "day-is-its-entries", "day-is-unchanged", "entries-are-the-journal",
    },
    "UPDATE ledger_entries SET source = 'sale/else'": {"day-is-unchanged"},
    "UPDATE ledger_entries SET merchant_id = 'm2'": {
        "day-is-its-entries", "day-is-unchanged", "entries-are-the-journal",
    },
    "DELETE FROM ledger_entries": {"day-is-its-entries", "day-is-unchanged", "entries-are-the-journal"},
    "DELETE FROM journal_events": {"entries-are-the-journal"},
    "UPDATE journal_events SET amount_minor = 9_999": {"entries-are-the-journal"},
    "UPDATE ledger_days SET amount_minor = 0 WHERE account = 'fees'": {"day-is-its-entries", "balance-is-its-days"},
    "UPDATE ledger_balances SET balance_minor = 0 WHERE account = 'merchant'": {"balance-is-its-days"},
    "UPDATE ledger_closings SET digest = sha256(digest)": {"day-is-unchanged"},
    "UPDATE ledger_entries SET day = day + 1": {"day-is-its-entries", "day-is-unchanged"},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_is_changed_behind_its_back_is_found(books: Books, change: str) -> None:
    books.merchants.sign(refunds_return_fee=True)
    await books.enter(sale := books.event(amount=1_000), books.event(EventKind.REFUNDED, 500, of=sale))
    await books.close_day()
    assert await books.checker.check("") == []
    await books.pool.execute(change)
    found = await books.checker.check("")
    assert {each.rule for each in found} == CHANGES[change], found
    assert all(each.subject and each.detail for each in found)


async def test_one_day_can_be_checked_alone(books: Books) -> None:
    books.merchants.sign()
    for day in (DAY, NEXT_DAY):
        await books.sale(day=day)
        await books.close_day(day)
    await books.pool.execute("UPDATE ledger_entries SET source = 'x/y' WHERE day = $1", date.fromisoformat(NEXT_DAY))
    assert await books.checker.check(DAY) == []
    assert [(each.rule, each.subject) for each in await books.checker.check(NEXT_DAY)] == [
        ("day-is-unchanged", NEXT_DAY)
    ]


async def test_a_digest_is_of_the_day_and_of_all_before_it(books: Books) -> None:
    books.merchants.sign()
    await books.sale(time_ms=begins_ms(DAY))
    first = await books.close_day(DAY)
    second = await books.close_day(NEXT_DAY)  # empty, and yet another digest
    assert len({first.digest, second.digest}) == 2
    await books.pool.execute("UPDATE ledger_closings SET digest = '\\x00' WHERE day = $1", date.fromisoformat(DAY))
    assert {each.subject for each in await books.checker.check("")} == {DAY, NEXT_DAY}
