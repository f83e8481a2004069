"""Orders in PostgreSQL: whatever decides is read and written under the order's row lock."""

from collections.abc import Sequence
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.order import UNDER_WAY, Order, OrderFilter, OrderPayment, OrderState, PaymentState
from switch.domain.order_rules import UNPROVED_MS, Beginning, Outcome, becomes, beginning, close_refusal
from switch.domain.refusals import Missing, TooMany
from switch.store import audit_trail
from switch.store.order_rows import order_from, order_row, payment_from
from switch.store.sessions import Connection, Pool, Sessions

_CREATE = """
INSERT INTO orders (
    merchant_id, id, acquirer_id, terminal_id, store_id, merchant_name, merchant_city, merchant_country,
    merchant_category_code, amount_minor, currency, subject, number, key, content, created_by, created_time_ms,
    expires_time_ms, state, shop_code, paid_by, paid_scheme, refunded_minor, changed_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
ON CONFLICT DO NOTHING RETURNING id
"""

_BY_KEY = "SELECT * FROM orders WHERE merchant_id = $1 AND key = $2"

_FIND = "SELECT * FROM orders WHERE merchant_id = $1 AND id = $2"

_LOCK = _FIND + " FOR UPDATE"

_LIST = "SELECT * FROM orders WHERE merchant_id = $1 AND id < $2 AND id >= $3 ORDER BY id DESC LIMIT $4"

# The newest of each state by its index: a state that is rare is not looked for among all orders.
_LIST_STATES = """
SELECT o.* FROM unnest($5::smallint[]) AS s (state)
CROSS JOIN LATERAL (
    SELECT * FROM orders WHERE merchant_id = $1 AND state = s.state AND id < $2 AND id >= $3
    ORDER BY id DESC LIMIT $4) AS o
ORDER BY o.id DESC LIMIT $4
"""

_LIST_NUMBER = """
SELECT * FROM orders
WHERE merchant_id = $1 AND number = $6 AND number <> '' AND id < $2 AND id >= $3
  AND (cardinality($5::smallint[]) = 0 OR state = ANY ($5))
ORDER BY id DESC LIMIT $4
"""

_MOVE = """
UPDATE orders SET state = $3, paid_by = $4, paid_scheme = $5, changed_time_ms = $6 WHERE merchant_id = $1 AND id = $2
"""

_PAYMENTS = """
SELECT * FROM order_payments WHERE merchant_id = $1 AND order_id = $2 ORDER BY authorization_id FOR UPDATE
"""

_FIND_PAYMENT = "SELECT * FROM order_payments WHERE merchant_id = $1 AND authorization_id = $2"

# The newest orders of that number: a merchant that gives every order the same one is told of the last hundred.
_PAYMENTS_OF_NUMBER = """
SELECT p.authorization_id
FROM (SELECT id FROM orders WHERE merchant_id = $1 AND number = $2 AND number <> '' ORDER BY id DESC LIMIT 100) AS o
CROSS JOIN LATERAL (
    SELECT authorization_id FROM order_payments WHERE merchant_id = $1 AND order_id = o.id LIMIT 100) AS p
"""

# A little later than whoever begins it needs to learn its outcome by himself.
_BEGIN = """
INSERT INTO order_payments (
    merchant_id, authorization_id, order_id, acquirer_id, scheme, payer, payer_key, entry, key, transmission_time_ms,
    state, code, response_code, reason, undo_number, undo_time_ms, refunded_minor, attempts, due_time_ms,
    lease_until_ms, fence, stepped_up)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, '', '', '', 0, 0, 0, 0, now_ms() + 5000, 0, 0, $11)
"""

_NAME_PAYER = "INSERT INTO order_payers (payer) VALUES ($1) ON CONFLICT DO NOTHING"
_LOCK_PAYER = "SELECT FROM order_payers WHERE payer = $1 FOR UPDATE"

# BEGUN 1, AWAITING 2, WON 3: what he may be charged is spent.
_UNPROVED = """
SELECT coalesce(sum(o.amount_minor), 0)::bigint
FROM order_payments AS p JOIN orders AS o ON o.merchant_id = p.merchant_id AND o.id = p.order_id
WHERE p.payer = $1 AND p.transmission_time_ms > $2 AND p.state IN (1, 2, 3) AND NOT p.stepped_up
  AND o.currency = $3
"""

# Of one printed code one maker at a time counts what is open.
_LOCK_SHOP_CODE = "SELECT FROM shop_codes WHERE merchant_id = $1 AND id = $2 FOR UPDATE"
_OPEN_OF_SHOP_CODE = """
SELECT count(*) FROM orders
WHERE merchant_id = $1 AND shop_code = $2 AND state IN (1, 2) AND created_by = $3 AND expires_time_ms > $4
"""

# Whoever worked on it before finds that its claim is over. What an event has hastened (0) stays so.
_SETTLE = """
UPDATE order_payments
SET state = $3, code = $4, response_code = $5, reason = $6, attempts = 0,
    due_time_ms = CASE due_time_ms WHEN 0 THEN 0 ELSE now_ms() + $7 END,
    lease_until_ms = 0, fence = fence + 1
WHERE merchant_id = $1 AND authorization_id = $2
"""

# BEGUN 1: those wait until it is known, and are in nobody's way.
_EXPIRING = """
SELECT * FROM orders AS o
WHERE expires_time_ms <= $1 AND state IN (1, 2) AND NOT EXISTS (
    SELECT FROM order_payments AS p WHERE p.merchant_id = o.merchant_id AND p.order_id = o.id AND p.state = 1)
ORDER BY expires_time_ms LIMIT $2 FOR UPDATE OF o SKIP LOCKED
"""

# BEGUN 1, AWAITING 2, UNDOING 5: something is still owed, or may come. Payments go with their orders.
_DROP = """
WITH old AS (
    SELECT merchant_id, id FROM orders AS o
    WHERE changed_time_ms < now_ms() - $1::bigint AND {ended}
      AND NOT EXISTS (
          SELECT FROM order_payments AS p
          WHERE p.merchant_id = o.merchant_id AND p.order_id = o.id AND p.state IN (1, 2, 5))
    ORDER BY changed_time_ms LIMIT $2 FOR UPDATE OF o SKIP LOCKED),
payments AS (
    DELETE FROM order_payments AS p USING old WHERE p.merchant_id = old.merchant_id AND p.order_id = old.id),
dropped AS (
    DELETE FROM orders AS o USING old WHERE o.merchant_id = old.merchant_id AND o.id = old.id RETURNING 1)
SELECT count(*) FROM dropped
"""
# EXPIRED 4, CLOSED 5; PAID 3, PARTLY_REFUNDED 6, REFUNDED 7. Each is an index of its own: what is kept for ever is not
# looked through for the rest.
_DROP_UNPAID = _DROP.format(ended="state IN (4, 5)")
_DROP_PAID = _DROP.format(ended="state IN (3, 6, 7)")

_AWAITING_AGAIN_MS = 3_000

# Whose orders are in the audit trail: those of an acquirer's machines are many, and each says itself who made it.
_PEOPLE = ("user/", "credential/")


class PostgresOrders:
    """Meets `switch.orders.store.OrderStore`. Everything raises StoreUnavailable unless its effect is sure."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def create(self, order: Order, most_open: int = 0) -> Order:
        """What is stored under its key: this one if there was none.

        most_open: of a printed code, orders that its maker may have open at once. Raises TooMany.
        """

        async def work(connection: Connection) -> Order:
            if order.shop_code is not None:
                await connection.execute(_LOCK_SHOP_CODE, order.merchant.id, order.shop_code)
            if await connection.fetchval(_CREATE, *order_row(order)) is not None:
                if order.shop_code is not None and await _open_of_shop_code(connection, order) > most_open:
                    raise TooMany("too many orders of the code are open")
                if order.created_by.startswith(_PEOPLE) and order.shop_code is None:
                    await audit_trail.append(connection, _creation(order))
                return order
            row = await connection.fetchrow(_BY_KEY, order.merchant.id, order.key)
            assert row is not None  # ids are random: what is in the way has the key
            return order_from(row)

        return await self._sessions.transaction(work)

    async def find(self, merchant_id: str, order_id: UUID) -> Order | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, merchant_id, order_id))
        return None if row is None else order_from(row)

    async def made_under(self, merchant_id: str, key: str) -> Order | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_BY_KEY, merchant_id, key))
        return None if row is None else order_from(row)

    async def list(self, merchant_id: str, wanted: OrderFilter, before: UUID, limit: int) -> list[Order]:
        """Newest first, of those whose id is below `before`: an id begins with the millisecond of its making."""
        below = min(before.int, wanted.to_ms << 80) if wanted.to_ms else before.int
        arguments = [merchant_id, UUID(int=below), UUID(int=wanted.from_ms << 80), limit]
        statement = _LIST
        if wanted.number:
            statement, arguments = _LIST_NUMBER, [*arguments, sorted(wanted.states), wanted.number]
        elif wanted.states:
            statement, arguments = _LIST_STATES, [*arguments, sorted(wanted.states)]
        rows = await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))
        return [order_from(row) for row in rows]

    async def payment(self, merchant_id: str, authorization_id: UUID) -> OrderPayment | None:
        row = await self._sessions.run(
            lambda connection: connection.fetchrow(_FIND_PAYMENT, merchant_id, authorization_id)
        )
        return None if row is None else payment_from(row)

    async def unproved_minor(self, payer: str, currency: str, now_ms: int) -> int:
        since_ms = now_ms - UNPROVED_MS
        spent: int = await self._sessions.run(lambda each: each.fetchval(_UNPROVED, payer, since_ms, currency))
        return spent

    async def payments_of_number(self, merchant_id: str, number: str) -> Sequence[UUID]:
        """The authorizations that were tried for orders of the merchant's own number."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_PAYMENTS_OF_NUMBER, merchant_id, number))
        return [UUID(int=row["authorization_id"].int) for row in rows]

    async def begin(
        self, wanted: OrderPayment, now_ms: int, refusal: str = "", unproved_limit_minor: int | None = None
    ) -> Beginning:
        """Durable before it is asked for, where the answer is no repeat and no refusal. Raises Missing.

        unproved_limit_minor: what the payer may pay in a day, of the order's currency, without a second factor.
        """

        async def work(connection: Connection) -> Beginning:
            if unproved_limit_minor is not None:
                await connection.execute(_NAME_PAYER, wanted.payer)
                await connection.execute(_LOCK_PAYER, wanted.payer)
            order, payments = await _locked(connection, wanted.merchant_id, wanted.order_id)
            left_minor = None
            if unproved_limit_minor is not None:
                currency = order.money.currency
                left_minor = await _unproved_left_minor(connection, wanted, currency, unproved_limit_minor, now_ms)
            verdict = beginning(order, payments, wanted, now_ms, refusal, left_minor)
            if verdict.repeated is not None or verdict.refusal or verdict.needs_step_up:
                return verdict
            if verdict.stale is not None:
                await _settle(connection, verdict.stale, PaymentState.UNDOING)
            await connection.execute(
                _BEGIN, wanted.merchant_id, wanted.authorization_id, wanted.order_id, wanted.acquirer_id,
                wanted.scheme, wanted.payer, wanted.payer_key, wanted.entry, wanted.key, wanted.transmission_time_ms,
                wanted.stepped_up,
            )  # fmt: skip
            if order.state is OrderState.OPEN:
                await _move(connection, order, OrderState.PAYING, now_ms)
            return verdict

        return await self._sessions.transaction(work)

    async def learn(self, payment: OrderPayment, outcome: Outcome, now_ms: int) -> tuple[Order, OrderPayment]:
        """What its authorization came to: the first that paid wins the order, and what else is under way is undone.

        `payment` carries the code, response code and reason that were learnt. The results say what is stored now.
        """

        async def work(connection: Connection) -> tuple[Order, OrderPayment]:
            order, payments = await _locked(connection, payment.merchant_id, payment.order_id)
            [stored] = [each for each in payments if each.authorization_id == payment.authorization_id]
            following = becomes(order, stored, outcome)
            if following is stored.state:
                return order, stored
            stored.code, stored.response_code, stored.reason = payment.code, payment.response_code, payment.reason
            await _settle(connection, stored, following)
            if following is PaymentState.WON:
                order.paid_by, order.paid_scheme = stored.authorization_id, stored.scheme
                await _move(connection, order, OrderState.PAID, now_ms)
                await _undo_others(connection, payments, stored)
            return order, stored

        return await self._sessions.transaction(work)

    async def close(self, merchant_id: str, order_id: UUID, who: str, now_ms: int) -> tuple[Order, str]:
        """The order now, and why it could not be closed ("" if it is). Raises Missing."""

        async def work(connection: Connection) -> tuple[Order, str]:
            order, payments = await _locked(connection, merchant_id, order_id)
            before = order.state
            refusal = await _end(connection, order, payments, OrderState.CLOSED, now_ms)
            if before is not order.state:
                entry = AuditEntry(
                    merchant_id, who, "OrderService.CloseOrder", f"order/{order_id}", {"state": before.name},
                    {"state": order.state.name},
                )  # fmt: skip
                await audit_trail.append(connection, entry)
            return order, refusal

        return await self._sessions.transaction(work)

    async def expire(self, now_ms: int, limit: int) -> int:
        """Those whose time is over and that nobody is paying just now; returns how many."""

        async def work(connection: Connection) -> int:
            expired = 0
            for order in [order_from(row) for row in await connection.fetch(_EXPIRING, now_ms, limit)]:
                payments = await _payments(connection, order)
                expired += not await _end(connection, order, payments, OrderState.EXPIRED, now_ms)
            return expired

        return await self._sessions.transaction(work)

    async def drop(self, paid: bool, age_ms: int, limit: int) -> int:
        """Of the orders that ended so long ago, paid or never paid, with their payments; returns how many."""
        statement = _DROP_PAID if paid else _DROP_UNPAID
        return int(await self._sessions.run(lambda each: each.fetchval(statement, age_ms, limit)))


async def _open_of_shop_code(connection: Connection, order: Order) -> int:
    count: int = await connection.fetchval(
        _OPEN_OF_SHOP_CODE, order.merchant.id, order.shop_code, order.created_by, order.created_time_ms
    )
    return count


async def _unproved_left_minor(
    connection: Connection, wanted: OrderPayment, currency: str, limit_minor: int, now_ms: int
) -> int:
    spent = await connection.fetchval(_UNPROVED, wanted.payer, now_ms - UNPROVED_MS, currency)
    return limit_minor - int(spent)


def _creation(order: Order) -> AuditEntry:
    after = {"amount_minor": order.money.amount_minor, "currency": order.money.currency, "number": order.number}
    subject = f"order/{order.id}"
    return AuditEntry(order.merchant.id, order.created_by, "OrderService.CreateOrder", subject, after=after)


async def _locked(connection: Connection, merchant_id: str, order_id: UUID) -> tuple[Order, list[OrderPayment]]:
    row = await connection.fetchrow(_LOCK, merchant_id, order_id)
    if row is None:
        raise Missing("there is no such order")
    order = order_from(row)
    return order, await _payments(connection, order)


async def _payments(connection: Connection, order: Order) -> list[OrderPayment]:
    return [payment_from(row) for row in await connection.fetch(_PAYMENTS, order.merchant.id, order.id)]


async def _end(connection: Connection, order: Order, payments: list[OrderPayment], to: OrderState, now_ms: int) -> str:
    refusal = close_refusal(order, payments, to)
    if not refusal and order.state not in (OrderState.CLOSED, OrderState.EXPIRED):
        await _move(connection, order, to, now_ms)
        await _undo_others(connection, payments, None)
    return refusal


async def _undo_others(connection: Connection, payments: list[OrderPayment], winner: OrderPayment | None) -> None:
    for each in payments:
        if each is not winner and each.state in UNDER_WAY:
            await _settle(connection, each, PaymentState.UNDOING)


async def _settle(connection: Connection, payment: OrderPayment, state: PaymentState) -> None:
    """What is to be undone is due at once; a payer who has yet to scan is asked about later."""
    payment.state = state
    await connection.execute(
        _SETTLE, payment.merchant_id, payment.authorization_id, state, payment.code, payment.response_code,
        payment.reason, _AWAITING_AGAIN_MS if state is PaymentState.AWAITING else 0,
    )  # fmt: skip


async def _move(connection: Connection, order: Order, state: OrderState, now_ms: int) -> None:
    order.state, order.changed_time_ms = state, now_ms
    await connection.execute(_MOVE, order.merchant.id, order.id, state, order.paid_by, order.paid_scheme, now_ms)
