"""The merchants' roll-ups: whatever the order of the events, they say what the events say."""

import asyncio
import time
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from uuid import UUID, uuid4

import asyncpg
import pytest
from payment_lives import PaymentLives
from trade_told import FIRST_DAY, Trade, day_of, made_up, put

from switch.domain.analytics import Days, Dimension, Payers
from switch.domain.journal_event import JournalEvent
from switch.ports import StoreUnavailable
from switch.store.analytics import PostgresAnalytics
from switch.store.analytics_rollups import CONSUMER, add, analytics_consumer, rebuild
from switch.store.feed import JournalFeed
from switch.store.feed_consumer import FeedConsumer, Span, event_from
from switch.store.journal import PostgresJournal
from switch.store.sessions import Connection

RANGES = (
    Days(FIRST_DAY, FIRST_DAY),
    Days(FIRST_DAY + timedelta(days=3), FIRST_DAY + timedelta(days=9)),
    Days(FIRST_DAY, FIRST_DAY + timedelta(days=39)),
    Days(FIRST_DAY - timedelta(days=40), FIRST_DAY + timedelta(days=70)),
    Days(FIRST_DAY, FIRST_DAY + timedelta(days=30)),
)


@pytest.fixture
async def merchant(database: asyncpg.Pool) -> str:
    """A new one; of other merchants there are no events."""
    await database.execute(
        "DELETE FROM journal_events; DELETE FROM feed_cursors; DELETE FROM feed_readings; DELETE FROM analytics_days;"
        " DELETE FROM analytics_payers; DELETE FROM analytics_returns"
    )
    return f"m{uuid4().hex[:12]}"


async def agree(database: asyncpg.Pool, merchant: str, events: Sequence[JournalEvent], ranges: Sequence[Days]) -> None:
    store = PostgresAnalytics(database)
    currencies = sorted({each.money.currency for each in events})
    assert await store.currencies(merchant) == currencies
    for currency in currencies:
        trade = Trade(events, currency)
        for days in ranges:
            for dimension in set(Dimension) - {Dimension.TERMINAL_MONTH}:
                assert await store.by_key(merchant, currency, dimension, days) == trade.by(dimension, days)
            assert await store.by_day(merchant, currency, days) == trade.by_day(days)
            assert await store.by_weekday(merchant, currency, days) == trade.by_weekday(days)
            assert await store.payers(merchant, currency, days) == trade.payers(days)
        for day, payers in (await store.payers_by_day(merchant, currency, ranges[min(2, len(ranges) - 1)])).items():
            assert payers == trade.payers(Days(day, day))


@pytest.mark.parametrize("seed", [1, 2])
async def test_roll_ups_say_what_the_events_say_in_whatever_order_they_come(
    database: asyncpg.Pool, merchant: str, seed: int
) -> None:
    random = Random(seed)
    consumer = FeedConsumer(database, CONSUMER, add, batch=random.choice((7, 60)))
    events: list[JournalEvent] = []
    for _ in range(4):
        events += await put(database, made_up(random, merchant, 120))
        await put(database, made_up(random, "other", 20))
        await consumer.catch_up()
    await agree(database, merchant, events, RANGES)
    assert await PostgresAnalytics(database).events_behind() == 0


async def test_rebuilding_changes_nothing_and_mends_what_was_wrong(database: asyncpg.Pool, merchant: str) -> None:
    random = Random(3)
    events = await put(database, made_up(random, merchant, 300))
    others = await put(database, made_up(random, "other", 100))
    await analytics_consumer(database).catch_up()
    await database.execute(
        "UPDATE analytics_days SET sales_minor = 1 WHERE merchant_id = $1 AND dimension = 2", merchant
    )
    await database.execute("DELETE FROM analytics_payers WHERE merchant_id = $1", merchant)
    late = await put(database, made_up(random, merchant, 50))  # not worked yet: rebuilding leaves it to the consumer
    async with database.acquire() as connection:
        assert await rebuild(connection, merchant) == 300
    await agree(database, merchant, events, RANGES)
    await analytics_consumer(database).catch_up()
    await agree(database, merchant, [*events, *late], RANGES)
    await agree(database, "other", others, RANGES)


async def test_rebuilding_everybody_tells_the_same(database: asyncpg.Pool, merchant: str) -> None:
    random = Random(8)
    events, others = [await put(database, made_up(random, each, 250)) for each in (merchant, "other")]
    await database.execute("INSERT INTO feed_cursors VALUES ($1, 500)", CONSUMER)
    async with database.acquire() as connection:
        assert await rebuild(connection) == 500
    late = await put(database, made_up(random, merchant, 60))
    await analytics_consumer(database).catch_up()
    await agree(database, merchant, [*events, *late], RANGES)
    await agree(database, "other", others, RANGES)


async def test_an_interrupted_batch_counts_once(database: asyncpg.Pool, merchant: str) -> None:
    events = await put(database, made_up(Random(4), merchant, 50))

    async def fails(connection: Connection, span: Span) -> None:
        await add(connection, span)
        raise StoreUnavailable("just then")

    with pytest.raises(StoreUnavailable):
        await FeedConsumer(database, CONSUMER, fails).step()
    consumers = [FeedConsumer(database, CONSUMER, add, batch=9) for _ in range(3)]
    for _ in range(4):
        await asyncio.gather(*(each.step() for each in consumers))
    await consumers[0].catch_up()
    await agree(database, merchant, events, RANGES)


async def test_one_payer_on_days_that_come_to_light_backwards(database: asyncpg.Pool, merchant: str) -> None:
    """Each earlier day takes from the later one that it was the first."""
    store, consumer = PostgresAnalytics(database), analytics_consumer(database)
    chosen = [each for each in made_up(Random(5), merchant, 900, days=12) if each.payer_key == b"\x01"]
    sales = [each for each in chosen if each.kind == 1 and each.operation == 1 and each.money.currency == "CNY"]
    days = sorted({day_of(each) for each in sales}, reverse=True)
    assert len(days) > 3
    for number, day in enumerate(days, 1):
        await put(database, [each for each in sales if day_of(each) == day])
        await consumer.catch_up()
        assert await store.payers(merchant, "CNY", Days(day, day)) == Payers(1, 1)
        assert await store.payers(merchant, "CNY", Days(days[0], days[0])) == Payers(1, int(number == 1))
        assert await store.payers(merchant, "CNY", Days(days[-1], days[0])) == Payers(1, 1)


async def test_exact_against_the_journal(
    database: asyncpg.Pool, merchant: str, journal: PostgresJournal, owner: UUID
) -> None:
    """From payments through the feed to the figures."""
    feed, consumer, lives = JournalFeed(database), analytics_consumer(database), PaymentLives(journal, owner, Random(6))
    for _ in range(150):
        await lives.act()
    await feed.catch_up()
    await consumer.catch_up()
    events = [event_from(row) for row in await database.fetch("SELECT * FROM journal_events")]
    today = (date(1970, 1, 1) + timedelta(days=int(time.time() + 28_800) // 86_400)) + timedelta(days=1)
    merchants = {each.merchant_id for each in events}
    assert len(merchants) == 2
    for each in merchants:
        own = [event for event in events if event.merchant_id == each]
        await agree(database, each, own, [Days(today - timedelta(days=3), today)])
        store, moved = PostgresAnalytics(database), 0
        for currency in await store.currencies(each):
            by_day = await store.by_day(each, currency, Days(today - timedelta(days=3), today))
            moved += sum(day.net_minor for day in by_day.values())
        assert moved == await _captured_in_journal(database, each)


async def _captured_in_journal(database: asyncpg.Pool, merchant: str) -> int:
    """What the journal holds as captured and not refunded, of payments that stand."""
    rows = await database.fetch(
        "SELECT a.operation, a.approved_minor,"
        " (SELECT coalesce(sum(amount_minor), 0) FROM follow_ons AS n WHERE n.merchant_id = a.merchant_id"
        "  AND n.authorization_id = a.id AND n.operation = 3 AND n.state = 3)::bigint AS captured,"
        " (SELECT coalesce(sum(amount_minor), 0) FROM follow_ons AS n WHERE n.merchant_id = a.merchant_id"
        "  AND n.authorization_id = a.id AND n.operation = 5 AND n.state = 3)::bigint AS refunded"
        " FROM authorizations AS a WHERE a.merchant_id = $1 AND a.decision = 1 AND a.state = 3",
        merchant,
    )
    return sum((row["captured"] if row["operation"] == 2 else row["approved_minor"]) - row["refunded"] for row in rows)
