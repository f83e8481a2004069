"""The journal's hot path: intents, attempts and outcomes, one statement and one commit per batch."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.risk import NOTHING_JUDGED, Judged
from switch.domain.states import Operation
from switch.ports import FollowUp, FollowUpResult, Hastened, Notice, StoreUnavailable
from switch.store.follow_ons import FollowOns
from switch.store.follow_ups import FollowUps
from switch.store.hasten import Hastening
from switch.store.in_doubt import InDoubt
from switch.store.judgements import judgement_rows
from switch.store.rows import Row, answer_row, attempt_row, authorization_from, authorization_row, follow_on_from
from switch.store.sessions import Connection, Pool, Sessions

# A row that is SENT (state 1) is recorded only for a process whose lease runs: nobody would look for it otherwise.
_RECORD_INTENTS = """
WITH recorded AS (
    INSERT INTO authorizations (
        merchant_id, id, acquirer_id, terminal_id, merchant_category_code, operation, amount_minor, currency, entry,
        masked_credential, fingerprint, payer_key, sealed_credential, state, decision, response_code, reason, stage,
        channel, attempt, route_explanation, trace, approval_code, retrieval_reference, channel_reference,
        emv_response, approved_minor, captured_minor, refunded_minor, owner, created_time_ms, answered_time_ms)
    SELECT * FROM unnest($1::authorization_row[]) AS intent
    WHERE intent.state <> 1
       OR intent.owner IN (SELECT owner FROM processes WHERE lease_until_ms > now_ms())
    ON CONFLICT DO NOTHING
    RETURNING merchant_id, id),
judged AS (
    INSERT INTO risk_judgements (
        merchant_id, id, outcome, response_code, score, model_score, rules_version, model_version, fired, shadow,
        absent, failed, facts, subjects, amount_minor, currency, time_ms)
    SELECT j.* FROM unnest($2::risk_judgement_row[]) AS j
    JOIN recorded AS r ON r.merchant_id = j.merchant_id AND r.id = j.id)
SELECT count(*) AS count, array_agg(merchant_id) AS merchant_ids, array_agg(id) AS ids FROM recorded
"""

_FIND_MANY = """
SELECT a.* FROM unnest($1::text[], $2::uuid[]) AS wanted (merchant_id, id)
JOIN authorizations AS a ON a.merchant_id = wanted.merchant_id AND a.id = wanted.id
"""

_RECORD_ATTEMPTS = """
WITH recorded AS (
    UPDATE authorizations AS a
    SET channel = n.channel, attempt = n.attempt, route_explanation = n.route_explanation, trace = n.trace
    FROM unnest($1::authorization_attempt[]) AS n
    WHERE a.merchant_id = n.merchant_id AND a.id = n.id AND a.id BETWEEN $2 AND $3
      AND a.state = 1 AND a.owner = n.owner
    RETURNING a.merchant_id, a.id)
SELECT count(*) AS count, array_agg(merchant_id) AS merchant_ids, array_agg(id) AS ids FROM recorded
"""

# UNKNOWN (state 5) opens a REVERSAL (operation 6), AWAITING_PAYER (state 2) an INQUIRY (operation 7).
# The bounds $2 and $3 let the server open only the partitions that are touched.
_RECORD_OUTCOMES = """
WITH recorded AS (
    UPDATE authorizations AS a
    SET state = o.state, decision = o.decision, response_code = o.response_code, reason = o.reason, stage = o.stage,
        approval_code = o.approval_code, retrieval_reference = o.retrieval_reference,
        channel_reference = o.channel_reference, emv_response = o.emv_response, approved_minor = o.approved_minor,
        captured_minor = o.captured_minor, answered_time_ms = o.answered_time_ms, order_code = o.order_code
    FROM unnest($1::authorization_answer[]) AS o
    WHERE a.merchant_id = o.merchant_id AND a.id = o.id AND a.id BETWEEN $2 AND $3
      AND a.state = 1 AND a.owner = o.owner
    RETURNING a.merchant_id, a.id, a.state, a.payer_key, a.created_time_ms, o.follow_up_after_ms),
opened AS (
    INSERT INTO follow_ups (
        merchant_id, authorization_id, operation, payer_key, created_time_ms, state, first_due_time_ms, due_time_ms,
        attempts, lease_owner, lease_until_ms, fence, trace, detail)
    SELECT merchant_id, id, CASE state WHEN 5 THEN 6 ELSE 7 END, payer_key, created_time_ms, 1,
           now_ms() + follow_up_after_ms, now_ms() + follow_up_after_ms, 0, NULL, 0, 0, '{}', ''
    FROM recorded WHERE state IN (2, 5)
    ON CONFLICT DO NOTHING)
SELECT count(*) AS count, array_agg(merchant_id) AS merchant_ids, array_agg(id) AS ids FROM recorded
"""

_FIND = "SELECT * FROM authorizations WHERE merchant_id = $1 AND id = $2"

_OPEN_FOLLOW_UPS = "SELECT operation, count(*) AS count FROM follow_ups WHERE state = 1 GROUP BY operation"

_FIND_FOLLOW_ONS = """
SELECT * FROM follow_ons WHERE merchant_id = $1 AND authorization_id = $2 ORDER BY created_time_ms, id
"""

T = TypeVar("T")

_NIL = UUID(int=0)

# Statements with arguments that have no effect; a connection asks them once when it is made.
WARM_UP: Sequence[tuple[str, tuple[Any, ...]]] = (
    (_RECORD_INTENTS, ([], [])),
    (_RECORD_OUTCOMES, ([], _NIL, _NIL)),
    (_RECORD_ATTEMPTS, ([], _NIL, _NIL)),
    (_FIND_MANY, ([], [])),
    (_FIND, ("", _NIL)),
)

_id_number = attrgetter("id.int")


class PostgresJournal:
    """Meets `switch.ports.Journal`.

    A batch is sorted by id before it is written, so that two batches with the same repeats cannot wait for each other
    in a circle. `reversal_after_s`: how long after its discovery an authorization left in doubt is due for reversal;
    a channel that wants longer (`Channel.reversal_after_s`) is the resolver's to respect.
    """

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0, reversal_after_s: float = 1.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)
        self._follow_ons = FollowOns(self._sessions, reversal_after_s)
        self._follow_ups = FollowUps(self._sessions)
        self._hastening = Hastening(self._sessions)
        self._in_doubt = InDoubt(self._sessions, reversal_after_s)

    async def record_intents(
        self, intents: Sequence[Authorization], judged: Mapping[UUID, Judged] = NOTHING_JUDGED
    ) -> list[Authorization | None]:
        """Per item None if it was recorded now, else what was there before (of two equal ids in one batch, the first
        is recorded and the second finds it). A batch with a SENT row whose owner's lease ran out raises
        StoreUnavailable.
        """
        if not intents:
            return []
        ordered = sorted(intents, key=_id_number)
        rows = [authorization_row(each) for each in ordered]
        judgements = judgement_rows({each.id: each for each in ordered}, judged)

        async def work(connection: Connection) -> list[Authorization | None]:
            done = await connection.fetchrow(_RECORD_INTENTS, rows, judgements)
            assert done is not None  # an aggregate always has one row
            if done["count"] == len(rows):
                return [None] * len(rows)
            recorded = set(zip(done["merchant_ids"] or (), done["ids"] or (), strict=True))
            return await _with_repeats(connection, intents, recorded)

        return await self._sure(work)

    async def record_attempts(self, authorizations: Sequence[Authorization]) -> list[bool]:
        return await self._update(_RECORD_ATTEMPTS, authorizations, [attempt_row(each) for each in authorizations])

    async def record_outcomes(
        self, authorizations: Sequence[Authorization], follow_up_after_s: Sequence[float]
    ) -> list[bool]:
        rows = [answer_row(each, after_s) for each, after_s in zip(authorizations, follow_up_after_s, strict=True)]
        return await self._update(_RECORD_OUTCOMES, authorizations, rows)

    async def _update(self, statement: str, authorizations: Sequence[Authorization], rows: list[Row]) -> list[bool]:
        if not rows:
            return []
        numbers = [each.id.int for each in authorizations]
        lowest, highest = UUID(int=min(numbers)), UUID(int=max(numbers))

        async def work(connection: Connection) -> list[bool]:
            done = await connection.fetchrow(statement, rows, lowest, highest)
            assert done is not None  # an aggregate always has one row
            if done["count"] == len(rows):
                return [True] * len(rows)
            recorded = set(zip(done["merchant_ids"] or (), done["ids"] or (), strict=True))
            return [(each.merchant_id, each.id) in recorded for each in authorizations]

        return await self._sure(work)

    async def _sure(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Recording that failed may have happened all the same: the sweep for what nobody drives has to look."""
        try:
            return await self._sessions.run(work)
        except StoreUnavailable:
            self._in_doubt.lost_track()
            raise

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, merchant_id, authorization_id))
        return None if row is None else authorization_from(row)

    async def find_follow_ons(self, merchant_id: str, authorization_id: UUID) -> list[FollowOn]:
        """Oldest first."""
        rows = await self._sessions.run(
            lambda connection: connection.fetch(_FIND_FOLLOW_ONS, merchant_id, authorization_id)
        )
        return [follow_on_from(row) for row in rows]

    async def begin_follow_on(
        self, follow_on: FollowOn, partition_tombstone: Authorization | None
    ) -> tuple[FollowOn, Authorization | None]:
        return await self._follow_ons.begin(follow_on, partition_tombstone)

    async def finish_follow_on(self, follow_on: FollowOn, original: Authorization) -> None:
        await self._follow_ons.finish(follow_on, original)

    async def hasten(self, notice: Notice, merchant_id: str | None, authorization_id: UUID) -> Hastened:
        return await self._hastening.hasten(notice, merchant_id, authorization_id)

    async def claim_follow_ups(self, owner: UUID, limit: int, lease_s: float) -> list[FollowUp]:
        return await self._follow_ups.claim(owner, limit, lease_s)

    async def keep_follow_up_trace(self, follow_ups: Sequence[FollowUp]) -> None:
        await self._follow_ups.keep_trace(follow_ups)

    async def finish_follow_ups(self, results: Sequence[tuple[FollowUp, FollowUpResult]]) -> None:
        await self._follow_ups.finish(results)

    async def release_follow_ups(self, follow_ups: Sequence[FollowUp]) -> None:
        await self._follow_ups.release(follow_ups)

    async def open_follow_ups(self) -> dict[Operation, int]:
        """How much of each kind has not ended, for the operators' gauge."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_OPEN_FOLLOW_UPS))
        return {Operation(row["operation"]): row["count"] for row in rows}

    async def claim_in_doubt(self, owner: UUID) -> int:
        return await self._in_doubt.claim(owner)


async def _with_repeats(
    connection: Connection, intents: Sequence[Authorization], recorded: set[tuple[str, UUID]]
) -> list[Authorization | None]:
    """Reads what the repeats among `intents` repeat; `recorded` are the keys that were inserted just now."""
    results: list[Authorization | None] = [None] * len(intents)
    repeats: dict[tuple[str, UUID], list[int]] = {}
    for index, intent in enumerate(intents):
        key = (intent.merchant_id, intent.id)
        if key in recorded:
            recorded.discard(key)
        else:
            repeats.setdefault(key, []).append(index)
    found = await connection.fetch(_FIND_MANY, [key[0] for key in repeats], [key[1] for key in repeats])
    for row in found:
        for index in repeats.pop((row["merchant_id"], row["id"])):
            results[index] = authorization_from(row)
    if repeats:
        raise StoreUnavailable(f"{len(repeats)} authorizations belong to a process whose lease has run out")
    return results
