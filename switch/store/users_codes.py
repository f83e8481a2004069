"""Codes sent to people, and the tries to prove who they are, in PostgreSQL."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.account import Code, Purpose
from switch.domain.login import LoginKind
from switch.domain.tally import Tally
from switch.store.sessions import Connection, Pool, Retry, Sessions

_ADD_CODE = """
INSERT INTO user_codes (id, purpose, login_hash, login_kind, code_hash, expires_time_ms, user_id, login_sealed,
    password_hash, tries)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)
"""
_TRY_CODE = """
UPDATE user_codes SET tries = tries + 1
WHERE id = $1 AND purpose = $2 AND expires_time_ms > $3 AND tries < $4 RETURNING *
"""
USE_CODE = "DELETE FROM user_codes WHERE id = $1 RETURNING id"


class PostgresCodes:
    """Meets `switch.users.store.CodeStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def add(self, code: Code) -> None:
        await self._fetch(
            _ADD_CODE, code.id, code.purpose, code.login_hash, code.login_kind, code.code_hash, code.expires_time_ms,
            code.user_id, code.login_sealed, code.password_hash,
        )  # fmt: skip

    async def attempt(self, code_id: UUID, purpose: Purpose, now_ms: int, tries: int) -> Code | None:
        """Count a try, whatever comes of it. None where there is none, expired or tried too often."""
        rows = await self._fetch(_TRY_CODE, code_id, purpose, now_ms, tries)
        return _code(rows[0]) if rows else None

    async def use(self, code_id: UUID) -> bool:
        """Once."""
        return bool(await self._fetch(USE_CODE, code_id))


def _code(row: asyncpg.Record) -> Code:
    return Code(
        row["id"], Purpose(row["purpose"]), row["login_hash"], LoginKind(row["login_kind"]), row["code_hash"],
        row["expires_time_ms"], row["user_id"], row["login_sealed"], row["password_hash"], row["tries"],
    )  # fmt: skip


# --- tries ------------------------------------------------------------------------------------------------------------

_BEGIN = """
INSERT INTO user_attempts (subject, kind, count, since_time_ms, last_time_ms) VALUES ($1, $2, 0, $3, 0)
ON CONFLICT DO NOTHING
"""
_TALLY = "SELECT count, since_time_ms, last_time_ms FROM user_attempts WHERE subject = $1 AND kind = $2 FOR UPDATE"
_COUNT = "UPDATE user_attempts SET count = $3, since_time_ms = $4, last_time_ms = $5 WHERE subject = $1 AND kind = $2"
_TAKE_BACK = "UPDATE user_attempts SET count = count - 1 WHERE subject = $1 AND kind = $2 AND count > 0"
_CLEAR = "DELETE FROM user_attempts WHERE subject = $1 AND kind = $2"

# What the tally becomes, None: not now. Pure: it may be asked again after a rollback.
Rule = Callable[[Tally, int], Tally | None]


class PostgresAttempts:
    """Meets `switch.users.store.AttemptStore`. A try is counted before it is made, so that none is free by haste."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def begin(self, subject: bytes, kind: int, now_ms: int, rule: Rule) -> Tally | None:
        async def work(connection: Connection) -> Tally | None:
            await connection.execute(_BEGIN, subject, kind, now_ms)
            row = await connection.fetchrow(_TALLY, subject, kind)
            if row is None:
                raise Retry("cleared between the two")
            tally = rule(Tally(row["count"], row["since_time_ms"], row["last_time_ms"]), now_ms)
            if tally is not None:
                await connection.execute(_COUNT, subject, kind, tally.count, tally.since_time_ms, tally.last_time_ms)
            return tally

        return await self._sessions.transaction(work)

    async def take_back(self, subject: bytes, kind: int) -> None:
        """The try was none, or was right as far as it went."""
        await self._sessions.run(lambda connection: connection.execute(_TAKE_BACK, subject, kind))

    async def clear(self, subject: bytes, kind: int) -> None:
        await self._sessions.run(lambda connection: connection.execute(_CLEAR, subject, kind))
