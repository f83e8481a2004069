"""The resolver's queue: leased, fenced, parallel over payers and ordered for each (DESIGN 5: invariants 5, 6, 12)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from asyncpg import Record

from switch.domain.authorization import Authorization
from switch.domain.states import Operation, State, may_become
from switch.ports import FollowUp, FollowUpResult
from switch.store.rows import Row, authorization_from, outcome_row, trace_from, trace_text
from switch.store.sessions import Connection, Sessions

log = structlog.get_logger()

# Stored; never reused.
OPEN, DONE, DEAD = 1, 2, 3

# A closed one is opened again: its work came up a second time.
OPEN_FOLLOW_UPS = """
INSERT INTO follow_ups AS f (
    merchant_id, authorization_id, operation, payer_key, created_time_ms, state, first_due_time_ms, due_time_ms,
    attempts, lease_owner, lease_until_ms, fence, trace, detail)
SELECT a.merchant_id, a.id, w.operation, a.payer_key, a.created_time_ms, 1, now_ms() + w.after_ms,
       now_ms() + w.after_ms, 0, NULL, 0, 0, '{}', ''
FROM unnest($1::follow_up_result[]) AS w
JOIN authorizations AS a ON a.merchant_id = w.merchant_id AND a.id = w.authorization_id
ON CONFLICT (merchant_id, authorization_id, operation) DO UPDATE
SET state = 1, first_due_time_ms = EXCLUDED.first_due_time_ms, due_time_ms = EXCLUDED.due_time_ms, attempts = 0,
    lease_owner = NULL, lease_until_ms = 0, fence = f.fence + 1, trace = '{}', detail = ''
WHERE f.state <> 1
"""

# An older open one of the same payer goes first, due or not; one that is being worked on goes alone. SKIP LOCKED: two
# claimers never wait for each other and never get the same row.
_CLAIM = """
WITH due AS (
    SELECT f.merchant_id, f.authorization_id, f.operation
    FROM follow_ups AS f
    WHERE f.state = 1 AND f.due_time_ms <= now_ms() AND f.lease_until_ms <= now_ms()
      AND (f.payer_key = '' OR NOT EXISTS (
          SELECT FROM follow_ups AS other
          WHERE other.state = 1 AND other.payer_key = f.payer_key
            AND (other.merchant_id, other.authorization_id, other.operation)
                <> (f.merchant_id, f.authorization_id, f.operation)
            AND (other.lease_until_ms > now_ms()
                 OR (other.created_time_ms, other.authorization_id, other.operation)
                    < (f.created_time_ms, f.authorization_id, f.operation))))
    ORDER BY f.due_time_ms
    LIMIT $2
    FOR UPDATE OF f SKIP LOCKED)
UPDATE follow_ups AS f
SET lease_owner = $1, lease_until_ms = now_ms() + $3, fence = f.fence + 1
FROM due JOIN authorizations AS a ON a.merchant_id = due.merchant_id AND a.id = due.authorization_id
WHERE f.merchant_id = due.merchant_id AND f.authorization_id = due.authorization_id AND f.operation = due.operation
RETURNING f.operation AS follow_up_operation, f.attempts, f.fence, f.first_due_time_ms, f.trace AS follow_up_trace, a.*
"""

_KEEP_TRACE = """
UPDATE follow_ups AS f SET trace = n.detail
FROM unnest($1::follow_up_result[]) AS n
WHERE f.merchant_id = n.merchant_id AND f.authorization_id = n.authorization_id AND f.operation = n.operation
  AND f.fence = n.fence AND f.state = 1
"""

# Locked in the order of their keys, the authorization before its follow-up, as everywhere: no circle of waiters.
_LOCK_AUTHORIZATIONS = """
SELECT a.merchant_id, a.id, a.state
FROM unnest($1::follow_up_result[]) AS r
JOIN authorizations AS a ON a.merchant_id = r.merchant_id AND a.id = r.authorization_id
ORDER BY a.merchant_id, a.id FOR UPDATE OF a
"""

_LOCK_FOLLOW_UPS = """
SELECT f.merchant_id, f.authorization_id, f.operation
FROM unnest($1::follow_up_result[]) AS r
JOIN follow_ups AS f ON f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id
    AND f.operation = r.operation
WHERE f.state = 1 AND f.fence = r.fence
ORDER BY f.merchant_id, f.authorization_id, f.operation FOR UPDATE OF f
"""

_RETRY = """
UPDATE follow_ups AS f
SET attempts = f.attempts + 1, due_time_ms = now_ms() + r.after_ms, lease_owner = NULL, lease_until_ms = 0,
    detail = r.detail
FROM unnest($1::follow_up_result[]) AS r
WHERE f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id AND f.operation = r.operation
"""

_CLOSE = """
UPDATE follow_ups AS f
SET state = r.state, attempts = f.attempts + 1, lease_owner = NULL, lease_until_ms = 0, detail = r.detail
FROM unnest($1::follow_up_result[]) AS r
WHERE f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id AND f.operation = r.operation
"""

# The caller of an UNKNOWN (5) or APPROVED (3) authorization has had its answer: only the state moves on (invariant 6).
# What is reversed (6) or voided (7) holds nothing captured but what was refunded.
_MOVE = """
UPDATE authorizations AS a
SET state = o.state,
    captured_minor = CASE WHEN o.state IN (6, 7) THEN a.refunded_minor
                          WHEN a.state = 2 THEN o.captured_minor ELSE a.captured_minor END,
    decision = CASE WHEN a.state = 2 THEN o.decision ELSE a.decision END,
    response_code = CASE WHEN a.state = 2 THEN o.response_code ELSE a.response_code END,
    reason = CASE WHEN a.state = 2 THEN o.reason ELSE a.reason END,
    stage = CASE WHEN a.state = 2 THEN o.stage ELSE a.stage END,
    approval_code = CASE WHEN a.state = 2 THEN o.approval_code ELSE a.approval_code END,
    retrieval_reference = CASE WHEN a.state = 2 THEN o.retrieval_reference ELSE a.retrieval_reference END,
    channel_reference = CASE WHEN a.state = 2 THEN o.channel_reference ELSE a.channel_reference END,
    emv_response = CASE WHEN a.state = 2 THEN o.emv_response ELSE a.emv_response END,
    approved_minor = CASE WHEN a.state = 2 THEN o.approved_minor ELSE a.approved_minor END,
    answered_time_ms = CASE WHEN a.state = 2 THEN o.answered_time_ms ELSE a.answered_time_ms END
FROM unnest($1::authorization_outcome[]) AS o
WHERE a.merchant_id = o.merchant_id AND a.id = o.id
"""

# The acquirer's own reversals and voids (operations 6 and 4) that waited, UNKNOWN (5), for this reversal.
_FINISH_FOLLOW_ONS = """
UPDATE follow_ons AS n SET state = 3, response_code = '00', reason = 'reversed', answered_time_ms = now_ms()
FROM unnest($1::authorization_outcome[]) AS o
WHERE o.state = 6 AND n.merchant_id = o.merchant_id AND n.authorization_id = o.id
  AND n.operation IN (4, 6) AND n.state = 5
"""

_OPEN_STATES = frozenset({State.SENT, State.AWAITING_PAYER, State.UNKNOWN})


def follow_up_row(
    authorization: Authorization, operation: Operation, after_s: float, *, fence: int = 0, state: int = OPEN,
    detail: str = "",
) -> Row:  # fmt: skip
    """In the order of the SQL type `follow_up_result`."""
    return (authorization.merchant_id, authorization.id, operation, fence, state, int(after_s * 1000), detail)


@dataclass(slots=True)
class _Plan:
    """What a list of results does to the tables."""

    moves: list[Row] = field(default_factory=list)
    closes: list[Row] = field(default_factory=list)
    retries: list[Row] = field(default_factory=list)
    opens: list[Row] = field(default_factory=list)


class FollowUps:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def claim(self, owner: UUID, limit: int, lease_s: float) -> list[FollowUp]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_CLAIM, owner, limit, int(lease_s * 1000)))
        return sorted((_follow_up_from(row) for row in rows), key=lambda each: each.first_due_time_ms)

    async def keep_trace(self, follow_ups: Sequence[FollowUp]) -> None:
        rows = [
            follow_up_row(each.authorization, each.operation, 0, fence=each.fence, detail=trace_text(each.trace))
            for each in follow_ups
        ]
        if rows:
            await self._sessions.run(lambda connection: connection.execute(_KEEP_TRACE, rows))

    async def finish(self, results: Sequence[tuple[FollowUp, FollowUpResult]]) -> None:
        """Applies every result whose fence still holds; the others changed nothing and are logged."""
        if not results:
            return
        rows = [
            follow_up_row(follow_up.authorization, follow_up.operation, result.retry_after_s, fence=follow_up.fence)
            for follow_up, result in results
        ]

        async def work(connection: Connection) -> None:
            states = {
                (row["merchant_id"], row["id"]): State(row["state"])
                for row in await connection.fetch(_LOCK_AUTHORIZATIONS, rows)
            }
            ours = {tuple(row) for row in await connection.fetch(_LOCK_FOLLOW_UPS, rows)}
            plan = _Plan()
            for follow_up, result in results:
                record = follow_up.authorization
                if (record.merchant_id, record.id, follow_up.operation) not in ours:
                    log.warning("follow_up_result_refused", id=str(record.id), fence=follow_up.fence)
                    continue
                _decide(follow_up, result, states[record.merchant_id, record.id], plan)
            await _carry_out(connection, plan)

        await self._sessions.transaction(work)


async def _carry_out(connection: Connection, plan: _Plan) -> None:
    if plan.moves:
        await connection.execute(_MOVE, plan.moves)
        await connection.execute(_FINISH_FOLLOW_ONS, plan.moves)
    if plan.closes:
        await connection.execute(_CLOSE, plan.closes)
    if plan.retries:
        await connection.execute(_RETRY, plan.retries)
    if plan.opens:
        await connection.execute(OPEN_FOLLOW_UPS, plan.opens)


def _decide(follow_up: FollowUp, result: FollowUpResult, current: State, plan: _Plan) -> None:
    """Adds to `plan` what `result` does to an authorization that stands at `current`.

    A settled authorization is not moved by a late result, and needs no more work: the follow-up closes. A move that
    TRANSITIONS refuses while the outcome is still open would leave it open without work: that one is tried again.
    """
    record, operation, wanted = follow_up.authorization, follow_up.operation, result.state
    inquired_in_vain = operation is Operation.INQUIRY and wanted is State.UNKNOWN
    settled = current not in _OPEN_STATES
    allowed = wanted is not None and may_become(current, wanted)
    if wanted is None or not (allowed or settled or (inquired_in_vain and current is State.UNKNOWN)):
        if wanted is not None and wanted is not current:
            log.error("follow_up_move_refused", id=str(record.id), current=current.name, wanted=wanted.name)
        plan.retries.append(follow_up_row(record, operation, result.retry_after_s, detail=record.reason))
        return
    if allowed:
        row = outcome_row(record, 0)
        plan.moves.append((*row[:3], wanted, *row[4:]))
    closed = DEAD if wanted is State.DEAD_LETTER else DONE
    plan.closes.append(follow_up_row(record, operation, 0, state=closed, detail=record.reason))
    if inquired_in_vain and not settled:
        plan.opens.append(follow_up_row(record, Operation.REVERSAL, result.retry_after_s))


def _follow_up_from(row: Record) -> FollowUp:
    return FollowUp(
        authorization=authorization_from(row),
        operation=Operation(row["follow_up_operation"]),
        attempts=row["attempts"],
        fence=row["fence"],
        first_due_time_ms=row["first_due_time_ms"],
        trace=trace_from(row["follow_up_trace"]),
    )
