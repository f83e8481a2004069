"""Random lives of payments through the journal's own methods, told by the real feed, entered, closed and checked."""

import time
from datetime import date
from random import Random

import asyncpg
from books import Books
from payment_lives import PaymentLives

from switch.domain.business_day import day_at, later
from switch.settlement.close import DayClose
from switch.store.feed import JournalFeed
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases


async def test_what_the_journal_says_is_what_the_ledger_says(database: asyncpg.Pool, books: Books) -> None:
    await database.execute("DELETE FROM feed_readings")
    owner, _ = await PostgresLeases(database, lease_s=600).join("test")
    feed, random = JournalFeed(database, settle_ms=600_000), Random(7)
    assert await feed.catch_up() == 0
    lives = PaymentLives(PostgresJournal(database, reversal_after_s=0), owner, random)
    for _ in range(150):
        await lives.act()
        if random.random() < 0.2:
            await feed.step()
            await books.follower.step()
    today = day_at(int(time.time() * 1000))
    books.clock.now_ms = int(time.time() * 1000) + 2 * 86_400_000
    close = DayClose(books.days, books.batches, feed, books.follower, books.clock, grace_s=0)
    if await database.fetchval("SELECT min(day) < $1 FROM ledger_entries", date.fromisoformat(today)):
        await close.close(later(today, -1), "finance/ann")  # begun before midnight
    closed = await close.close(today, "finance/ann")
    assert closed.transactions > 20
    assert await books.checker.check("") == []
    # The journal's own columns of what was captured, refunded and undone.
    left = await database.fetchval(
        "SELECT COALESCE(sum(captured_minor - refunded_minor) FILTER (WHERE state = 3), 0)::bigint FROM authorizations"
    )
    entered = await database.fetchval(
        "SELECT COALESCE(sum(amount_minor), 0)::bigint FROM ledger_entries WHERE account LIKE 'channel:%'"
    )
    assert (left, left > 0) == (entered, True)
