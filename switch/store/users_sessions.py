"""People's sessions in PostgreSQL. Every statement names its user."""

from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.access import Session
from switch.domain.account import STEP_UP_MS, UserSession
from switch.domain.audit import AuditEntry
from switch.domain.user_token import is_secret_of, parse_access
from switch.ports import Clock
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions

_ACCESS = """
SELECT access_hash, access_expires_time_ms, previous_access_hash, previous_access_expires_time_ms, stepped_up_time_ms
FROM user_sessions WHERE user_id = $1 AND session_id = $2 AND revoked_time_ms = 0
"""
_GET = "SELECT * FROM user_sessions WHERE user_id = $1 AND session_id = $2"
# A change of the password waits for this, or is waited for: no session of the old one outlives it.
_STANDS = "SELECT user_id FROM users WHERE user_id = $1 AND state = 1 AND password_version = $2 FOR SHARE"
_DEVICE_STANDS = """
SELECT device_id FROM user_devices WHERE user_id = $1 AND device_id = $2 AND revoked_time_ms = 0 FOR SHARE
"""
_ADD = """
INSERT INTO user_sessions (user_id, session_id, salt, generation, access_hash, access_expires_time_ms,
    previous_access_hash, previous_access_expires_time_ms, refresh_expires_time_ms, ends_time_ms, created_time_ms,
    refreshed_time_ms, stepped_up_time_ms, confirmed_time_ms, address, client_name, device_id, revoked_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, '', 0, $7, $8, $9, $9, $10, $11, $12, $13, $14, 0)
"""
_ROTATE = """
UPDATE user_sessions SET generation = $4, access_hash = $5, access_expires_time_ms = $6, previous_access_hash = $7,
    previous_access_expires_time_ms = $8, refresh_expires_time_ms = $9, refreshed_time_ms = $10, address = $11
WHERE user_id = $1 AND session_id = $2 AND generation = $3 AND revoked_time_ms = 0 RETURNING session_id
"""
_MARK = """
UPDATE user_sessions SET stepped_up_time_ms = GREATEST(stepped_up_time_ms, $3),
    confirmed_time_ms = GREATEST(confirmed_time_ms, $4)
WHERE user_id = $1 AND session_id = $2 AND revoked_time_ms = 0
"""
_LIST = """
SELECT * FROM user_sessions WHERE user_id = $1 AND revoked_time_ms = 0 AND refresh_expires_time_ms > $2
ORDER BY created_time_ms DESC LIMIT 100
"""
_REVOKE = """
UPDATE user_sessions SET revoked_time_ms = $3
WHERE user_id = $1 AND session_id = $2 AND revoked_time_ms = 0 RETURNING session_id
"""
_REVOKE_OTHERS = """
UPDATE user_sessions SET revoked_time_ms = $3
WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 AND revoked_time_ms = 0
"""


async def revoke_others(connection: Connection, user_id: UUID, keep: UUID | None, now_ms: int) -> None:
    await connection.execute(_REVOKE_OTHERS, user_id, keep, now_ms)


class PostgresUserSessions:
    """Meets `switch.users.store.SessionStore` and `switch.ports.platform.Sessions`."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._sessions = Sessions(pool)
        self._clock = clock

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def session(self, token: str) -> Session | None:
        """None for a token that is none, expired or revoked: which of them is not told."""
        access = parse_access(token)
        if access is None:
            return None
        rows = await self._fetch(_ACCESS, access.user_id, access.session_id)
        if not rows:
            return None
        row, now_ms = rows[0], self._clock.time_ms()
        current = is_secret_of(access.secret, row["access_hash"]) and now_ms < row["access_expires_time_ms"]
        previous = (
            is_secret_of(access.secret, row["previous_access_hash"]) and now_ms < row["previous_access_expires_time_ms"]
        )
        if not current and not previous:
            return None
        stepped_up = now_ms < row["stepped_up_time_ms"] + STEP_UP_MS
        return Session(access.session_id, access.user_id, stepped_up)

    async def get(self, user_id: UUID, session_id: UUID) -> UserSession | None:
        rows = await self._fetch(_GET, user_id, session_id)
        return _session(rows[0]) if rows else None

    async def add(self, session: UserSession, password_version: int) -> bool:
        """False where the account is gone, its password is another by now, or the session's device is revoked."""

        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_STANDS, session.user_id, password_version):
                return False
            if session.device_id is not None and not await connection.fetch(
                _DEVICE_STANDS, session.user_id, session.device_id
            ):
                return False
            await connection.execute(
                _ADD, session.user_id, session.id, session.salt, session.generation, session.access_hash,
                session.access_expires_time_ms, session.refresh_expires_time_ms, session.ends_time_ms,
                session.created_time_ms, session.stepped_up_time_ms, session.confirmed_time_ms, session.address,
                session.client_name, session.device_id,
            )  # fmt: skip
            return True

        return await self._sessions.transaction(work)

    async def rotate(self, before: UserSession, after: UserSession) -> bool:
        """False where it is of another generation by now, or revoked."""
        return bool(
            await self._fetch(
                _ROTATE, before.user_id, before.id, before.generation, after.generation, after.access_hash,
                after.access_expires_time_ms, after.previous_access_hash, after.previous_access_expires_time_ms,
                after.refresh_expires_time_ms, after.refreshed_time_ms, after.address,
            )
        )  # fmt: skip

    async def mark(self, user_id: UUID, session_id: UUID, stepped_up_time_ms: int, confirmed_time_ms: int) -> None:
        """Later than it was marked, or as it was."""
        await self._fetch(_MARK, user_id, session_id, stepped_up_time_ms, confirmed_time_ms)

    async def live(self, user_id: UUID, now_ms: int) -> list[UserSession]:
        """Newest first, at most 100."""
        return [_session(row) for row in await self._fetch(_LIST, user_id, now_ms)]

    async def revoke(self, user_id: UUID, session_id: UUID, now_ms: int, entry: AuditEntry) -> bool:
        """False where there is none, or it is revoked."""

        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_REVOKE, user_id, session_id, now_ms):
                return False
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def revoke_all(self, user_id: UUID, now_ms: int, entry: AuditEntry) -> None:
        async def work(connection: Connection) -> None:
            await revoke_others(connection, user_id, None, now_ms)
            await append(connection, entry)

        await self._sessions.transaction(work)


def _session(row: asyncpg.Record) -> UserSession:
    return UserSession(
        id=row["session_id"],
        user_id=row["user_id"],
        salt=row["salt"],
        generation=row["generation"],
        access_hash=row["access_hash"],
        access_expires_time_ms=row["access_expires_time_ms"],
        previous_access_hash=row["previous_access_hash"],
        previous_access_expires_time_ms=row["previous_access_expires_time_ms"],
        refresh_expires_time_ms=row["refresh_expires_time_ms"],
        ends_time_ms=row["ends_time_ms"],
        created_time_ms=row["created_time_ms"],
        refreshed_time_ms=row["refreshed_time_ms"],
        stepped_up_time_ms=row["stepped_up_time_ms"],
        confirmed_time_ms=row["confirmed_time_ms"],
        address=row["address"],
        client_name=row["client_name"],
        device_id=row["device_id"],
        revoked_time_ms=row["revoked_time_ms"],
    )
