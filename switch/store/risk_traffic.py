"""Whom payments were of that were let pass: all of them, or pages drawn at random where there are many."""

from typing import Final
from uuid import UUID

from switch.domain.identity import lowest_id_at
from switch.store.sessions import Connection, Pool, Sessions

_WANTED_ROWS: Final = 200_000
# Of a judgement with its facts, about; it decides no more than how large the draw is.
_ROW_BYTES: Final = 500
_AT_ONCE: Final = 1_000

_SIZE = """
SELECT coalesce(sum(pg_relation_size(inhrelid)), 0)::bigint FROM pg_inherits
WHERE inhparent = 'risk_judgements'::regclass
"""
_PASSED = """
SELECT subjects FROM risk_judgements TABLESAMPLE SYSTEM ($1) WHERE id >= $2 AND outcome IN (1, 2) LIMIT $3
"""
_SUBJECTS = "SELECT subjects FROM risk_judgements WHERE merchant_id = $1 AND id = $2"


class PostgresTraffic:
    """Meets `switch.ports.risk_cases.Traffic`."""

    def __init__(self, pool: Pool, wanted_rows: int = _WANTED_ROWS) -> None:
        self._sessions = Sessions(pool)
        self._wanted = wanted_rows

    async def passed(self, since_ms: int) -> list[bytes]:
        async def work(connection: Connection) -> list[bytes]:
            size: int = await connection.fetchval(_SIZE)
            percent = min(100.0, 100.0 * self._wanted * _ROW_BYTES / max(1, size))
            cursor = await connection.cursor(_PASSED, percent, lowest_id_at(since_ms), 2 * self._wanted)
            found: list[bytes] = []
            while rows := await cursor.fetch(_AT_ONCE):
                found += [row["subjects"] for row in rows]
            return found

        return await self._sessions.transaction(work)

    async def subjects(self, merchant_id: str, authorization_id: UUID) -> bytes | None:
        found: bytes | None = await self._sessions.run(
            lambda connection: connection.fetchval(_SUBJECTS, merchant_id, authorization_id)
        )
        return found
