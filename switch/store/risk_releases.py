"""Rule sets and models in PostgreSQL, in chunks; what is live changes one at a time. Nothing here is on the road."""

import hashlib
from dataclasses import replace
from typing import Final
from uuid import UUID

import asyncpg

from switch.domain.audit import AuditEntry
from switch.domain.refusals import NotPossible
from switch.domain.risk_release import Release, ReleaseKind, ReleaseState
from switch.ports.risk_desk import InForce
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Retry, Sessions

# Small enough that writing or reading one delays nobody else on the event loop.
CHUNK_BYTES: Final = 256 * 1024

_IN_FORCE = "SELECT kind, version FROM risk_releases WHERE state = 3"
_COLUMNS = (
    "kind, version, name, encode(sha256, 'hex') AS sha256, size_bytes, state, created_by, created_time_ms, approved_by,"
    " approved_time_ms, replay_id, replaces, changed_by, changed_time_ms"
)
_FIND = f"SELECT {_COLUMNS} FROM risk_releases WHERE kind = $1 AND version = $2"  # noqa: S608
_PAGE = f"""
SELECT {_COLUMNS} FROM risk_releases WHERE kind = $1 AND version < $2 ORDER BY version DESC LIMIT $3
"""  # noqa: S608
_CHUNKS = "SELECT chunks FROM risk_releases WHERE kind = $1 AND version = $2"
_CHUNK = "SELECT content FROM risk_release_chunks WHERE kind = $1 AND version = $2 AND number = $3"
_NEXT = "SELECT coalesce(max(version), 0) + 1 FROM risk_releases WHERE kind = $1"
_ADD = """
INSERT INTO risk_releases (
    kind, version, name, sha256, size_bytes, chunks, state, created_by, created_time_ms, approved_by, approved_time_ms,
    replaces, changed_by, changed_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, '', 0, 0, $7, $8)
"""
_ADD_CHUNK = "INSERT INTO risk_release_chunks (kind, version, number, content) VALUES ($1, $2, $3, $4)"
_TURN = "SELECT one FROM risk_desk_turn WHERE one FOR UPDATE"
_MOVE = """
UPDATE risk_releases SET state = $3, changed_by = $4, changed_time_ms = $5 WHERE kind = $1 AND version = $2
"""
_APPROVE = """
UPDATE risk_releases SET state = 3, approved_by = $3, approved_time_ms = $4, replay_id = $5, replaces = $6,
    changed_by = $3, changed_time_ms = $4
WHERE kind = $1 AND version = $2
"""


class PostgresReleases:
    """Meets `switch.ports.risk_desk.ReleaseDesk`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def in_force(self) -> InForce:
        return await self._sessions.run(_in_force)

    async def find(self, kind: ReleaseKind, version: int) -> Release | None:
        return await self._sessions.run(lambda connection: _find(connection, kind, version))

    async def page(self, kind: ReleaseKind, before: int, limit: int) -> list[Release]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_PAGE, kind, before, limit))
        return [_release_from(row) for row in rows]

    async def content(self, kind: ReleaseKind, version: int) -> bytes:
        chunks = await self._sessions.run(lambda connection: connection.fetchval(_CHUNKS, kind, version))
        return b"".join([await self._chunk(kind, version, number) for number in range(chunks or 0)])

    async def _chunk(self, kind: ReleaseKind, version: int, number: int) -> bytes:
        found: bytes = await self._sessions.run(lambda connection: connection.fetchval(_CHUNK, kind, version, number))
        return found

    # --- writing ------------------------------------------------------------------------------------------------------

    async def add(self, kind: ReleaseKind, name: str, content: bytes, entry: AuditEntry, now_ms: int) -> Release:
        digest = hashlib.sha256(content).digest()
        begins = range(0, len(content), CHUNK_BYTES)

        async def work(connection: Connection) -> Release:
            version: int = await connection.fetchval(_NEXT, kind)
            try:
                await connection.execute(
                    _ADD, kind, version, name, digest, len(content), len(begins), entry.who, now_ms
                )
            except asyncpg.UniqueViolationError:
                raise Retry("another took this version") from None
            for number, begin in enumerate(begins):
                await connection.execute(_ADD_CHUNK, kind, version, number, content[begin : begin + CHUNK_BYTES])
            await append(connection, replace(entry, subject=f"{entry.subject}/{version}"))
            return await _found(connection, kind, version)

        return await self._sessions.transaction(work)

    async def put_in_force(
        self, release: Release, instead_of: InForce, replay_id: UUID, entry: AuditEntry, now_ms: int
    ) -> Release:
        kind, version = release.kind, release.version

        async def work(connection: Connection) -> Release:
            await connection.execute(_TURN)
            found = await _in_force(connection)
            if found != instead_of:
                raise NotPossible(
                    f"rule set {found.rules} and model {found.model} are live by now: replay against them first"
                )
            if (await _found(connection, kind, version)).state is not ReleaseState.REPLAYED:
                raise NotPossible("somebody else approved it, or it was never replayed")
            before = instead_of.of(kind)
            if before:
                await connection.execute(_MOVE, kind, before, ReleaseState.RETIRED, entry.who, now_ms)
            await connection.execute(_APPROVE, kind, version, entry.who, now_ms, replay_id, before)
            await append(connection, entry)
            return await _found(connection, kind, version)

        return await self._sessions.transaction(work)

    async def roll_back(self, release: Release, entry: AuditEntry, now_ms: int) -> Release:
        kind, version = release.kind, release.version

        async def work(connection: Connection) -> Release:
            await connection.execute(_TURN)
            now = await _found(connection, kind, version)
            if now.state is not ReleaseState.LIVE:
                raise NotPossible(f"it is {now.state.name}, not live")
            await connection.execute(_MOVE, kind, version, ReleaseState.ROLLED_BACK, entry.who, now_ms)
            if now.replaces:
                await connection.execute(_MOVE, kind, now.replaces, ReleaseState.LIVE, entry.who, now_ms)
            await append(connection, entry)
            return await _found(connection, kind, version)

        return await self._sessions.transaction(work)


async def _in_force(connection: Connection) -> InForce:
    live = {row["kind"]: row["version"] for row in await connection.fetch(_IN_FORCE)}
    return InForce(live.get(ReleaseKind.RULES, 0), live.get(ReleaseKind.MODEL, 0))


async def _find(connection: Connection, kind: ReleaseKind, version: int) -> Release | None:
    row = await connection.fetchrow(_FIND, kind, version)
    return None if row is None else _release_from(row)


async def _found(connection: Connection, kind: ReleaseKind, version: int) -> Release:
    found = await _find(connection, kind, version)
    if found is None:
        raise NotPossible("it is not there any more")
    return found


def _release_from(row: asyncpg.Record) -> Release:
    return Release(**(dict(row) | {"kind": ReleaseKind(row["kind"]), "state": ReleaseState(row["state"])}))
