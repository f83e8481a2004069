"""Working through the journal's events, each exactly once: what is done of them and how far it went is one commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog
from asyncpg import Record

from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation
from switch.ports import StoreUnavailable
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

_BATCH: Final = 2_000
_IDLE_S: Final = 0.5

_BEGIN = "INSERT INTO feed_cursors (consumer, position) VALUES ($1, 0) ON CONFLICT DO NOTHING"
# Another process that is at it just now does the work: nobody waits for it.
_CLAIM = "SELECT position FROM feed_cursors WHERE consumer = $1 FOR UPDATE SKIP LOCKED"
_EVENTS = "SELECT * FROM journal_events WHERE position > $1 ORDER BY position LIMIT $2"
_ADVANCE = "UPDATE feed_cursors SET position = $2 WHERE consumer = $1"

# Within the transaction that also keeps how far the consumer has come; may be run again after a rollback.
Apply = Callable[[Connection, Sequence[JournalEvent]], Awaitable[None]]


class FeedConsumer:
    """Every process runs one for each consumer; whoever claims the cursor works, the others pass."""

    def __init__(self, pool: Pool, name: str, apply: Apply, batch: int = _BATCH) -> None:
        self._sessions = Sessions(pool)
        self._name = name
        self._apply = apply
        self._batch = batch
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"feed {self._name}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def catch_up(self) -> int:
        """Work until no event is left; returns how many were worked."""
        done = 0
        while count := await self.step():
            done += count
        return done

    async def step(self) -> int:
        """One batch; 0 where nothing is new, or another process is at it. Raises StoreUnavailable."""
        return await self._sessions.transaction(self._step)

    async def _step(self, connection: Connection) -> int:
        await connection.execute(_BEGIN, self._name)
        position = await connection.fetchval(_CLAIM, self._name)
        if position is None:
            return 0
        events = [event_from(row) for row in await connection.fetch(_EVENTS, position, self._batch)]
        if events:
            await self._apply(connection, events)
            await connection.execute(_ADVANCE, self._name, events[-1].position)
        return len(events)

    async def _run(self) -> None:
        while True:
            worked = 0
            try:
                worked = await self.step()
            except StoreUnavailable as error:
                log.warning("feed_not_read", consumer=self._name, reason=str(error))
            except Exception:
                # One consumer's bug stops that consumer where it is, aloud, and no other.
                log.exception("feed_consumer_failed", consumer=self._name)
                await asyncio.sleep(10 * _IDLE_S)
            if not worked:
                await asyncio.sleep(_IDLE_S)


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
