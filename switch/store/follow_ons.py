"""Increments, captures, voids, refunds and acquirers' reversals: reserved, then finished, under the original's lock."""

from dataclasses import replace
from uuid import UUID

import structlog

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Decision, Operation, State, may_become
from switch.store.follow_on_rules import NO_ORIGINAL, OVERTOOK, InFlight, Verdict, judge, raise_by
from switch.store.follow_ups import END_INCREMENTS, NO_FOLLOW_ON, OPEN_FOLLOW_UPS, follow_up_row
from switch.store.rows import authorization_from, authorization_row, follow_on_from, follow_on_row, trace_text
from switch.store.sessions import Connection, Retry, Sessions

log = structlog.get_logger()

_LOCK_ORIGINAL = "SELECT * FROM authorizations WHERE merchant_id = $1 AND id = $2 FOR UPDATE"

_FIND = "SELECT * FROM follow_ons WHERE merchant_id = $1 AND id = $2"

_LOCK = "SELECT * FROM follow_ons WHERE merchant_id = $1 AND id = $2 FOR UPDATE"

# Voids (4), reversals (6), captures (3) and increments (8) that are SENT (1) or UNKNOWN (5); and what is
# charged back (`dispute_holds`).
_FACTS = """
SELECT now_ms() AS now_ms, count(*) FILTER (WHERE operation IN (4, 6)) > 0 AS undoing,
       coalesce(sum(amount_minor) FILTER (WHERE operation = 3), 0)::bigint AS captures_minor,
       coalesce(sum(amount_minor) FILTER (WHERE operation = 8), 0)::bigint AS increments_minor,
       (SELECT coalesce(sum(amount_minor), 0)::bigint FROM disputes
        WHERE merchant_id = $1 AND authorization_id = $2 AND kind = 2 AND state <> 5) AS charged_back_minor
FROM follow_ons WHERE merchant_id = $1 AND authorization_id = $2 AND state IN (1, 5)
"""

_INSERT = """
INSERT INTO follow_ons (
    merchant_id, id, authorization_id, acquirer_id, operation, amount_minor, currency, fingerprint, state,
    response_code, reason, channel_reference, trace, created_time_ms, answered_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT DO NOTHING RETURNING id
"""

_INSERT_TOMBSTONE = """
INSERT INTO authorizations (
    merchant_id, id, acquirer_id, terminal_id, merchant_category_code, operation, amount_minor, currency, entry,
    masked_credential, fingerprint, payer_key, sealed_credential, state, decision, response_code, reason, stage,
    channel, attempt, route_explanation, trace, approval_code, retrieval_reference, channel_reference,
    emv_response, approved_minor, captured_minor, refunded_minor, owner, created_time_ms, answered_time_ms)
SELECT * FROM unnest($1::authorization_row[]) ON CONFLICT DO NOTHING RETURNING id
"""

_MOVE_ORIGINAL = """
UPDATE authorizations
SET state = $3, decision = $4, response_code = $5, reason = $6, captured_minor = $7, refunded_minor = $8,
    answered_time_ms = $9, approved_minor = $10, incremented_minor = $11
WHERE merchant_id = $1 AND id = $2
"""

# What the resolver was to find out or undo is settled or taken over: its open work (state 1) is done (2).
_CLOSE_FOLLOW_UPS = """
UPDATE follow_ups SET state = 2, fence = fence + 1, lease_owner = NULL, lease_until_ms = 0, detail = $4,
    ended_time_ms = now_ms()
WHERE merchant_id = $1 AND authorization_id = $2 AND state = 1 AND operation = ANY ($3::smallint[])
"""

_FINISH = """
UPDATE follow_ons
SET state = $3, response_code = $4, reason = $5, channel_reference = $6, trace = $7, answered_time_ms = $8,
    amount_minor = $9
WHERE merchant_id = $1 AND id = $2
"""

_ORIGINAL_BECOMES = {Operation.VOID: State.VOIDED, Operation.REVERSAL: State.REVERSED}


class FollowOns:
    def __init__(self, sessions: Sessions, reversal_after_s: float) -> None:
        self._sessions = sessions
        self._reversal_after_s = reversal_after_s

    async def begin(
        self, follow_on: FollowOn, tombstone: Authorization | None
    ) -> tuple[FollowOn, Authorization | None]:
        """The first result is `follow_on` itself, completed, if it was stored now, and another object if it repeats.

        So `stored is follow_on and stored.state is State.SENT` says: ask the channel.
        """

        async def work(connection: Connection) -> tuple[FollowOn, Authorization | None, bool]:
            original = await _lock_original(connection, follow_on.merchant_id, follow_on.authorization_id)
            stored = await connection.fetchrow(_FIND, follow_on.merchant_id, follow_on.id)
            if stored is not None:
                return follow_on_from(stored), original, False
            facts = await connection.fetchrow(_FACTS, follow_on.merchant_id, follow_on.authorization_id)
            assert facts is not None  # an aggregate always has one row
            if original is None:
                verdict = NO_ORIGINAL
                if follow_on.operation is Operation.REVERSAL and tombstone is not None:
                    original, verdict = await _bury(connection, tombstone, facts["now_ms"]), OVERTOOK
            else:
                others = InFlight(
                    facts["undoing"], facts["captures_minor"], facts["increments_minor"], facts["charged_back_minor"]
                )
                verdict = judge(follow_on, original, others)
            fresh = await _store(connection, follow_on, verdict, facts["now_ms"])
            if original is not None and verdict is not OVERTOOK:
                await self._reserve(connection, original, verdict, facts["now_ms"])
            return fresh, original, True

        found, original, is_fresh = await self._sessions.transaction(work)
        if not is_fresh:
            return found, original
        follow_on.state, follow_on.answered_time_ms = found.state, found.answered_time_ms
        follow_on.response_code, follow_on.reason = found.response_code, found.reason
        return follow_on, original

    async def _reserve(self, connection: Connection, original: Authorization, verdict: Verdict, now_ms: int) -> None:
        original.captured_minor += verdict.captured_delta_minor
        original.refunded_minor += verdict.refunded_delta_minor
        if verdict.original_becomes is not None:
            original.state, original.decision = verdict.original_becomes, Decision.UNKNOWN
            original.response_code, original.reason = verdict.response_code, verdict.reason
            original.answered_time_ms = now_ms
        if verdict.original_becomes is not None or verdict.captured_delta_minor or verdict.refunded_delta_minor:
            await _save_original(connection, original)
        if verdict.open_reversal:
            await _close_follow_ups(connection, original, [Operation.INQUIRY], verdict.reason)
            await self._open_reversal(connection, original)

    async def _open_reversal(self, connection: Connection, original: Authorization) -> None:
        await self._open(connection, original, Operation.REVERSAL)

    async def _open(
        self, connection: Connection, original: Authorization, operation: Operation, follow_on_id: UUID = NO_FOLLOW_ON
    ) -> None:
        row = follow_up_row(original, operation, self._reversal_after_s, follow_on_id=follow_on_id)
        await connection.execute(OPEN_FOLLOW_UPS, [row])

    async def finish(self, follow_on: FollowOn, original: Authorization) -> None:
        """Outcome of a follow-on that is SENT; of any other nothing changes: once UNKNOWN it is the resolver's.

        `follow_on` and `original` are brought up to date: they say what is stored now. DECLINED gives back what was
        reserved. UNKNOWN keeps it, and the resolver takes over: a void or reversal ends as a REVERSAL of the original,
        a capture, refund or increment is repeated until the channel answers it. An APPROVED increment raises the
        original in the same transaction.
        """
        if follow_on.state is State.SENT:
            raise ValueError("a follow-on does not finish as SENT")

        async def work(connection: Connection) -> tuple[Authorization | None, FollowOn | None]:
            current = await _lock_original(connection, follow_on.merchant_id, follow_on.authorization_id)
            stored = await connection.fetchrow(_LOCK, follow_on.merchant_id, follow_on.id)
            if current is None or stored is None or stored["state"] != State.SENT:
                return current, None if stored is None else follow_on_from(stored)
            await connection.execute(
                _FINISH,
                follow_on.merchant_id,
                follow_on.id,
                follow_on.state,
                follow_on.response_code,
                follow_on.reason,
                follow_on.channel_reference,
                trace_text(follow_on.trace),
                follow_on.answered_time_ms,
                follow_on.money.amount_minor,
            )
            await self._settle(connection, follow_on, current)
            return current, None

        current, settled_before = await self._sessions.transaction(work)
        if settled_before is not None:
            follow_on.state, follow_on.answered_time_ms = settled_before.state, settled_before.answered_time_ms
            follow_on.response_code, follow_on.reason = settled_before.response_code, settled_before.reason
            follow_on.channel_reference, follow_on.money = settled_before.channel_reference, settled_before.money
        if current is not None:
            original.state = current.state
            original.approved_minor = current.approved_minor
            original.incremented_minor = current.incremented_minor
            original.captured_minor = current.captured_minor
            original.refunded_minor = current.refunded_minor

    async def _settle(self, connection: Connection, follow_on: FollowOn, original: Authorization) -> None:
        following = _ORIGINAL_BECOMES.get(follow_on.operation)
        if follow_on.operation is Operation.INCREMENT and follow_on.state is not State.UNKNOWN:
            raise_by(follow_on, original)
            await _save_original(connection, original)
        elif follow_on.state is State.DECLINED and following is None:
            _give_back(follow_on, original)
            await _save_original(connection, original)
        elif follow_on.state is State.UNKNOWN and following is None:
            await self._open(connection, original, follow_on.operation, follow_on.id)
        elif follow_on.state is State.UNKNOWN:
            await self._open_reversal(connection, original)
        elif follow_on.state is State.APPROVED and following is not None:
            if not may_become(original.state, following):
                log.warning("follow_on_found_original_settled", id=str(original.id), state=original.state.name)
                return
            original.state, original.captured_minor = following, original.refunded_minor
            await _save_original(connection, original)
            await _close_follow_ups(connection, original, [Operation.INQUIRY, Operation.REVERSAL], following.name)
            await connection.execute(END_INCREMENTS, [original.merchant_id], [original.id])


async def _store(connection: Connection, follow_on: FollowOn, verdict: Verdict, now_ms: int) -> FollowOn:
    fresh = replace(
        follow_on,
        state=verdict.state,
        response_code=verdict.response_code,
        reason=verdict.reason,
        answered_time_ms=0 if verdict.state is State.SENT else now_ms,
    )
    if await connection.fetchval(_INSERT, *follow_on_row(fresh)) is None:
        raise Retry("the same follow-on was stored meanwhile")
    return fresh


def _give_back(follow_on: FollowOn, original: Authorization) -> None:
    if follow_on.operation is Operation.CAPTURE:
        original.captured_minor -= follow_on.money.amount_minor
    else:
        original.refunded_minor -= follow_on.money.amount_minor


async def _bury(connection: Connection, tombstone: Authorization, now_ms: int) -> Authorization:
    """Invariant 7: in place of an original that has not come yet, so that it finds itself reversed when it comes."""
    tombstone.state, tombstone.owner = State.REVERSED, None
    tombstone.answered_time_ms = tombstone.answered_time_ms or now_ms
    if await connection.fetchval(_INSERT_TOMBSTONE, [authorization_row(tombstone)]) is None:
        raise Retry("the original arrived meanwhile")
    return tombstone


async def _lock_original(connection: Connection, merchant_id: str, authorization_id: UUID) -> Authorization | None:
    row = await connection.fetchrow(_LOCK_ORIGINAL, merchant_id, authorization_id)
    return None if row is None else authorization_from(row)


async def _save_original(connection: Connection, original: Authorization) -> None:
    await connection.execute(
        _MOVE_ORIGINAL,
        original.merchant_id,
        original.id,
        original.state,
        original.decision,
        original.response_code,
        original.reason,
        original.captured_minor,
        original.refunded_minor,
        original.answered_time_ms,
        original.approved_minor,
        original.incremented_minor,
    )


async def _close_follow_ups(
    connection: Connection, original: Authorization, operations: list[Operation], detail: str
) -> None:
    await connection.execute(_CLOSE_FOLLOW_UPS, original.merchant_id, original.id, operations, detail)
