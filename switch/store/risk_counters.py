"""The journal's events beside the judgements of their payments: what risk control counts after the road."""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.judged_event import JudgedEvent
from switch.store.feed_consumer import Apply
from switch.store.sessions import Connection

CONSUMER: Final = "risk_counters"

# DECLINED 2, REFUNDED 5, UNDONE 6; and of those APPROVED (1) what names a device (subjects: msgpack with its name).
# Payments of which nothing was judged have no row. A judgement's id begins with its millisecond: partitions are pruned.
_JUDGED = """
SELECT e.kind, e.authorization_id, e.follow_on_id, e.channel, e.response_code, e.amount_minor, e.currency, e.time_ms,
       j.subjects, j.facts
FROM journal_events AS e
JOIN risk_judgements AS j ON j.merchant_id = e.merchant_id AND j.id = e.authorization_id
WHERE e.position > $1 AND e.position <= $2 AND e.time_ms > $3
  AND (e.kind IN (2, 5, 6) OR e.kind = 1 AND position('device'::bytea IN j.subjects) > 0)
ORDER BY e.position
"""

# Within the transaction that keeps how far the consumer came: it tells, and waits for nobody. What is told may be told
# again after a rollback.
Tell = Callable[[Sequence[JudgedEvent]], None]


async def tell_span(connection: Connection, after: int, until: int, oldest_time_ms: int, tell: Tell) -> None:
    """Events with a position above `after` and at most `until` that happened after oldest_time_ms (Unix)."""
    tell([_judged(row) for row in await connection.fetch(_JUDGED, after, until, oldest_time_ms)])


def applying(tell: Tell, oldest_time_ms: Callable[[], int]) -> Apply:
    """For a feed consumer."""

    async def apply(connection: Connection, events: Sequence[JournalEvent]) -> None:
        await tell_span(connection, events[0].position - 1, events[-1].position, oldest_time_ms(), tell)

    return apply


def _judged(row: Record) -> JudgedEvent:
    return JudgedEvent(
        kind=EventKind(row["kind"]),
        authorization_id=UUID(int=row["authorization_id"].int),
        follow_on_id=UUID(int=row["follow_on_id"].int),
        channel=row["channel"],
        response_code=row["response_code"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        time_ms=row["time_ms"],
        packed_subjects=row["subjects"],
        packed_facts=row["facts"],
    )
