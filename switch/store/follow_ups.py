"""The resolver's queue: leased, fenced, parallel over payers and ordered for each (DESIGN 5: invariants 5, 6, 8, 12).

Of an authorization it holds at most one reversal and one inquiry, and every capture, refund and increment whose outcome
is open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from asyncpg import Record

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Operation, State, may_become
from switch.ports import FollowUp, FollowUpResult
from switch.store.rows import Row, authorization_from, follow_on_from, outcome_row, trace_from, trace_text
from switch.store.sessions import Connection, Sessions

log = structlog.get_logger()

# Stored; never reused.
OPEN, DONE, DEAD = 1, 2, 3

# The follow_on_id of reversals and inquiries.
NO_FOLLOW_ON = UUID(int=0)

# A closed one is opened again: its work came up a second time.
OPEN_FOLLOW_UPS = """
INSERT INTO follow_ups AS f (
    merchant_id, authorization_id, operation, follow_on_id, payer_key, created_time_ms, state, first_due_time_ms,
    due_time_ms, attempts, lease_owner, lease_until_ms, fence, trace, detail)
SELECT a.merchant_id, a.id, w.operation, w.follow_on_id, a.payer_key, coalesce(n.created_time_ms, a.created_time_ms),
       1, now_ms() + w.after_ms, now_ms() + w.after_ms, 0, NULL, 0, 0, '{}', ''
FROM unnest($1::follow_up_row[]) AS w
JOIN authorizations AS a ON a.merchant_id = w.merchant_id AND a.id = w.authorization_id
LEFT JOIN follow_ons AS n ON n.merchant_id = w.merchant_id AND n.id = w.follow_on_id
ON CONFLICT (merchant_id, authorization_id, operation, follow_on_id) DO UPDATE
SET state = 1, first_due_time_ms = EXCLUDED.first_due_time_ms, due_time_ms = EXCLUDED.due_time_ms, attempts = 0,
    lease_owner = NULL, lease_until_ms = 0, fence = f.fence + 1, trace = '{}', detail = '', hastened = false,
    ended_time_ms = 0
WHERE f.state <> 1
"""

# An older open one of the same payer goes first, due or not; one that is being worked on goes alone. SKIP LOCKED: two
# claimers never wait for each other and never get the same row.
_CLAIM = """
WITH due AS (
    SELECT f.merchant_id, f.authorization_id, f.operation, f.follow_on_id
    FROM follow_ups AS f
    WHERE f.state = 1 AND f.due_time_ms <= now_ms() AND f.lease_until_ms <= now_ms()
      AND (f.payer_key = '' OR NOT EXISTS (
          SELECT FROM follow_ups AS other
          WHERE other.state = 1 AND other.payer_key = f.payer_key
            AND (other.merchant_id, other.authorization_id, other.operation, other.follow_on_id)
                <> (f.merchant_id, f.authorization_id, f.operation, f.follow_on_id)
            AND (other.lease_until_ms > now_ms()
                 OR (other.created_time_ms, other.authorization_id, other.operation, other.follow_on_id)
                    < (f.created_time_ms, f.authorization_id, f.operation, f.follow_on_id))))
    ORDER BY f.due_time_ms
    LIMIT $2
    FOR UPDATE OF f SKIP LOCKED)
UPDATE follow_ups AS f
SET lease_owner = $1, lease_until_ms = now_ms() + $3, fence = f.fence + 1, hastened = false
FROM due JOIN authorizations AS a ON a.merchant_id = due.merchant_id AND a.id = due.authorization_id
WHERE f.merchant_id = due.merchant_id AND f.authorization_id = due.authorization_id AND f.operation = due.operation
  AND f.follow_on_id = due.follow_on_id
RETURNING f.operation AS follow_up_operation, f.follow_on_id, f.attempts, f.fence, f.first_due_time_ms,
          f.trace AS follow_up_trace, a.*
"""

_FIND_FOLLOW_ONS = """
SELECT n.* FROM unnest($1::text[], $2::uuid[]) AS k (merchant_id, id)
JOIN follow_ons AS n ON n.merchant_id = k.merchant_id AND n.id = k.id
"""

_KEEP_TRACE = """
UPDATE follow_ups AS f SET trace = n.detail
FROM unnest($1::follow_up_row[]) AS n
WHERE f.merchant_id = n.merchant_id AND f.authorization_id = n.authorization_id AND f.operation = n.operation
  AND f.follow_on_id = n.follow_on_id AND f.fence = n.fence AND f.state = 1
"""

# Locked in the order of their keys, the authorization before its follow-up, as everywhere: no circle of waiters.
_LOCK_AUTHORIZATIONS = """
SELECT a.merchant_id, a.id, a.state
FROM unnest($1::follow_up_row[]) AS r
JOIN authorizations AS a ON a.merchant_id = r.merchant_id AND a.id = r.authorization_id
ORDER BY a.merchant_id, a.id FOR UPDATE OF a
"""

_LOCK_FOLLOW_UPS = """
SELECT f.merchant_id, f.authorization_id, f.operation, f.follow_on_id
FROM unnest($1::follow_up_row[]) AS r
JOIN follow_ups AS f ON f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id
    AND f.operation = r.operation AND f.follow_on_id = r.follow_on_id
WHERE f.state = 1 AND f.fence = r.fence
ORDER BY f.merchant_id, f.authorization_id, f.operation, f.follow_on_id FOR UPDATE OF f
"""

# Hastened since it was claimed: it may have asked too early, and asks again at once. A dead letter (3) that goes on
# being tried steps out of its payer's line, so that it holds up nothing newer.
_RETRY = """
UPDATE follow_ups AS f
SET attempts = f.attempts + 1, due_time_ms = now_ms() + CASE WHEN f.hastened THEN 0 ELSE r.after_ms END,
    lease_owner = NULL, lease_until_ms = 0, detail = r.detail,
    payer_key = CASE r.state WHEN 3 THEN '' ELSE f.payer_key END
FROM unnest($1::follow_up_row[]) AS r
WHERE f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id AND f.operation = r.operation
  AND f.follow_on_id = r.follow_on_id
"""

_RELEASE = """
UPDATE follow_ups AS f SET lease_owner = NULL, lease_until_ms = 0
FROM unnest($1::follow_up_row[]) AS r
WHERE f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id AND f.operation = r.operation
  AND f.follow_on_id = r.follow_on_id AND f.fence = r.fence AND f.state = 1
"""

_CLOSE = """
UPDATE follow_ups AS f
SET state = r.state, attempts = f.attempts + 1, lease_owner = NULL, lease_until_ms = 0, detail = r.detail,
    ended_time_ms = now_ms()
FROM unnest($1::follow_up_row[]) AS r
WHERE f.merchant_id = r.merchant_id AND f.authorization_id = r.authorization_id AND f.operation = r.operation
  AND f.follow_on_id = r.follow_on_id
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

# What was undone was undone whole, open (5) increments (8) with it: they are not repeated to the channel any more.
END_INCREMENTS = """
WITH undone AS (SELECT * FROM unnest($1::text[], $2::uuid[]) AS u (merchant_id, id)),
ended AS (
    UPDATE follow_ons AS n
    SET state = 4, response_code = '22', reason = 'undone with its original', answered_time_ms = now_ms()
    FROM undone AS u
    WHERE n.merchant_id = u.merchant_id AND n.authorization_id = u.id AND n.operation = 8 AND n.state = 5)
UPDATE follow_ups AS f
SET state = 2, fence = fence + 1, lease_owner = NULL, lease_until_ms = 0, detail = 'undone with its original',
    ended_time_ms = now_ms()
FROM undone AS u
WHERE f.merchant_id = u.merchant_id AND f.authorization_id = u.id AND f.operation = 8 AND f.state = 1
"""

# A declined (4) capture (3) or refund (5) gives back what it reserved on its original, whose row is locked; an approved
# (3) increment (8) raises it, unless it was undone meanwhile.
_SETTLE_FOLLOW_ONS = """
WITH settled AS (
    UPDATE follow_ons AS n
    SET state = o.state, response_code = o.response_code, reason = o.reason, channel_reference = o.channel_reference,
        answered_time_ms = o.answered_time_ms, amount_minor = o.amount_minor
    FROM unnest($1::follow_on_ending[]) AS o
    WHERE n.merchant_id = o.merchant_id AND n.id = o.id AND n.state = 5
    RETURNING n.merchant_id, n.authorization_id, n.operation, n.amount_minor, n.state),
changes AS (
    SELECT merchant_id, authorization_id,
           coalesce(sum(amount_minor) FILTER (WHERE operation = 3 AND state = 4), 0) AS given_back_minor,
           coalesce(sum(amount_minor) FILTER (WHERE operation = 5 AND state = 4), 0) AS not_refunded_minor,
           coalesce(sum(amount_minor) FILTER (WHERE operation = 8 AND state = 3), 0) AS raised_minor
    FROM settled GROUP BY merchant_id, authorization_id)
UPDATE authorizations AS a
SET captured_minor = a.captured_minor - c.given_back_minor, refunded_minor = a.refunded_minor - c.not_refunded_minor,
    approved_minor = a.approved_minor + CASE WHEN a.state = 3 THEN c.raised_minor ELSE 0 END,
    incremented_minor = a.incremented_minor + CASE WHEN a.state = 3 THEN c.raised_minor ELSE 0 END
FROM changes AS c
WHERE a.merchant_id = c.merchant_id AND a.id = c.authorization_id
"""

_OPEN_STATES = frozenset({State.SENT, State.AWAITING_PAYER, State.UNKNOWN})


def follow_up_row(
    authorization: Authorization, operation: Operation, after_s: float, *, follow_on_id: UUID = NO_FOLLOW_ON,
    fence: int = 0, state: int = OPEN, detail: str = "",
) -> Row:  # fmt: skip
    """In the order of the SQL type `follow_up_row`."""
    key = (authorization.merchant_id, authorization.id, operation, follow_on_id)
    return (*key, fence, state, int(after_s * 1000), detail)


def _row_of(follow_up: FollowUp, after_s: float = 0.0, *, state: int = OPEN, detail: str = "") -> Row:
    """The row that names `follow_up` under the fence that it was claimed with."""
    follow_on_id = NO_FOLLOW_ON if follow_up.follow_on is None else follow_up.follow_on.id
    return follow_up_row(
        follow_up.authorization, follow_up.operation, after_s, follow_on_id=follow_on_id,
        fence=follow_up.fence, state=state, detail=detail,
    )  # fmt: skip


def _follow_on_outcome(follow_on: FollowOn) -> Row:
    """In the order of the SQL type `follow_on_ending`."""
    return (
        follow_on.merchant_id,
        follow_on.id,
        follow_on.state,
        follow_on.response_code,
        follow_on.reason,
        follow_on.channel_reference,
        follow_on.answered_time_ms,
        follow_on.money.amount_minor,
    )


@dataclass(slots=True)
class _Plan:
    """What a list of results does to the tables."""

    moves: list[Row] = field(default_factory=list)
    undone: list[tuple[str, UUID]] = field(default_factory=list)
    closes: list[Row] = field(default_factory=list)
    retries: list[Row] = field(default_factory=list)
    opens: list[Row] = field(default_factory=list)
    settled: list[Row] = field(default_factory=list)


class FollowUps:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def claim(self, owner: UUID, limit: int, lease_s: float) -> list[FollowUp]:
        async def work(connection: Connection) -> tuple[list[Record], list[Record]]:
            rows = await connection.fetch(_CLAIM, owner, limit, int(lease_s * 1000))
            keys = [(row["merchant_id"], row["follow_on_id"]) for row in rows if row["follow_on_id"] != NO_FOLLOW_ON]
            if not keys:
                return rows, []
            return rows, await connection.fetch(_FIND_FOLLOW_ONS, *map(list, zip(*keys, strict=True)))

        rows, found = await self._sessions.transaction(work)
        follow_ons = {each.id: each for each in map(follow_on_from, found)}
        follow_ups = [_follow_up_from(row, follow_ons) for row in rows]
        return sorted(follow_ups, key=lambda each: each.first_due_time_ms)

    async def keep_trace(self, follow_ups: Sequence[FollowUp]) -> None:
        """A follow-on's own trace was stored with it, before it was sent the first time."""
        rows = [_row_of(each, detail=trace_text(each.trace)) for each in follow_ups if each.follow_on is None]
        if rows:
            await self._sessions.run(lambda connection: connection.execute(_KEEP_TRACE, rows))

    async def release(self, follow_ups: Sequence[FollowUp]) -> None:
        rows = [_row_of(each) for each in follow_ups]
        await self._sessions.run(lambda connection: connection.execute(_RELEASE, rows))

    async def finish(self, results: Sequence[tuple[FollowUp, FollowUpResult]]) -> None:
        """Applies every result whose fence still holds; the others changed nothing and are logged."""
        if not results:
            return
        rows = [_row_of(follow_up) for follow_up, _ in results]

        async def work(connection: Connection) -> None:
            states = {
                (row["merchant_id"], row["id"]): State(row["state"])
                for row in await connection.fetch(_LOCK_AUTHORIZATIONS, rows)
            }
            ours = {tuple(row) for row in await connection.fetch(_LOCK_FOLLOW_UPS, rows)}
            plan = _Plan()
            for (follow_up, result), row in zip(results, rows, strict=True):
                record = follow_up.authorization
                if row[:4] not in ours:
                    log.warning("follow_up_result_refused", id=str(record.id), fence=follow_up.fence)
                elif follow_up.follow_on is not None:
                    _decide_follow_on(follow_up, follow_up.follow_on, result, plan)
                else:
                    _decide(follow_up, result, states[record.merchant_id, record.id], plan)
            await _carry_out(connection, plan)

        await self._sessions.transaction(work)


async def _carry_out(connection: Connection, plan: _Plan) -> None:
    if plan.moves:
        await connection.execute(_MOVE, plan.moves)
        await connection.execute(_FINISH_FOLLOW_ONS, plan.moves)
    if plan.undone:
        await connection.execute(END_INCREMENTS, *map(list, zip(*plan.undone, strict=True)))
    if plan.settled:
        await connection.execute(_SETTLE_FOLLOW_ONS, plan.settled)
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
        plan.retries.append(_row_of(follow_up, result.retry_after_s, detail=record.reason))
        return
    if allowed:
        row = outcome_row(record, 0)
        plan.moves.append((*row[:3], wanted, *row[4:]))
        if wanted is State.REVERSED:
            plan.undone.append((record.merchant_id, record.id))
    closed = DEAD if wanted is State.DEAD_LETTER else DONE
    plan.closes.append(_row_of(follow_up, state=closed, detail=record.reason))
    if inquired_in_vain and not settled:
        plan.opens.append(follow_up_row(record, Operation.REVERSAL, result.retry_after_s))


def _decide_follow_on(follow_up: FollowUp, follow_on: FollowOn, result: FollowUpResult, plan: _Plan) -> None:
    """Adds to `plan` what `result` does to a capture, refund or increment: only the channel's own word ends it."""
    if result.state in (State.APPROVED, State.DECLINED):
        plan.settled.append(_follow_on_outcome(follow_on))
        plan.closes.append(_row_of(follow_up, state=DONE, detail=follow_on.reason))
        return
    state = DEAD if result.state is State.DEAD_LETTER else OPEN
    plan.retries.append(_row_of(follow_up, result.retry_after_s, state=state, detail=follow_on.reason))


def _follow_up_from(row: Record, follow_ons: Mapping[UUID, FollowOn]) -> FollowUp:
    follow_on = None if row["follow_on_id"] == NO_FOLLOW_ON else follow_ons[row["follow_on_id"]]
    return FollowUp(
        authorization=authorization_from(row),
        operation=Operation(row["follow_up_operation"]),
        attempts=row["attempts"],
        fence=row["fence"],
        first_due_time_ms=row["first_due_time_ms"],
        trace=trace_from(row["follow_up_trace"]) if follow_on is None else follow_on.trace,
        follow_on=follow_on,
    )
