"""The payments of orders that are not at their end: claimed under a lease and a fence, hastened by the journal."""

from collections.abc import Sequence

from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.order import OrderPayment, PaymentState
from switch.store.order_rows import payment_from
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

_OF_EVENTS = """
SELECT p.merchant_id, p.authorization_id, p.order_id, p.state
FROM unnest($1::text[], $2::uuid[]) AS e (merchant_id, authorization_id)
JOIN order_payments AS p ON p.merchant_id = e.merchant_id AND p.authorization_id = e.authorization_id
ORDER BY p.merchant_id, p.order_id
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


async def apply_events(connection: Connection, events: Sequence[JournalEvent]) -> None:
    """For a FeedConsumer: what happened to the payments of orders is looked at now, what was given back is counted."""
    keys = {(each.merchant_id, each.authorization_id) for each in events}
    rows = await connection.fetch(_OF_EVENTS, [key[0] for key in keys], [key[1] for key in keys])
    known = {(row["merchant_id"], row["authorization_id"]): row for row in rows}
    ours = [each for each in events if (each.merchant_id, each.authorization_id) in known]
    # Orders before payments, and in the order of their keys, as everywhere.
    for event in sorted(
        ours, key=lambda each: (each.merchant_id, known[each.merchant_id, each.authorization_id]["order_id"])
    ):
        row = known[event.merchant_id, event.authorization_id]
        if event.kind in _GAVE_BACK and row["state"] == PaymentState.WON:
            await connection.execute(
                _REFUNDED, event.merchant_id, row["order_id"], event.money.amount_minor, event.time_ms
            )
    for event in sorted(ours, key=lambda each: (each.merchant_id, each.authorization_id)):
        refunded_minor = event.money.amount_minor if event.kind is EventKind.REFUNDED else 0
        await connection.execute(_HASTEN, event.merchant_id, event.authorization_id, refunded_minor)
