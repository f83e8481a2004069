"""The journal's feed: every event once, in an order that can be believed, whatever happens in between."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from journal_told import fed, told_by_journal
from payment_lives import PaymentLives

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.states import Decision, Operation, State
from switch.ports import FollowUpResult, StoreUnavailable
from switch.store.feed import JournalFeed
from switch.store.feed_consumer import FeedConsumer, Span, event_from
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.pool import create_pool
from switch.store.sessions import Connection, Sessions

Approve = Callable[..., Awaitable[Authorization]]
MakeFollowOn = Callable[..., FollowOn]
HOUR_MS = 3_600_000
FIRST = {EventKind.APPROVED: 0, EventKind.INCREMENTED: 1, EventKind.CAPTURED: 1, EventKind.REFUNDED: 2}


@pytest.fixture
async def feed(database: asyncpg.Pool) -> JournalFeed:
    """At the end of an empty journal. However long this machine sleeps between a time and its commit: it settles in ten
    minutes."""
    await database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors; DELETE FROM feed_readings")
    feed = JournalFeed(database, settle_ms=600_000)
    assert await feed.catch_up() == 0
    return feed


async def events_of(database: asyncpg.Pool) -> list[JournalEvent]:
    return [event_from(row) for row in await database.fetch("SELECT * FROM journal_events ORDER BY position")]


async def kinds(database: asyncpg.Pool) -> list[tuple[EventKind, int]]:
    return [(each.kind, each.money.amount_minor) for each in await events_of(database)]


async def agree(database: asyncpg.Pool) -> list[JournalEvent]:
    """Events and journal say the same, positions have no gap, and nothing stands before what it followed."""
    assert await fed(database) == await told_by_journal(database)
    events = await events_of(database)
    assert [each.position for each in events] == list(range(1, len(events) + 1))
    before: dict[UUID, list[EventKind]] = {}
    for event in events:
        earlier = before.setdefault(event.authorization_id, [])
        if event.kind in FIRST or event.kind is EventKind.UNDONE:
            assert (event.kind is EventKind.APPROVED) != (EventKind.APPROVED in earlier), event
        assert EventKind.UNDONE not in earlier or event.kind is EventKind.INCREMENTED, event
        captured_later = event.operation is Operation.PRE_AUTHORIZATION
        assert not (event.kind is EventKind.REFUNDED and captured_later) or EventKind.CAPTURED in earlier, event
        earlier.append(event.kind)
    return events


@pytest.fixture
def follow(journal: PostgresJournal, make_follow_on: MakeFollowOn) -> Callable[..., Awaitable[FollowOn]]:
    async def run(
        original: Authorization, operation: Operation, amount_minor: int = 0, state: State = State.APPROVED
    ) -> FollowOn:
        follow_on = make_follow_on(original, operation, amount_minor)
        stored, now = await journal.begin_follow_on(follow_on, None)
        assert now is not None
        assert stored.state is State.SENT, stored.reason
        follow_on.state, follow_on.response_code = state, "00"
        follow_on.answered_time_ms = int(time.time() * 1000)
        await journal.finish_follow_on(follow_on, now)
        return follow_on

    return run


Follow = Callable[..., Awaitable[FollowOn]]


async def test_a_sale_refunded_in_two_parts(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve, follow: Follow
) -> None:
    sale = await approve()
    assert await feed.catch_up() == 1
    for amount_minor in (3_000, 7_000):
        await follow(sale, Operation.REFUND, amount_minor)
    assert await feed.catch_up() == 2
    events = await agree(database)
    assert [each.moved_minor for each in events] == [10_000, -3_000, -7_000]
    assert (events[0].card_prefix, events[0].reference) == ("622588", "-000001")


async def test_what_is_undone_says_how_much_goes_back(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve, follow: Follow
) -> None:
    voided, held = await approve(), await approve(operation=Operation.PRE_AUTHORIZATION)
    await follow(held, Operation.INCREMENT, 500)
    await follow(voided, Operation.VOID)
    await follow(held, Operation.REVERSAL)
    assert await feed.catch_up() == 5
    events = await agree(database)
    assert [(each.kind.name, each.money.amount_minor) for each in events[2:]] == [
        ("INCREMENTED", 500), ("UNDONE", 10_000), ("UNDONE", 0),
    ]  # fmt: skip
    assert sum(each.moved_minor for each in events) == 0


async def test_a_reversal_that_only_the_resolver_could_end(
    database: asyncpg.Pool, feed: JournalFeed, journal: PostgresJournal, owner: UUID, approve: Approve, follow: Follow
) -> None:
    await follow(await approve(), Operation.REVERSAL, state=State.UNKNOWN)
    assert await feed.catch_up() == 1
    (claimed,) = await journal.claim_follow_ups(owner, 9, 60)
    claimed.trace = {"message_id": "rev"}
    await journal.keep_follow_up_trace([claimed])
    await journal.finish_follow_ups([(claimed, FollowUpResult(State.REVERSED))])
    assert await feed.catch_up() == 1
    events = await agree(database)
    assert (events[1].kind, events[1].reference, events[1].money.amount_minor) == (EventKind.UNDONE, "rev", 10_000)


async def test_a_payer_that_is_waited_for_is_told_when_he_has_paid(
    database: asyncpg.Pool, feed: JournalFeed, journal: PostgresJournal, owner: UUID, make_intent: Any
) -> None:
    intent = make_intent(operation=Operation.ORDER)
    await journal.record_intents([intent])
    intent.state, intent.decision = State.AWAITING_PAYER, Decision.AWAITING_PAYER
    intent.answered_time_ms = intent.created_time_ms
    await journal.record_outcomes([intent], [0.0])
    assert await feed.catch_up() == 0
    (claimed,) = await journal.claim_follow_ups(owner, 9, 60)
    record = claimed.authorization
    record.state, record.decision, record.response_code = State.APPROVED, Decision.APPROVED, "00"
    record.approved_minor, record.captured_minor = 4_000, 4_000  # of 10,000
    record.answered_time_ms = int(time.time() * 1000)
    await journal.finish_follow_ups([(claimed, FollowUpResult(State.APPROVED))])
    assert await feed.catch_up() == 1
    assert [(each.kind, each.moved_minor) for each in await agree(database)] == [(EventKind.APPROVED, 4_000)]


async def test_what_a_dead_process_left_is_unanswered_and_its_reversal_moves_nothing(
    database: asyncpg.Pool, feed: JournalFeed, journal: PostgresJournal, leases: PostgresLeases, make_intent_for: Any
) -> None:
    dead, _ = await leases.join("dead")
    living, _ = await leases.join("living")
    await journal.record_intents([make_intent_for(dead)])
    await leases.leave(dead)
    assert await journal.claim_in_doubt(living) == 1
    assert await feed.catch_up() == 1
    (claimed,) = await journal.claim_follow_ups(living, 9, 60)
    await journal.finish_follow_ups([(claimed, FollowUpResult(State.REVERSED))])
    assert await feed.catch_up() == 0
    assert [(each.kind, each.moved_minor) for each in await agree(database)] == [(EventKind.UNANSWERED, 0)]


async def test_a_refund_is_never_told_before_its_sale(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve, follow: Follow
) -> None:
    """The sale's process has a clock far behind: its answer is in no window, but its refund's is."""
    sale = await approve()
    await database.execute("UPDATE authorizations SET answered_time_ms = answered_time_ms - 1800000")
    assert await feed.catch_up() == 0
    await follow(sale, Operation.REFUND, 1)
    assert await feed.catch_up() == 2
    await agree(database)


@pytest.mark.usefixtures("feed")
async def test_the_second_reading_finds_what_was_late_for_the_first(database: asyncpg.Pool, approve: Approve) -> None:
    """The process that answered has a clock half a minute behind."""
    feed = JournalFeed(database)
    assert await feed.catch_up() == 0
    await approve()
    await database.execute("UPDATE authorizations SET answered_time_ms = now_ms() - 30000")
    assert await feed.catch_up() == 0
    # 45 s later
    await database.execute("UPDATE authorizations SET answered_time_ms = answered_time_ms - 45000")
    await database.execute("UPDATE feed_readings SET until_ms = until_ms - 45000 WHERE reading = 'again'")
    assert await feed.catch_up() == 1
    await agree(database)


async def test_completing_a_day_finds_what_came_too_late(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve
) -> None:
    sale = await approve()
    answered_ms = sale.created_time_ms - HOUR_MS // 2
    await database.execute("UPDATE authorizations SET answered_time_ms = $1", answered_ms)
    assert await feed.catch_up() == 0
    day = (datetime.fromtimestamp(answered_ms / 1000, UTC) + timedelta(hours=8)).date()
    assert await feed.complete_day(day - timedelta(days=1)) == 0
    assert await feed.complete_day(day) == 1
    assert await feed.complete_day(day) == 0
    await agree(database)


async def test_an_old_journal_is_told_in_steps(
    database: asyncpg.Pool, feed: JournalFeed, journal: PostgresJournal, make_intent: Any
) -> None:
    """Years apart, and more at one time than a step reads."""
    intents = [make_intent(state=State.DECLINED, decision=Decision.DECLINED, owner=None) for _ in range(30)]
    await journal.record_intents(intents)
    await database.execute(
        "UPDATE authorizations SET created_time_ms = created_time_ms - 100 * 86400000::bigint * (created_time_ms % 7)"
    )
    await database.execute("UPDATE authorizations SET id = encode(substring(int8send(created_time_ms) FROM 3)"
                           " || substring(uuid_send(id) FROM 7), 'hex')::uuid")  # fmt: skip
    await database.execute("DELETE FROM feed_cursors; DELETE FROM feed_readings")
    anew = JournalFeed(database, batch=4)
    assert await anew.catch_up() == 30
    await agree(database)
    assert await database.fetchval("SELECT count(*) FROM feed_readings") == 2


class Interrupted(Sessions):
    """Its next transaction does everything, and then is rolled back or loses its connection."""

    ending: str = ""

    async def transaction(self, work: Any) -> Any:
        ending, self.ending = self.ending, ""

        async def interrupted(connection: Connection) -> Any:
            done = await work(connection)
            if ending == "kill":
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            if ending == "rollback":
                raise StoreUnavailable("rolled back")
            return done

        return await super().transaction(interrupted)


async def _interrupt(feed: JournalFeed, database: asyncpg.Pool, ending: str) -> None:
    sessions = Interrupted(database)
    sessions.ending = ending
    feed._sessions, whole = sessions, feed._sessions
    with pytest.raises(StoreUnavailable):
        await feed.step()
    feed._sessions = whole


@pytest.mark.parametrize("ending", ["rollback", "kill"])
async def test_what_is_interrupted_is_done_again(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve, ending: str
) -> None:
    await approve()
    await _interrupt(feed, database, ending)
    assert await events_of(database) == []
    assert await feed.catch_up() == 1
    await agree(database)


async def test_racing_followers_give_every_position_once(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve
) -> None:
    others = [JournalFeed(database, batch=2, settle_ms=600_000) for _ in range(2)]
    for _ in range(5):
        await asyncio.gather(*(each.step() for each in (feed, *others)), approve(), approve())
    await feed.catch_up()
    assert len(await agree(database)) == 10


async def test_a_consumer_that_reads_along_misses_nothing(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve
) -> None:
    seen: list[int] = []

    async def apply(connection: Connection, span: Span) -> None:
        rows = await connection.fetch(
            "SELECT position FROM journal_events WHERE position > $1 AND position <= $2 ORDER BY 1",
            span.after, span.until,
        )  # fmt: skip
        assert len(rows) == span.events
        seen.extend(row["position"] for row in rows)

    await database.execute("DELETE FROM feed_cursors WHERE consumer = 'reader'")
    consumer = FeedConsumer(database, "reader", apply, batch=3)

    async def read() -> None:
        while len(seen) < 30:
            if not await consumer.step():
                await asyncio.sleep(0.001)

    async def write() -> None:
        for _ in range(10):
            await asyncio.gather(approve(), approve(), approve())
            await feed.step()

    async with asyncio.timeout(30):
        await asyncio.gather(read(), write())
    assert seen == list(range(1, 31))


async def test_the_follower_runs_by_itself_and_says_how_far_it_is(
    database: asyncpg.Pool, feed: JournalFeed, approve: Approve
) -> None:
    said: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
    follower = JournalFeed(database, lambda events, lag_s: said.put_nowait((events, lag_s)))
    follower.start()
    await approve()
    async with asyncio.timeout(30):
        while (said_now := await said.get())[0] == 0:
            assert said_now[1] >= 0
    await follower.close()
    assert [each.kind for each in await events_of(database)] == [EventKind.APPROVED]


async def test_who_does_not_work_tells_the_lag_of_who_does(database: asyncpg.Pool, feed: JournalFeed) -> None:
    await database.execute("UPDATE feed_readings SET until_ms = now_ms() - 700000 WHERE reading = 'first'")
    async with database.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM feed_cursors WHERE consumer = 'feed' FOR UPDATE")
        step = await feed.step()
    assert (step.events, step.more) == (0, False)
    assert 99 <= step.lag_s < 700


@pytest.mark.parametrize(("seed", "lateness_ms"), [(1, 0), (3, 20_000)])
async def test_random_lives_are_told_as_the_journal_tells_them(
    database: asyncpg.Pool, feed: JournalFeed, journal: PostgresJournal, owner: UUID, seed: int, lateness_ms: int
) -> None:
    random = Random(seed)
    lives = PaymentLives(journal, owner, random, lateness_ms)
    if lateness_ms:
        feed = JournalFeed(database)
    other = JournalFeed(database, batch=3, settle_ms=3_000 if lateness_ms else 600_000)
    for _ in range(200):
        match random.randrange(16):
            case 0:
                await random.choice((feed, other)).step()
            case 1:
                await asyncio.gather(feed.step(), other.step(), lives.act())
            case 2:
                await _interrupt(feed, database, "rollback")
            case _:
                await lives.act()
    await feed.catch_up()
    now_ms = int(time.time() * 1000)
    late = await other.complete(now_ms - HOUR_MS, now_ms + HOUR_MS)
    assert late == 0 or lateness_ms
    events = await agree(database)
    assert len(events) > 40


async def test_outcomes_stay_in_their_page(
    postgres_dsn: str, database: asyncpg.Pool, journal: PostgresJournal, make_intent: Any
) -> None:
    """The index on the time of the answer is a BRIN, and summarized: the UPDATE is HOT all the same."""
    intents = [make_intent() for _ in range(200)]
    await journal.record_intents(intents)
    async with database.acquire() as connection:
        name = await connection.fetchval("SELECT tableoid::regclass::text FROM authorizations LIMIT 1")
        index = await connection.fetchval(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = $1::text::regclass"
            " AND pg_get_indexdef(indexrelid) LIKE '%brin (answered_time_ms)%'", name,
        )  # fmt: skip
        await connection.execute("SELECT brin_summarize_new_values($1::text::regclass)", index)
    for each in intents:
        each.state, each.decision, each.answered_time_ms = State.DECLINED, Decision.DECLINED, each.created_time_ms + 9
    single = await create_pool(postgres_dsn, size=1)
    try:
        before = await _updates(single, name)
        await PostgresJournal(single).record_outcomes(intents, [0.0] * len(intents))
        after = await _updates(single, name)
    finally:
        await single.close()
    assert after[0] - before[0] == 200
    assert after[1] - before[1] >= 190


async def _updates(pool: asyncpg.Pool, table: str) -> tuple[int, int]:
    """(updates, HOT ones), once this connection has told what it did."""
    await pool.fetch("SELECT pg_stat_force_next_flush()")
    row = await pool.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = $1::text::regclass", table
    )
    assert row is not None
    return row["n_tup_upd"], row["n_tup_hot_upd"]
