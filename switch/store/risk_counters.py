"""The journal's events beside the judgements of their payments: what risk control counts after the road."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.journal_event import EventKind
from switch.domain.judged_event import JudgedEvent
from switch.store.feed_consumer import Apply, Span
from switch.store.right_of_way import in_slices
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
Tell = Callable[[JudgedEvent], None]


def applying(tell: Tell, oldest_time_ms: Callable[[], int]) -> Apply:
    """For a feed consumer: of events that happened after oldest_time_ms (Unix)."""

    async def apply(connection: Connection, span: Span) -> None:
        rows = await connection.fetch(_JUDGED, span.after, span.until, oldest_time_ms())
        async for row in in_slices(rows):
            tell(_judged(row))

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
