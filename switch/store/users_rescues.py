"""Rescues of users who have lost every factor, in PostgreSQL."""

from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.account import Rescue, RescueState
from switch.domain.audit import AuditEntry
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.users import lock_open
from switch.store.users_sessions import revoke_others

_COLUMNS = (
    "rescue_id, user_id, state, reason, requested_by, requested_time_ms, approved_by, from_time_ms, expires_time_ms"
)
_GET = f"SELECT {_COLUMNS} FROM user_rescues WHERE rescue_id = $1"  # noqa: S608
_OPEN_OF = f"""
SELECT {_COLUMNS} FROM user_rescues WHERE user_id = $1 AND state IN (1, 2) AND expires_time_ms > $2
"""  # noqa: S608
_EXPIRE = "UPDATE user_rescues SET state = 5 WHERE user_id = $1 AND state IN (1, 2) AND expires_time_ms <= $2"
_ADD = """
INSERT INTO user_rescues (rescue_id, user_id, state, reason, requested_by, requested_time_ms, expires_time_ms)
VALUES ($1, $2, 1, $3, $4, $5, $6) ON CONFLICT (user_id) WHERE state IN (1, 2) DO NOTHING RETURNING rescue_id
"""
_APPROVE = """
UPDATE user_rescues SET state = 2, approved_by = $2, from_time_ms = $3, expires_time_ms = $4
WHERE rescue_id = $1 AND state = 1 RETURNING rescue_id
"""
_END = """
UPDATE user_rescues SET state = $2, ended_by = $3, ended_time_ms = $4
WHERE rescue_id = $1 AND state = ANY ($5::smallint[]) RETURNING rescue_id
"""
# Of a session that lives or lived: whoever can show a factor has not lost them all.
_SHOWN_SINCE = "SELECT EXISTS (SELECT 1 FROM user_sessions WHERE user_id = $1 AND stepped_up_time_ms > $2)"
_VOID = """
UPDATE users SET password_hash = $2, password_version = password_version + 1, totp_sealed = '', totp_pending = '',
    totp_pending_time_ms = 0
WHERE user_id = $1
"""
_REVOKE_DEVICES = "UPDATE user_devices SET revoked_time_ms = $2 WHERE user_id = $1 AND revoked_time_ms = 0"


class PostgresRescues:
    """Meets `switch.users.store.RescueStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _one(self, statement: str, *arguments: Any) -> Rescue | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(statement, *arguments))
        return None if row is None else _rescue(row)

    async def get(self, rescue_id: UUID) -> Rescue | None:
        return await self._one(_GET, rescue_id)

    async def open_of(self, user_id: UUID, now_ms: int) -> Rescue | None:
        return await self._one(_OPEN_OF, user_id, now_ms)

    async def add(self, rescue: Rescue, entry: AuditEntry) -> bool:
        """False where one is open already, or the account is closed by now."""

        async def work(connection: Connection) -> bool:
            if not await lock_open(connection, rescue.user_id):
                return False
            await connection.execute(_EXPIRE, rescue.user_id, rescue.requested_time_ms)
            values = (rescue.reason, rescue.requested_by, rescue.requested_time_ms, rescue.expires_time_ms)
            if not await connection.fetch(_ADD, rescue.id, rescue.user_id, *values):
                return False
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def approve(self, rescue: Rescue, entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            values = (rescue.approved_by, rescue.from_time_ms, rescue.expires_time_ms)
            if not await connection.fetch(_APPROVE, rescue.id, *values):
                return False
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def stop(self, rescue_id: UUID, by: str, now_ms: int, entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_END, rescue_id, RescueState.STOPPED, by, now_ms, [1, 2]):
                return False
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def complete(self, rescue: Rescue, by: str, password_hash: str, now_ms: int, entry: AuditEntry) -> bool:
        """password_hash: of a password that nobody knows. False where it is not open, or a factor was shown since."""

        async def work(connection: Connection) -> bool:
            # The account first: whoever logs in or changes it meanwhile is before or after all of this.
            if not await lock_open(connection, rescue.user_id):
                return False
            if await connection.fetchval(_SHOWN_SINCE, rescue.user_id, rescue.requested_time_ms):
                return False
            if not await connection.fetch(_END, rescue.id, RescueState.COMPLETED, by, now_ms, [2]):
                return False
            await connection.execute(_VOID, rescue.user_id, password_hash)
            for table in ("user_passkeys", "user_recovery_codes"):
                await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", rescue.user_id)  # noqa: S608
            await connection.execute(_REVOKE_DEVICES, rescue.user_id, now_ms)
            await revoke_others(connection, rescue.user_id, None, now_ms)
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)


def _rescue(row: asyncpg.Record) -> Rescue:
    return Rescue(
        UUID(int=row["rescue_id"].int), UUID(int=row["user_id"].int), RescueState(row["state"]), row["reason"],
        row["requested_by"], row["requested_time_ms"], row["approved_by"], row["from_time_ms"],
        row["expires_time_ms"],
    )  # fmt: skip
