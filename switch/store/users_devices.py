"""Devices bound to people by their keys, in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.audit import AuditEntry
from switch.domain.user import Device
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.users import lock_open

_COLUMNS = "user_id, device_id, name, public_key, revoked_time_ms, created_time_ms"
_NAMED = """
SELECT d.user_id, d.device_id, d.name, d.public_key, d.revoked_time_ms, d.created_time_ms
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS n (user_id, device_id, place)
LEFT JOIN user_devices AS d ON d.user_id = n.user_id AND d.device_id = n.device_id
ORDER BY n.place
"""
# Active ones first: those that were revoked hide none.
_ALL = f"""
SELECT {_COLUMNS} FROM user_devices WHERE user_id = $1 ORDER BY revoked_time_ms > 0, created_time_ms DESC LIMIT 100
"""  # noqa: S608
_ACTIVE = "SELECT count(*) FROM user_devices WHERE user_id = $1 AND revoked_time_ms = 0"
_ADD = """
INSERT INTO user_devices (user_id, device_id, name, public_key, attestation, created_time_ms, revoked_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, 0)
"""
_BIND = """
UPDATE user_sessions SET device_id = $3
WHERE user_id = $1 AND session_id = $2 AND revoked_time_ms = 0 RETURNING session_id
"""
_RENAME = """
UPDATE user_devices SET name = $3 WHERE user_id = $1 AND device_id = $2 AND revoked_time_ms = 0 RETURNING device_id
"""
_REVOKE = """
UPDATE user_devices SET revoked_time_ms = $3
WHERE user_id = $1 AND device_id = $2 AND revoked_time_ms = 0 RETURNING device_id
"""
_END_SESSIONS = """
UPDATE user_sessions SET revoked_time_ms = $3 WHERE user_id = $1 AND device_id = $2 AND revoked_time_ms = 0
"""


class PostgresDevices:
    """Meets `switch.users.store.DeviceStore` and `switch.ports.platform.Devices`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def devices(self, named: Sequence[tuple[UUID, UUID]]) -> list[Device | None]:
        """Of each (user_id, device_id), in order; one round trip. None: there is none."""
        rows = await self._fetch(_NAMED, [user for user, _ in named], [device for _, device in named])
        return [None if row["device_id"] is None else _device(row) for row in rows]

    async def all(self, user_id: UUID) -> list[Device]:
        """Active ones first, of each newest first; at most 100."""
        return [_device(row) for row in await self._fetch(_ALL, user_id)]

    async def add(
        self, device: Device, attestation: bytes, session_id: UUID, most: int, entry: AuditEntry
    ) -> bool | None:
        """The session is the device's from now on. None: the session has ended. False: one device too many."""

        async def work(connection: Connection) -> bool | None:
            if not await lock_open(connection, device.user_id):
                return None
            if await connection.fetchval(_ACTIVE, device.user_id) >= most:
                return False
            if not await connection.fetch(_BIND, device.user_id, session_id, device.id):
                return None
            await connection.execute(
                _ADD, device.user_id, device.id, device.name, device.public_key, attestation, device.created_time_ms
            )
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def rename(self, user_id: UUID, device_id: UUID, name: str, entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_RENAME, user_id, device_id, name):
                return False
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def revoke(self, user_id: UUID, device_id: UUID, now_ms: int, entry: AuditEntry) -> bool:
        """Its sessions end with it."""

        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_REVOKE, user_id, device_id, now_ms):
                return False
            await connection.execute(_END_SESSIONS, user_id, device_id, now_ms)
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)


def _device(row: asyncpg.Record) -> Device:
    return Device(
        row["device_id"], row["user_id"], row["name"], row["public_key"], row["revoked_time_ms"] == 0,
        row["created_time_ms"],
    )  # fmt: skip
