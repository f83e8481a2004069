"""Orders that an acquirer's payers scanned: a batch of payments begun in one transaction, under the orders' locks."""

from collections.abc import Sequence
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest
from switch.domain.order import Order, OrderPayment
from switch.domain.order_rules import scanned_refusal
from switch.ports import OrderRefused
from switch.store.order_rows import order_from, payment_from
from switch.store.sessions import Connection, Pool, Sessions

# In the order of their keys, as everywhere: no circle of waiters.
_LOCK_ORDERS = """
SELECT o.* FROM unnest($1::text[], $2::uuid[]) AS w (merchant_id, id)
JOIN orders AS o ON o.merchant_id = w.merchant_id AND o.id = w.id
ORDER BY o.merchant_id, o.id FOR UPDATE OF o
"""

# What is under way of an order changes under the order's lock alone.
_PAYMENTS = """
SELECT p.* FROM unnest($1::text[], $2::uuid[]) AS w (merchant_id, id)
JOIN order_payments AS p ON p.merchant_id = w.merchant_id AND p.order_id = w.id
"""

# Due when the journal's feed should have told of it long ago.
_BEGIN = """
INSERT INTO order_payments (
    merchant_id, authorization_id, order_id, acquirer_id, scheme, payer, payer_key, entry, key, transmission_time_ms,
    state, code, response_code, reason, undo_number, undo_time_ms, refunded_minor, attempts, due_time_ms,
    lease_until_ms, fence)
SELECT w.merchant_id, w.authorization_id, w.order_id, w.acquirer_id, '', '', '', w.entry, w.key, w.transmission_time_ms,
       1, '', '', '', 0, 0, 0, 0, now_ms() + 5000, 0, 0
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::smallint[], $6::text[], $7::bigint[]) AS w (
    merchant_id, authorization_id, order_id, acquirer_id, entry, key, transmission_time_ms)
"""

# OPEN 1 becomes PAYING 2.
_PAYING = """
UPDATE orders AS o SET state = 2, changed_time_ms = $3
FROM unnest($1::text[], $2::uuid[]) AS w (merchant_id, id)
WHERE o.merchant_id = w.merchant_id AND o.id = w.id AND o.state = 1
"""

_Key = tuple[str, UUID]


class PostgresScannedOrders:
    """Meets `switch.ports.ScannedOrders`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def begin(
        self, presented: Sequence[tuple[UUID, AuthorizationRequest]], now_ms: int
    ) -> list[OrderRefused | None]:
        wanted = [_payment_of(identity, request) for identity, request in presented]

        async def work(connection: Connection) -> list[OrderRefused | None]:
            orders, payments = await _locked(connection, {(each.merchant_id, each.order_id) for each in wanted})
            begun: list[OrderPayment] = []
            refusals: list[OrderRefused | None] = []
            for payment, (_, request) in zip(wanted, presented, strict=True):
                key = (payment.merchant_id, payment.order_id)
                of_order = payments.setdefault(key, [])
                refusal = scanned_refusal(orders.get(key), of_order, payment, request.money, now_ms)
                refusals.append(None if refusal is None else OrderRefused(*refusal))
                if refusal is None:
                    of_order.append(payment)
                    begun.append(payment)
            if begun:
                await _begin(connection, begun, now_ms)
            return refusals

        return await self._sessions.transaction(work)


def _payment_of(identity: UUID, request: AuthorizationRequest) -> OrderPayment:
    assert request.scanned_order is not None  # what names no order is not brought here
    return OrderPayment(
        request.merchant.id, request.scanned_order, identity, request.acquirer_id, "", "", "", request.entry,
        request.idempotency_key, request.transmission_time_ms,
    )  # fmt: skip


async def _locked(connection: Connection, keys: set[_Key]) -> tuple[dict[_Key, Order], dict[_Key, list[OrderPayment]]]:
    columns = [each for each, _ in keys], [each for _, each in keys]
    orders = [order_from(row) for row in await connection.fetch(_LOCK_ORDERS, *columns)]
    payments: dict[_Key, list[OrderPayment]] = {}
    for row in await connection.fetch(_PAYMENTS, *columns):
        payment = payment_from(row)
        payments.setdefault((payment.merchant_id, payment.order_id), []).append(payment)
    return {(each.merchant.id, each.id): each for each in orders}, payments


async def _begin(connection: Connection, begun: list[OrderPayment], now_ms: int) -> None:
    rows = [
        (
            each.merchant_id, each.authorization_id, each.order_id, each.acquirer_id, each.entry, each.key,
            each.transmission_time_ms,
        )
        for each in begun
    ]  # fmt: skip
    await connection.execute(_BEGIN, *map(list, zip(*rows, strict=True)))
    merchants, orders = [each.merchant_id for each in begun], [each.order_id for each in begun]
    await connection.execute(_PAYING, merchants, orders, now_ms)
