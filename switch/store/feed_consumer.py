"""Working through the journal's events, each exactly once: what is done of them and how far it went is one commit."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from asyncpg import Record

from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation
from switch.ports import StoreUnavailable
from switch.store.right_of_way import Progress, RightOfWay, in_slices
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

# Events of which Python sees some, or each is much to write.
SMALL_BATCH: Final = 500
# Events that PostgreSQL works alone.
LARGE_BATCH: Final = 5_000
# asyncpg decodes what it fetches without giving the loop back.
_DECODED_AT_ONCE: Final = 250
_IDLE_S: Final = 0.5
_FAILED_PAUSE_S: Final = 5.0

# Without a lock: where nothing is new, which is most often, nothing is written and no commit waits for the disk.
_NEWS = """
SELECT coalesce((SELECT position FROM journal_events ORDER BY position DESC LIMIT 1), 0) AS last,
       coalesce((SELECT position FROM feed_cursors WHERE consumer = $1), 0) AS worked
"""
_BEGIN = "INSERT INTO feed_cursors (consumer, position) VALUES ($1, 0) ON CONFLICT DO NOTHING"
# Another process that is at it just now does the work: nobody waits for it.
_CLAIM = "SELECT position FROM feed_cursors WHERE consumer = $1 FOR UPDATE SKIP LOCKED"
_SPAN = """
SELECT coalesce(max(position), 0) AS until, count(*) AS events
FROM (SELECT position FROM journal_events WHERE position > $1 ORDER BY position LIMIT $2) AS next
"""
_ADVANCE = "UPDATE feed_cursors SET position = $2 WHERE consumer = $1"


@dataclass(frozen=True, slots=True)
class Span:
    """The events whose position is above `after` and at most `until`: so many."""

    after: int
    until: int
    events: int


# Within the transaction that also keeps how far the consumer has come; may be run again after a rollback.
Apply = Callable[[Connection, Span], Awaitable[None]]


class FeedConsumer:
    """Every process runs one for each consumer; whoever claims the cursor works, the others pass.

    batch: events of a step. right_of_way: when a step may be taken; whoever calls `step` or `catch_up` does not wait.
    """

    def __init__(
        self, pool: Pool, name: str, apply: Apply, batch: int = SMALL_BATCH, right_of_way: RightOfWay | None = None
    ) -> None:
        self.name = name
        self._sessions = Sessions(pool)
        self._apply = apply
        self._batch = batch
        self._right_of_way = right_of_way or RightOfWay()
        self._progress = Progress(self._right_of_way.clock_s)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"feed {self.name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def behind_s(self) -> float:
        """Seconds since the moment up to which every event is worked, as far as this process has seen."""
        return self._progress.behind_s()

    def waiting(self) -> int:
        """Events that waited when this process last looked."""
        return self._progress.waiting

    async def catch_up(self) -> int:
        """Work until no event is left; returns how many were worked."""
        done = 0
        while count := await self.step():
            done += count
        return done

    async def step(self) -> int:
        """One batch; 0 where nothing is new, or another process is at it. Raises StoreUnavailable."""
        at_s = self._right_of_way.clock_s()
        news = await self._sessions.run(lambda connection: connection.fetchrow(_NEWS, self.name))
        assert news is not None  # a row without a table
        self._progress.seen(news["last"], news["worked"], at_s)
        if news["last"] <= news["worked"]:
            return 0
        span = await self._sessions.transaction(self._step)
        if span is None:
            return 0
        self._progress.seen(max(news["last"], span.until), span.until, at_s)
        return span.events

    async def _step(self, connection: Connection) -> Span | None:
        position = await connection.fetchval(_CLAIM, self.name)
        if position is None:
            await connection.execute(_BEGIN, self.name)
            position = await connection.fetchval(_CLAIM, self.name)
        if position is None:
            return None
        row = await connection.fetchrow(_SPAN, position, self._batch)
        assert row is not None  # an aggregate always has one row
        if not row["events"]:
            return None
        span = Span(position, row["until"], row["events"])
        await self._apply(connection, span)
        await connection.execute(_ADVANCE, self.name, span.until)
        return span

    async def _run(self) -> None:
        while True:
            async with self._right_of_way.turn(self.behind_s):
                pause_s = await self._attempt()
            await asyncio.sleep(pause_s)

    async def _attempt(self) -> float:
        """One step, whatever becomes of it; how long until the next, in seconds."""
        try:
            return 0 if await self.step() else _IDLE_S
        except StoreUnavailable as error:
            log.warning("feed_not_read", consumer=self.name, reason=str(error))
            return _IDLE_S
        except Exception:
            # One consumer's bug stops that consumer where it is, aloud, and no other.
            log.exception("feed_consumer_failed", consumer=self.name)
            return _FAILED_PAUSE_S


async def events_of(connection: Connection, query: str, span: Span) -> list[JournalEvent]:
    """What the query finds in journal_events between its $1 and $2. Within a transaction; the loop is given back."""
    cursor = await connection.cursor(query, span.after, span.until)
    events: list[JournalEvent] = []
    while rows := await cursor.fetch(_DECODED_AT_ONCE):
        events += [event_from(row) async for row in in_slices(rows)]
    return events


def event_from(row: Record) -> JournalEvent:
    return JournalEvent(
        position=row["position"],
        merchant_id=row["merchant_id"],
        authorization_id=UUID(int=row["authorization_id"].int),
        follow_on_id=UUID(int=row["follow_on_id"].int),
        kind=EventKind(row["kind"]),
        operation=Operation(row["operation"]),
        money=Money(row["amount_minor"], row["currency"]),
        time_ms=row["time_ms"],
        created_time_ms=row["created_time_ms"],
        acquirer_id=row["acquirer_id"],
        terminal_id=row["terminal_id"],
        channel=row["channel"],
        entry=EntryMode(row["entry"]),
        response_code=row["response_code"],
        reference=row["reference"],
        payer_key=row["payer_key"],
        card_prefix=row["card_prefix"],
    )
