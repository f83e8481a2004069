"""Routing plans and BIN tables in PostgreSQL. Nothing here is on the road."""

import hashlib
from typing import Any, Final

import asyncpg

from switch.domain.routing_plan import PlanChange, PlanState, StoredPlan
from switch.store.sessions import Connection, Pool, Retry, Sessions

# Small enough that writing or reading one delays nobody else on the event loop.
CHUNK_BYTES: Final = 256 * 1024

_LIVE = "SELECT version FROM routing_plans WHERE state = 2"

_FIND = """
SELECT version, name, content, state, created_by, created_time_ms, changed_by, changed_time_ms
FROM routing_plans WHERE version = $1
"""
_ALL = """
SELECT version, name, '' AS content, state, created_by, created_time_ms, changed_by, changed_time_ms
FROM routing_plans ORDER BY version
"""

_ADD = """
INSERT INTO routing_plans (version, name, content, state, created_by, created_time_ms, changed_by, changed_time_ms)
SELECT coalesce(max(version), 0) + 1, $1, $2, 1, $3, $4, $3, $4 FROM routing_plans
RETURNING version
"""

_MOVE = "UPDATE routing_plans SET state = $2, changed_by = $3, changed_time_ms = $4 WHERE version = $1"

_KEEP_CHANGE = """
INSERT INTO routing_changes (number, version, previous, who, time_ms)
SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4 FROM routing_changes
"""

_LAST_CHANGE = "SELECT version, previous, who, time_ms FROM routing_changes ORDER BY number DESC LIMIT 1"

_BIN_TABLE = "SELECT size_bytes, chunks FROM bin_tables WHERE sha256 = $1"
_CHUNK = "SELECT content FROM bin_table_chunks WHERE sha256 = $1 AND number = $2"
_ADD_BIN_TABLE = """
INSERT INTO bin_tables (sha256, size_bytes, chunks, created_by, created_time_ms) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING chunks
"""
_ADD_CHUNK = "INSERT INTO bin_table_chunks (sha256, number, content) VALUES ($1, $2, $3)"


class UnknownPlan(Exception):
    """There is no plan of that version."""


class AnotherWasFaster(Exception):
    """The plan in force is another one by now than the caller thinks: look again."""


class PostgresRoutingPlans:
    """Meets `switch.ports.RoutingPlans`; what else it does is the operator's: add a plan, put one in force."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    # --- reading ------------------------------------------------------------------------------------------------------

    async def live_version(self) -> int:
        rows = await self._fetch(_LIVE)
        return rows[0]["version"] if rows else 0

    async def find(self, version: int) -> StoredPlan | None:
        rows = await self._fetch(_FIND, version)
        return _plan_from(rows[0]) if rows else None

    async def all(self) -> list[StoredPlan]:
        """In order of their versions, their contents left out."""
        return [_plan_from(row) for row in await self._fetch(_ALL)]

    async def last_change(self) -> PlanChange | None:
        rows = await self._fetch(_LAST_CHANGE)
        return PlanChange(**dict(rows[0])) if rows else None

    async def bin_table_chunks(self, sha256: str) -> tuple[int, int] | None:
        rows = await self._fetch(_BIN_TABLE, bytes.fromhex(sha256))
        return (rows[0]["size_bytes"], rows[0]["chunks"]) if rows else None

    async def bin_table_chunk(self, sha256: str, number: int) -> bytes:
        rows = await self._fetch(_CHUNK, bytes.fromhex(sha256), number)
        return rows[0]["content"] if rows else b""

    # --- writing ------------------------------------------------------------------------------------------------------

    async def add_bin_table(self, data: bytes, who: str, now_ms: int) -> str:
        """Keep a file; returns its SHA-256. All of it or nothing; does nothing if it is there."""
        digest = hashlib.sha256(data).digest()
        begins = range(0, len(data), CHUNK_BYTES)

        async def work(connection: Connection) -> None:
            if await connection.fetch(_ADD_BIN_TABLE, digest, len(data), len(begins), who, now_ms):
                for number, begin in enumerate(begins):
                    await connection.execute(_ADD_CHUNK, digest, number, data[begin : begin + CHUNK_BYTES])

        await self._sessions.transaction(work)
        return digest.hex()

    async def add(self, name: str, content: str, who: str, now_ms: int) -> int:
        """A new draft; returns its version."""

        async def work(connection: Connection) -> int:
            try:
                version: int = await connection.fetchval(_ADD, name, content, who, now_ms)
            except asyncpg.UniqueViolationError:
                raise Retry("another plan took this version") from None
            return version

        return await self._sessions.run(work)

    async def put_in_force(self, version: int, instead_of: int, who: str, now_ms: int) -> None:
        """Make `version` live and retire `instead_of`; 0 for either: the settings' routes.

        Raises UnknownPlan, and AnotherWasFaster if `instead_of` is not what is live now; then nothing was changed.
        """

        async def work(connection: Connection) -> None:
            live = await connection.fetchval(_LIVE + " FOR UPDATE")
            if (live or 0) != instead_of:
                raise AnotherWasFaster(f"version {live or 0} is in force now, not {instead_of}")
            if version and await connection.fetchval(_FIND, version) is None:
                raise UnknownPlan(f"there is no plan of version {version}")
            try:
                if instead_of:
                    await connection.execute(_MOVE, instead_of, PlanState.RETIRED, who, now_ms)
                if version:
                    await connection.execute(_MOVE, version, PlanState.LIVE, who, now_ms)
                await connection.execute(_KEEP_CHANGE, version, instead_of, who, now_ms)
            except asyncpg.UniqueViolationError:
                raise Retry("another plan was put in force at the same time") from None

        await self._sessions.transaction(work)


def _plan_from(row: asyncpg.Record) -> StoredPlan:
    return StoredPlan(**(dict(row) | {"state": PlanState(row["state"])}))
