"""Refunds that a merchant's people asked for, their limits, and what each has refunded by himself on a day."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.access import Caller, Role
from switch.domain.audit import AuditEntry
from switch.domain.authorization import FollowOn
from switch.domain.money import Money
from switch.domain.refund import Refund, RefundLimit, RefundState, limit_for, role_holder, sendable
from switch.domain.refusals import Missing, NotPermitted
from switch.store import audit_trail
from switch.store.feed_consumer import Span
from switch.store.rows import follow_on_from
from switch.store.sessions import Connection, Pool, Retry, Sessions

# The call that asked sends it itself; only if that came to nothing somebody else does.
_GRACE_MS: Final = 10_000

_BY_KEY = "SELECT * FROM merchant_refunds WHERE merchant_id = $1 AND idempotency_key = $2"
_BY_ID = "SELECT * FROM merchant_refunds WHERE merchant_id = $1 AND id = $2"
_LIST = "SELECT * FROM merchant_refunds WHERE merchant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
_LIST_IN_STATE = """
SELECT * FROM merchant_refunds WHERE merchant_id = $1 AND id < $2 AND state = $4 ORDER BY id DESC LIMIT $3
"""
_WAITING = """
SELECT coalesce(sum(amount_minor), 0)::bigint FROM merchant_refunds
WHERE merchant_id = $1 AND authorization_id = $2 AND state = 1
"""

_INSERT = """
INSERT INTO merchant_refunds (
    merchant_id, id, authorization_id, idempotency_key, amount_minor, currency, reason, state, requested_by,
    requested_role, decided_by, decision_reason, day, counted, follow_on_id, acquirer_id, transmission_time_ms,
    response_code, response_reason, created_time_ms, changed_time_ms, due_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT DO NOTHING RETURNING id
"""
_SAVE = """
UPDATE merchant_refunds
SET state = $3, decided_by = $4, decision_reason = $5, counted = $6, follow_on_id = $7, transmission_time_ms = $8,
    response_code = $9, response_reason = $10, changed_time_ms = $11, due_time_ms = $12
WHERE merchant_id = $1 AND id = $2
"""

_LIMITS = "SELECT * FROM refund_limits WHERE merchant_id = $1 ORDER BY holder, currency"
_LIMITS_OF = "SELECT * FROM refund_limits WHERE merchant_id = $1 AND holder = ANY ($2::text[]) AND currency = $3"
_LOCK_LIMIT = "SELECT * FROM refund_limits WHERE merchant_id = $1 AND holder = $2 AND currency = $3 FOR UPDATE"
_SET_LIMIT = """
INSERT INTO refund_limits (merchant_id, holder, currency, each_minor, day_minor, step_up_minor)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (merchant_id, holder, currency)
DO UPDATE SET each_minor = $4, day_minor = $5, step_up_minor = $6
"""

# Takes the day's row and adds to it while the sum is within the limit; no row: it is not.
_BEGIN_DAY = """
INSERT INTO refund_days (merchant_id, day, holder, currency, used_minor) VALUES ($1, $2, $3, $4, 0)
ON CONFLICT DO NOTHING
"""
_USE_DAY = """
UPDATE refund_days SET used_minor = used_minor + $5
WHERE merchant_id = $1 AND day = $2 AND holder = $3 AND currency = $4 AND used_minor + $5 <= $6
RETURNING used_minor
"""
_GIVE_BACK_DAY = """
UPDATE refund_days SET used_minor = greatest(0, used_minor - $5)
WHERE merchant_id = $1 AND day = $2 AND holder = $3 AND currency = $4
"""

_CLAIM = """
UPDATE merchant_refunds AS r SET due_time_ms = $1 + $2
FROM (SELECT merchant_id, id FROM merchant_refunds WHERE state IN (2, 3) AND due_time_ms <= $1
      ORDER BY due_time_ms LIMIT $3 FOR UPDATE SKIP LOCKED) AS due
WHERE r.merchant_id = due.merchant_id AND r.id = due.id
RETURNING r.*
"""
_FOLLOW_ON = "SELECT * FROM follow_ons WHERE merchant_id = $1 AND id = $2"

# The events by their position, whatever the planner makes of the rest. 5: REFUNDED.
_FINISH_FROM_FEED = """
WITH refunded AS MATERIALIZED (
    SELECT merchant_id, follow_on_id, time_ms FROM journal_events WHERE position > $1 AND position <= $2 AND kind = 5)
UPDATE merchant_refunds AS r
SET state = 4, response_code = '00', response_reason = '', changed_time_ms = e.time_ms
FROM refunded AS e
WHERE r.merchant_id = e.merchant_id AND r.follow_on_id = e.follow_on_id AND r.state IN (2, 3)
"""


async def finish_from_feed(connection: Connection, span: Span) -> None:
    """Refunds of which the journal knows now that they moved money. Within the feed consumer's transaction."""
    await connection.execute(_FINISH_FROM_FEED, span.after, span.until)


class PostgresRefunds:
    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def by_key(self, merchant_id: str, idempotency_key: str) -> Refund | None:
        return await self._one(_BY_KEY, merchant_id, idempotency_key)

    async def find(self, merchant_id: str, refund_id: UUID) -> Refund | None:
        return await self._one(_BY_ID, merchant_id, refund_id)

    async def _one(self, statement: str, *arguments: object) -> Refund | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(statement, *arguments))
        return None if row is None else refund_from(row)

    async def listed(self, merchant_id: str, state: RefundState | None, before: UUID, limit: int) -> list[Refund]:
        """Newest first."""
        statement, more = (_LIST, ()) if state is None else (_LIST_IN_STATE, (state,))
        rows = await self._sessions.run(
            lambda connection: connection.fetch(statement, merchant_id, before, limit, *more)
        )
        return [refund_from(row) for row in rows]

    async def waiting_minor(self, merchant_id: str, authorization_id: UUID) -> int:
        """What waits for approval to be refunded of that payment."""
        found: int = await self._sessions.run(
            lambda connection: connection.fetchval(_WAITING, merchant_id, authorization_id)
        )
        return found

    async def request(self, refund: Refund, caller: Caller, act: str) -> Refund:
        """Store it: SENDING if it is within the caller's limits, else WAITING.

        One that is stored under its key already is returned instead, whatever its content. Raises NotPermitted where
        the limit wants a second factor that was not shown.
        """

        async def work(connection: Connection) -> Refund:
            stored = await connection.fetchrow(_BY_KEY, refund.merchant_id, refund.idempotency_key)
            if stored is not None:
                return refund_from(stored)
            fresh = await self._decided(connection, refund, caller)
            if await connection.fetchval(_INSERT, *_row(fresh)) is None:
                raise Retry("the same key was stored just now")
            await audit_trail.append(connection, _entry(None, fresh, caller.name, act))
            return fresh

        return await self._sessions.transaction(work)

    async def _decided(self, connection: Connection, refund: Refund, caller: Caller) -> Refund:
        """Counts it on its day if it goes by itself."""
        amount_minor, currency = refund.money.amount_minor, refund.money.currency
        rows = await connection.fetch(_LIMITS_OF, refund.merchant_id, [caller.name, role_holder(caller)], currency)
        limit = limit_for(caller, currency, {row["holder"]: limit_from(row) for row in rows})
        if amount_minor >= limit.step_up_minor and caller.session_id is not None and not caller.stepped_up:
            raise NotPermitted("step-up needed")
        if amount_minor > limit.each_minor:
            return refund
        day = (refund.merchant_id, date.fromisoformat(refund.day), refund.requested_by, currency)
        await connection.execute(_BEGIN_DAY, *day)
        if await connection.fetchval(_USE_DAY, *day, amount_minor, limit.day_minor) is None:
            return refund
        return sendable(replace(refund, counted=True), refund.created_time_ms)

    async def change(
        self, merchant_id: str, refund_id: UUID, changed: Callable[[Refund], Refund], who: str = "", act: str = ""
    ) -> Refund:
        """Under its lock: what `changed` makes of it (may be run again; may raise). who: a person, for the audit trail.

        A refund that failed gives back what it had of its day.
        """

        async def work(connection: Connection) -> Refund:
            row = await connection.fetchrow(_BY_ID + " FOR UPDATE", merchant_id, refund_id)
            if row is None:
                raise Missing("no such refund")
            before = refund_from(row)
            after = changed(before)
            if after == before:
                return before
            if after.state is RefundState.FAILED and before.counted:
                day = (merchant_id, date.fromisoformat(before.day), before.requested_by, before.money.currency)
                await connection.execute(_GIVE_BACK_DAY, *day, before.money.amount_minor)
                after = replace(after, counted=False)
            await connection.execute(_SAVE, merchant_id, refund_id, *_changing(after))
            if who:
                await audit_trail.append(connection, _entry(before, after, who, act))
            return after

        return await self._sessions.transaction(work)

    async def claim_due(self, now_ms: int, lease_ms: int, limit: int) -> list[Refund]:
        """Those on their way whose time has come; for the length of the lease nobody else gets them."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_CLAIM, now_ms, lease_ms, limit))
        return [refund_from(row) for row in rows]

    async def follow_on(self, refund: Refund) -> FollowOn | None:
        """What the journal has of it; None: it never came there."""
        row = await self._sessions.run(
            lambda connection: connection.fetchrow(_FOLLOW_ON, refund.merchant_id, refund.follow_on_id)
        )
        return None if row is None else follow_on_from(row)

    async def limits(self, merchant_id: str) -> list[RefundLimit]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_LIMITS, merchant_id))
        return [limit_from(row) for row in rows]

    async def set_limit(self, merchant_id: str, limit: RefundLimit, who: str, act: str) -> None:
        async def work(connection: Connection) -> None:
            row = await connection.fetchrow(_LOCK_LIMIT, merchant_id, limit.holder, limit.currency)
            values = (limit.each_minor, limit.day_minor, limit.step_up_minor)
            await connection.execute(_SET_LIMIT, merchant_id, limit.holder, limit.currency, *values)
            before = {} if row is None else _limit_fields(limit_from(row))
            subject = f"refund limit/{limit.holder}/{limit.currency}"
            entry = AuditEntry(merchant_id, who, act, subject, before, _limit_fields(limit))
            await audit_trail.append(connection, entry)

        await self._sessions.transaction(work)


def _row(refund: Refund) -> tuple[object, ...]:
    return (
        refund.merchant_id, refund.id, refund.authorization_id, refund.idempotency_key, refund.money.amount_minor,
        refund.money.currency, refund.reason, refund.state, refund.requested_by, refund.requested_role,
        refund.decided_by, refund.decision_reason, date.fromisoformat(refund.day), refund.counted,
        refund.follow_on_id, refund.acquirer_id, refund.transmission_time_ms, refund.response_code,
        refund.response_reason, refund.created_time_ms, refund.changed_time_ms, refund.changed_time_ms + _GRACE_MS,
    )  # fmt: skip


def _changing(refund: Refund) -> tuple[object, ...]:
    return (
        refund.state, refund.decided_by, refund.decision_reason, refund.counted, refund.follow_on_id,
        refund.transmission_time_ms, refund.response_code, refund.response_reason, refund.changed_time_ms,
        refund.changed_time_ms + _GRACE_MS,
    )  # fmt: skip


def refund_from(row: Record) -> Refund:
    return Refund(
        merchant_id=row["merchant_id"],
        id=UUID(int=row["id"].int),
        authorization_id=UUID(int=row["authorization_id"].int),
        idempotency_key=row["idempotency_key"],
        money=Money(row["amount_minor"], row["currency"]),
        reason=row["reason"],
        state=RefundState(row["state"]),
        requested_by=row["requested_by"],
        requested_role=Role(row["requested_role"]),
        day=row["day"].isoformat(),
        acquirer_id=row["acquirer_id"],
        created_time_ms=row["created_time_ms"],
        changed_time_ms=row["changed_time_ms"],
        decided_by=row["decided_by"],
        decision_reason=row["decision_reason"],
        counted=row["counted"],
        follow_on_id=UUID(int=row["follow_on_id"].int),
        transmission_time_ms=row["transmission_time_ms"],
        response_code=row["response_code"],
        response_reason=row["response_reason"],
    )


def limit_from(row: Record) -> RefundLimit:
    return RefundLimit(row["holder"], row["currency"], row["each_minor"], row["day_minor"], row["step_up_minor"])


def _limit_fields(limit: RefundLimit) -> dict[str, object]:
    return {
        "each_minor": limit.each_minor,
        "day_minor": limit.day_minor,
        "step_up_minor": limit.step_up_minor,
    }


def _entry(before: Refund | None, after: Refund, who: str, act: str) -> AuditEntry:
    fields: dict[str, object] = {"state": after.state.name}
    if before is None:
        fields |= {
            "authorization_id": str(after.authorization_id),
            "amount_minor": after.money.amount_minor,
            "currency": after.money.currency,
            "reason": after.reason,
        }
    elif after.decision_reason:
        fields["reason"] = after.decision_reason
    earlier = {} if before is None else {"state": before.state.name}
    return AuditEntry(after.merchant_id, who, act, f"refund/{after.id}", earlier, fields)
