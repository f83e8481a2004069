"""What nobody drives any more: found, claimed exactly once, and put on its way to a reversal (invariants 5, 12, 20)."""

import time
from dataclasses import dataclass
from uuid import UUID

import structlog

from switch.domain.identity import lowest_id_at
from switch.domain.states import Operation
from switch.store.follow_ups import NO_FOLLOW_ON, OPEN, OPEN_FOLLOW_UPS
from switch.store.sessions import Connection, Sessions

log = structlog.get_logger()

# A statement of a process whose lease just ran out may still commit: pool.create_pool bounds it to seconds. The dead
# are looked through again for this long before they are forgotten.
_LAST_COMMIT_MS = 60_000

# Slack for a process's wall clock stepping back, and for the longest life of an authorization (200 ms).
_SLACK_MS = 10_000

# Each look reads everything that the dead left within its last minute, so one every so often is enough.
_LOOK_AGAIN_MS = 10_000

# A living process's own leftovers (its answer from the database was lost) are looked for no more often than this.
_OWN_SWEEP_MS = 30_000

# An id begins with the acquirer's transmission time: at most this far before the row was created (DESIGN 3.4: 24 h).
_OLDEST_TRANSMISSION_MS = 25 * 3_600_000

# Follow-ons have no owner, so whether their process lives is not asked: none is in flight for as long as this. Whoever
# wakes up later finds its follow-on UNKNOWN and no longer its own to finish.
_FOLLOW_ON_PATIENCE_MS = 60_000

_SCAN_TIMEOUT_S = 30.0

# The one who locks a dead process's row claims for it; SKIP LOCKED sends every other racer home empty-handed.
_LOCK_DEAD = """
SELECT owner, name, swept_time_ms, lease_until_ms, now_ms() - lease_until_ms AS dead_for_ms
FROM processes WHERE lease_until_ms <= now_ms() FOR UPDATE SKIP LOCKED
"""

# Not locked: a beat must not wait for the scan, and nobody else sweeps a living process.
_FIND_OWN = """
SELECT owner, name, swept_time_ms, oldest_open_time_ms
FROM processes
WHERE owner = $1 AND lease_until_ms > now_ms() AND oldest_open_time_ms - swept_time_ms >= $2
"""

# SENT (1) becomes UNKNOWN (5), decision UNKNOWN (3), response code 68; a REVERSAL (6) is opened.
_CLAIM = """
WITH claimed AS (
    UPDATE authorizations
    SET state = 5, decision = 3, response_code = '68', reason = $6, stage = 'recover', owner = $1,
        answered_time_ms = now_ms()
    WHERE owner = $2 AND state = 1 AND created_time_ms >= $3 AND created_time_ms < $4 AND id >= $5
    RETURNING merchant_id, id, payer_key, created_time_ms),
opened AS (
    INSERT INTO follow_ups (
        merchant_id, authorization_id, operation, payer_key, created_time_ms, state, first_due_time_ms, due_time_ms,
        attempts, lease_owner, lease_until_ms, fence, trace, detail)
    SELECT merchant_id, id, 6, payer_key, created_time_ms, 1, now_ms() + $7, now_ms() + $7, 0, NULL, 0, 0, '{}', ''
    FROM claimed
    ON CONFLICT DO NOTHING)
SELECT count(*) FROM claimed
"""

# A reversal (6) or void (4) left in flight is finished by a reversal; a capture or refund keeps what it reserved and,
# like an increment, is repeated until the channel answers it.
_CLAIM_FOLLOW_ONS = """
WITH old AS (
    SELECT merchant_id, id FROM follow_ons
    WHERE state = 1 AND created_time_ms < now_ms() - $1 FOR UPDATE SKIP LOCKED)
UPDATE follow_ons AS n SET state = 5, response_code = '68', reason = 'outcome lost', answered_time_ms = now_ms()
FROM old WHERE n.merchant_id = old.merchant_id AND n.id = old.id
RETURNING n.merchant_id, n.id, n.authorization_id, n.operation
"""


@dataclass(frozen=True, slots=True)
class _Range:
    """Rows of `owner` created in [from_ms, until_ms) are left over, because `reason`."""

    owner: UUID
    from_ms: int
    until_ms: int
    reason: str


class InDoubt:
    """Claims what dead processes left SENT, and what a living one lost track of.

    A living process says with each `beat` what its oldest open authorization is; a row of its own that is SENT and
    older than that is one whose recording or outcome failed (StoreUnavailable), and nobody is driving it.
    """

    def __init__(self, sessions: Sessions, reversal_after_s: float) -> None:
        self._sessions = sessions
        self._reversal_after_ms = int(reversal_after_s * 1000)
        self._looked_dead_for_ms: dict[UUID, int] = {}
        self._lost_track_time_ms = 0

    def lost_track(self) -> None:
        """A recording of this process failed just now: a row of its own may be SENT with nobody driving it."""
        self._lost_track_time_ms = time.time_ns() // 1_000_000

    async def claim(self, claimer: UUID) -> int:
        """How many authorizations became UNKNOWN. Racers share the work; none is claimed twice."""
        dead = await self._sessions.transaction(lambda connection: self._claim_dead(connection, claimer))
        own = await self._sessions.transaction(lambda connection: self._claim_own(connection, claimer))
        await self._sessions.transaction(self._claim_follow_ons)
        return dead + own

    async def _claim_dead(self, connection: Connection, claimer: UUID) -> int:
        count = 0
        for row in await connection.fetch(_LOCK_DEAD):
            dead, name, dead_for_ms = row["owner"], row["name"], row["dead_for_ms"]
            is_last = dead_for_ms > _LAST_COMMIT_MS
            if not is_last and dead_for_ms < self._looked_dead_for_ms.get(dead, -_LOOK_AGAIN_MS) + _LOOK_AGAIN_MS:
                continue
            self._looked_dead_for_ms[dead] = dead_for_ms
            until_ms = row["lease_until_ms"] + _SLACK_MS
            left = _Range(dead, row["swept_time_ms"] - _SLACK_MS, until_ms, "its process died")
            found = await self._claim_range(connection, claimer, left)
            if found:
                log.warning("in_doubt_claimed", process=name, owner=str(dead), count=found)
            count += found
            if is_last:
                self._looked_dead_for_ms.pop(dead, None)
                await connection.execute("DELETE FROM processes WHERE owner = $1", dead)
        return count

    async def _claim_own(self, connection: Connection, claimer: UUID) -> int:
        row = await connection.fetchrow(_FIND_OWN, claimer, _OWN_SWEEP_MS + _SLACK_MS)
        if row is None:
            return 0
        until_ms = row["oldest_open_time_ms"] - _SLACK_MS
        left = _Range(claimer, row["swept_time_ms"] - _SLACK_MS, until_ms, "its outcome could not be recorded")
        # Without a failure in that time there is nothing to find, and half a minute of rows to read.
        found = await self._claim_range(connection, claimer, left) if self._lost_track_time_ms >= left.from_ms else 0
        await connection.execute("UPDATE processes SET swept_time_ms = $2 WHERE owner = $1", claimer, until_ms)
        if found:
            log.warning("in_doubt_claimed", process=row["name"], owner=str(claimer), count=found)
        return found

    async def _claim_range(self, connection: Connection, claimer: UUID, left: _Range) -> int:
        lowest = lowest_id_at(max(0, left.from_ms - _OLDEST_TRANSMISSION_MS))
        # The pool's plans are made without looking at values. Here they decide: which days are read, and that the BRIN
        # is read and not the primary key, in which a time is not a range.
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        bounds = (left.owner, left.from_ms, left.until_ms, lowest)
        count: int = await connection.fetchval(
            _CLAIM, claimer, *bounds, left.reason, self._reversal_after_ms, timeout=_SCAN_TIMEOUT_S
        )
        return count

    async def _claim_follow_ons(self, connection: Connection) -> None:
        left = await connection.fetch(_CLAIM_FOLLOW_ONS, _FOLLOW_ON_PATIENCE_MS)
        work = {(row["merchant_id"], row["authorization_id"], *_work_of(row["operation"], row["id"])) for row in left}
        if work:
            rows = [(*key, 0, OPEN, self._reversal_after_ms, "") for key in sorted(work)]
            await connection.execute(OPEN_FOLLOW_UPS, rows)
        if left:
            log.warning("follow_ons_in_doubt", count=len(left))


def _work_of(operation: int, follow_on_id: UUID) -> tuple[Operation, UUID]:
    """What the resolver does for a follow-on in doubt: (operation, follow_on_id) of the follow-up."""
    if operation in (Operation.REVERSAL, Operation.VOID):
        return Operation.REVERSAL, NO_FOLLOW_ON
    return Operation(operation), follow_on_id
