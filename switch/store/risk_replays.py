"""Replays, labels and stored judgements in PostgreSQL."""

import json
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from switch.domain.risk import Label, Outcome
from switch.domain.risk_label import PaymentLabel
from switch.domain.risk_release import ReleaseKind, ReleaseState, Replay, ReplayState
from switch.domain.risk_replay import ReplayReport, as_fields, from_fields
from switch.ports.risk_desk import StoredJudgement
from switch.store.partitions import start_ms_of
from switch.store.sessions import Connection, Pool, Sessions

_COLUMNS = (
    "id, kind, version, encode(sha256, 'hex') AS sha256, live_rules, live_model, from_time_ms, to_time_ms, state,"
    " started_by, started_time_ms, beat_time_ms, ended_time_ms, judged, failure, report"
)
_BEGIN = """
INSERT INTO risk_replays (
    id, kind, version, sha256, live_rules, live_model, from_time_ms, to_time_ms, state, started_by, started_time_ms,
    beat_time_ms, ended_time_ms, judged, failure)
VALUES ($1, $2, $3, decode($4, 'hex'), $5, $6, $7, $8, 1, $9, $10, $11, 0, 0, '')
"""
_BEAT = "UPDATE risk_replays SET judged = $2, beat_time_ms = $3 WHERE id = $1 AND state = 1"
_DONE = """
UPDATE risk_replays SET state = 2, judged = $2, report = $3, beat_time_ms = $4, ended_time_ms = $4
WHERE id = $1 AND state = 1
"""
_REPLAYED = f"""
UPDATE risk_releases SET state = {ReleaseState.REPLAYED:d}, changed_by = $3, changed_time_ms = $4
WHERE kind = $1 AND version = $2 AND state = {ReleaseState.DRAFT:d}
"""  # noqa: S608
_FAILED = """
UPDATE risk_replays SET state = 3, failure = $2, beat_time_ms = $3, ended_time_ms = $3 WHERE id = $1 AND state = 1
"""
_FIND = f"SELECT {_COLUMNS} FROM risk_replays WHERE id = $1"  # noqa: S608
_LATEST = f"""
SELECT {_COLUMNS} FROM risk_replays WHERE kind = $1 AND version = $2 AND state = 2
ORDER BY started_time_ms DESC, id DESC LIMIT 1
"""  # noqa: S608
_JUDGEMENT = """
SELECT merchant_id, id AS authorization_id, outcome, response_code, score, model_score, rules_version, model_version,
       fired, shadow, absent, facts, amount_minor, currency, time_ms
FROM risk_judgements WHERE merchant_id = $1 AND id = $2
"""
_DAYS = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'risk_judgements'::regclass AND c.relname <> 'risk_judgements_default' ORDER BY c.relname
"""
_OLDEST_WITHOUT_DAY = "SELECT min(time_ms) FROM risk_judgements_default"
_PUT_LABELS = """
INSERT INTO risk_labels (merchant_id, authorization_id, source, label, time_ms)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::smallint[], $5::bigint[])
ON CONFLICT (merchant_id, authorization_id, source)
DO UPDATE SET label = excluded.label, time_ms = excluded.time_ms WHERE risk_labels.time_ms <= excluded.time_ms
"""
_LABELS = """
SELECT merchant_id, authorization_id, source, label, time_ms FROM risk_labels
WHERE merchant_id = $1 AND authorization_id = $2 ORDER BY time_ms DESC, source
"""
_LONGEST_FAILURE: Final = 2_000


class PostgresReplays:
    """Meets `switch.ports.risk_desk.Replays`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def begin(self, replay: Replay) -> None:
        await self._sessions.run(
            lambda connection: connection.execute(
                _BEGIN, replay.id, replay.kind, replay.version, replay.sha256, replay.live_rules, replay.live_model,
                replay.from_time_ms, replay.to_time_ms, replay.started_by, replay.started_time_ms, replay.beat_time_ms,
            )
        )  # fmt: skip

    async def beat(self, replay_id: UUID, judged: int, now_ms: int) -> None:
        await self._sessions.run(lambda connection: connection.execute(_BEAT, replay_id, judged, now_ms))

    async def done(self, replay: Replay, report: ReplayReport, now_ms: int) -> None:
        text = json.dumps(as_fields(report), ensure_ascii=False, separators=(",", ":"))

        async def work(connection: Connection) -> None:
            await connection.execute(_DONE, replay.id, report.judged.payments, text, now_ms)
            await connection.execute(_REPLAYED, replay.kind, replay.version, replay.started_by, now_ms)

        await self._sessions.transaction(work)

    async def failed(self, replay_id: UUID, failure: str, now_ms: int) -> None:
        shown = failure[:_LONGEST_FAILURE]
        await self._sessions.run(lambda connection: connection.execute(_FAILED, replay_id, shown, now_ms))

    async def find_replay(self, replay_id: UUID) -> Replay | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, replay_id))
        return None if row is None else _replay_from(row)

    async def latest(self, kind: ReleaseKind, version: int) -> Replay | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_LATEST, kind, version))
        return None if row is None else _replay_from(row)


class PostgresJudgementsRead:
    """Meets `switch.ports.risk_desk.Judgements` and `Labels`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def judgement(self, merchant_id: str, authorization_id: UUID) -> StoredJudgement | None:
        row = await self._sessions.run(
            lambda connection: connection.fetchrow(_JUDGEMENT, merchant_id, authorization_id)
        )
        return None if row is None else StoredJudgement(**(dict(row) | {"outcome": Outcome(row["outcome"])}))

    async def oldest_time_ms(self) -> int | None:
        async def work(connection: Connection) -> int | None:
            found: int | None = await connection.fetchval(_OLDEST_WITHOUT_DAY)
            for (name,) in await connection.fetch(_DAYS):
                # Some row is looked for, not the least id: that would read the whole day.
                if await connection.fetchval(f"SELECT true FROM {name} LIMIT 1"):  # noqa: S608
                    start_ms = start_ms_of(name)
                    return start_ms if found is None else min(start_ms, found)
            return found

        return await self._sessions.run(work)

    async def put_labels(self, labels: Sequence[PaymentLabel]) -> None:
        # One statement may not change a row twice, and those at once lock rows in one order.
        last = {(each.merchant_id, each.authorization_id, each.source): each for each in labels}
        ordered = [last[key] for key in sorted(last)]
        columns = (
            [each.merchant_id for each in ordered],
            [each.authorization_id for each in ordered],
            [each.source for each in ordered],
            [int(each.label) for each in ordered],
            [each.time_ms for each in ordered],
        )
        await self._sessions.run(lambda connection: connection.execute(_PUT_LABELS, *columns))

    async def labels_of(self, merchant_id: str, authorization_id: UUID) -> list[PaymentLabel]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_LABELS, merchant_id, authorization_id))
        return [PaymentLabel(**(dict(row) | {"label": Label(row["label"])})) for row in rows]


def _replay_from(row: asyncpg.Record) -> Replay:
    report = None if row["report"] is None else from_fields(json.loads(row["report"]))
    fields = {"kind": ReleaseKind(row["kind"]), "state": ReplayState(row["state"]), "report": report}
    return Replay(**(dict(row) | fields))
