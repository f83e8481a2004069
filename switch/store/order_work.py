"""The payments of orders that are not at their end: claimed under a lease and a fence, hastened by the journal."""

from collections.abc import Sequence

from switch.domain.journal_event import EventKind
from switch.domain.order import OrderPayment, PaymentState
from switch.store.feed_consumer import Span
from switch.store.order_rows import payment_from
from switch.store.right_of_way import in_slices
from switch.store.sessions import Connection, Pool, Sessions

# BEGUN 1, AWAITING 2, UNDOING 5.
_CLAIM = """
WITH due AS (
    SELECT merchant_id, authorization_id FROM order_payments
    WHERE state IN (1, 2, 5) AND due_time_ms <= now_ms() AND lease_until_ms <= now_ms()
    ORDER BY due_time_ms LIMIT $1
    FOR UPDATE SKIP LOCKED)
UPDATE order_payments AS p SET lease_until_ms = now_ms() + $2, due_time_ms = now_ms() + $2, fence = p.fence + 1
FROM due WHERE p.merchant_id = due.merchant_id AND p.authorization_id = due.authorization_id
RETURNING p.*
"""

_NAME_UNDO = """
UPDATE order_payments SET undo_number = $4, undo_time_ms = $5
WHERE merchant_id = $1 AND authorization_id = $2 AND fence = $3 AND state = 5 RETURNING fence
"""

# Hastened (0) since it was claimed: it may have been looked at too early, and is looked at again at once.
_LATER = """
UPDATE order_payments
SET due_time_ms = CASE due_time_ms WHEN 0 THEN 0 ELSE now_ms() + $4 END, lease_until_ms = 0,
    attempts = attempts + 1, reason = $5, undo_number = $6, undo_time_ms = $7
WHERE merchant_id = $1 AND authorization_id = $2 AND fence = $3
"""

_UNDONE = """
UPDATE order_payments SET state = 6, lease_until_ms = 0, fence = fence + 1
WHERE merchant_id = $1 AND authorization_id = $2 AND state = 5
"""

_RELEASE = """
UPDATE order_payments AS p SET due_time_ms = 0, lease_until_ms = 0
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS w (merchant_id, authorization_id, fence)
WHERE p.merchant_id = w.merchant_id AND p.authorization_id = w.authorization_id AND p.fence = w.fence
"""

# Events of payments that are of an order. LIMIT: the event's own row is looked up, whatever the statistics say.
_OF_EVENTS = """
SELECT e.merchant_id, e.authorization_id, e.kind, e.amount_minor, e.time_ms, p.order_id, p.state AS payment_state
FROM journal_events AS e
CROSS JOIN LATERAL (
    SELECT o.order_id, o.state FROM order_payments AS o
    WHERE o.merchant_id = e.merchant_id AND o.authorization_id = e.authorization_id LIMIT 1) AS p
WHERE e.position > $1 AND e.position <= $2
ORDER BY e.merchant_id COLLATE "C", p.order_id, e.position
"""

# Whoever has claimed it learns of it when he puts it off.
_HASTEN = """
UPDATE order_payments SET due_time_ms = 0, refunded_minor = refunded_minor + $3
WHERE merchant_id = $1 AND authorization_id = $2
"""

# PAID 3 and PARTLY_REFUNDED 6 move on; UNDONE as a whole counts as all of it.
_REFUNDED = """
UPDATE orders
SET refunded_minor = LEAST(amount_minor, refunded_minor + $3),
    state = CASE WHEN refunded_minor + $3 >= amount_minor THEN 7 ELSE 6 END, changed_time_ms = $4
WHERE merchant_id = $1 AND id = $2 AND state IN (3, 6)
"""

_REFUND = EventKind.REFUNDED
_GAVE_BACK = frozenset({EventKind.REFUNDED, EventKind.UNDONE})


class PostgresOrderWork:
    """Meets `switch.orders.store.OrderWork`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def claim(self, limit: int, lease_s: float) -> list[OrderPayment]:
        rows = await self._sessions.transaction(lambda connection: connection.fetch(_CLAIM, limit, int(lease_s * 1000)))
        return [payment_from(row) for row in rows]

    async def name_undo(self, payment: OrderPayment) -> bool:
        """Its undo number and time, durable before anything is asked. False: the claim is over."""
        fence = await self._sessions.run(
            lambda connection: connection.fetchval(
                _NAME_UNDO,
                payment.merchant_id,
                payment.authorization_id,
                payment.fence,
                payment.undo_number,
                payment.undo_time_ms,
            )
        )
        return fence is not None

    async def later(self, payment: OrderPayment, after_s: float, reason: str) -> None:
        """Nothing where the claim is over."""
        await self._sessions.run(
            lambda connection: connection.execute(
                _LATER,
                payment.merchant_id,
                payment.authorization_id,
                payment.fence,
                int(after_s * 1000),
                reason,
                payment.undo_number,
                payment.undo_time_ms,
            )
        )

    async def release(self, payments: Sequence[OrderPayment]) -> None:
        """Nobody is at them any more, though their claims last; those that are over stay as they are."""
        rows = [(each.merchant_id, each.authorization_id, each.fence) for each in payments]
        columns = map(list, zip(*rows, strict=True))
        await self._sessions.run(lambda connection: connection.execute(_RELEASE, *columns))

    async def undone(self, payment: OrderPayment) -> None:
        """Whoever learnt it: that nothing is held any more stays true."""
        await self._sessions.run(
            lambda connection: connection.execute(_UNDONE, payment.merchant_id, payment.authorization_id)
        )


async def apply_events(connection: Connection, span: Span) -> None:
    """For a FeedConsumer: what happened to the payments of orders is looked at now, what was given back is counted."""
    rows = await connection.fetch(_OF_EVENTS, span.after, span.until)
    # Orders before payments, and in the order of their keys, as everywhere.
    given_back = [
        (row["merchant_id"], row["order_id"], row["amount_minor"], row["time_ms"])
        async for row in in_slices(rows)
        if row["kind"] in _GAVE_BACK and row["payment_state"] == PaymentState.WON
    ]
    await connection.executemany(_REFUNDED, given_back)
    happened = [
        (row["merchant_id"], row["authorization_id"], row["amount_minor"] if row["kind"] == _REFUND else 0)
        async for row in in_slices(rows)
    ]
    await connection.executemany(_HASTEN, sorted(happened))
