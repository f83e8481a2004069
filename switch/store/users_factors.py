"""Passkeys, recovery codes, and the challenges and tickets that are out, in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.account import Ceremony, Passkey, Purpose
from switch.domain.audit import AuditEntry
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.users import add_first_recovery, clear_useless_recovery, lock_open, replace_recovery

_ALL = "SELECT * FROM user_passkeys WHERE user_id = $1 ORDER BY created_time_ms, passkey_id"
_BY_CREDENTIAL = "SELECT * FROM user_passkeys WHERE user_id = $1 AND credential_id = $2"
_HOW_MANY = "SELECT count(*) FROM user_passkeys WHERE user_id = $1"
_ADD = """
INSERT INTO user_passkeys (user_id, passkey_id, credential_id, public_key, sign_count, name, created_time_ms,
    used_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT DO NOTHING RETURNING passkey_id
"""
# A counter goes up, or stays at zero where the authenticator counts nothing (WebAuthn 2, 7.2 step 21).
_USED = """
UPDATE user_passkeys SET sign_count = $3, used_time_ms = $4
WHERE user_id = $1 AND passkey_id = $2 AND (sign_count < $3 OR (sign_count = 0 AND $3 = 0)) RETURNING passkey_id
"""
_RENAME = """
UPDATE user_passkeys SET name = $3 WHERE user_id = $1 AND passkey_id = $2 RETURNING passkey_id
"""
_REMOVE = "DELETE FROM user_passkeys WHERE user_id = $1 AND passkey_id = $2 RETURNING name"

_USE_RECOVERY = "DELETE FROM user_recovery_codes WHERE user_id = $1 AND code_hash = $2 RETURNING user_id"
_RECOVERY_LEFT = "SELECT count(*) FROM user_recovery_codes WHERE user_id = $1"

_BEGIN = """
INSERT INTO user_ceremonies (id, purpose, user_id, session_id, challenge, secret_hash, expires_time_ms, client_name,
    device_id, password_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_REPLACED = "DELETE FROM user_ceremonies WHERE session_id = $1 AND purpose = $2"
_TAKE = "DELETE FROM user_ceremonies WHERE id = $1 AND purpose = $2 AND expires_time_ms > $3 RETURNING *"
_TRY = """
UPDATE user_ceremonies SET tries = tries + 1
WHERE id = $1 AND purpose = $2 AND expires_time_ms > $3 AND tries < $4 RETURNING *
"""


class PostgresFactors:
    """Meets `switch.users.store.FactorStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    # --- passkeys -----------------------------------------------------------------------------------------------------

    async def passkeys(self, user_id: UUID) -> list[Passkey]:
        return [_passkey(row) for row in await self._fetch(_ALL, user_id)]

    async def passkey(self, user_id: UUID, credential_id: bytes) -> Passkey | None:
        rows = await self._fetch(_BY_CREDENTIAL, user_id, credential_id)
        return _passkey(rows[0]) if rows else None

    async def add_passkey(
        self, passkey: Passkey, most: int, recovery: Sequence[bytes], entry: AuditEntry
    ) -> bool | None:
        """Whether the recovery codes are the user's now: he had none. None: it is there already, or one too many."""

        async def work(connection: Connection) -> bool | None:
            if not await lock_open(connection, passkey.user_id):
                return None
            if await connection.fetchval(_HOW_MANY, passkey.user_id) >= most:
                return None
            added = await connection.fetch(
                _ADD, passkey.user_id, passkey.id, passkey.credential_id, passkey.public_key, passkey.sign_count,
                passkey.name, passkey.created_time_ms,
            )  # fmt: skip
            if not added:
                return None
            await append(connection, entry)
            return await add_first_recovery(connection, passkey.user_id, recovery)

        return await self._sessions.transaction(work)

    async def used(self, passkey: Passkey, sign_count: int, now_ms: int) -> bool:
        """False where the counter is not beyond the one that is kept, or the passkey is gone."""
        return bool(await self._fetch(_USED, passkey.user_id, passkey.id, sign_count, now_ms))

    async def rename_passkey(self, user_id: UUID, passkey_id: UUID, name: str, entry: AuditEntry) -> bool:
        return await self._change(_RENAME, (user_id, passkey_id, name), entry)

    async def remove_passkey(self, user_id: UUID, passkey_id: UUID, entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_REMOVE, user_id, passkey_id):
                return False
            await clear_useless_recovery(connection, user_id)
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def _change(self, statement: str, arguments: tuple[Any, ...], entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            if not await connection.fetch(statement, *arguments):
                return False
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    # --- recovery codes -----------------------------------------------------------------------------------------------

    async def replace_recovery(self, user_id: UUID, hashes: Sequence[bytes], entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            if not await lock_open(connection, user_id):
                return False
            await replace_recovery(connection, user_id, hashes)
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def use_recovery(self, user_id: UUID, code_hash: bytes, entry: AuditEntry) -> bool:
        """Once."""
        return await self._change(_USE_RECOVERY, (user_id, code_hash), entry)

    async def recovery_left(self, user_id: UUID) -> int:
        [row] = await self._fetch(_RECOVERY_LEFT, user_id)
        return int(row["count"])


class PostgresCeremonies:
    """Meets `switch.users.store.CeremonyStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def add(self, ceremony: Ceremony) -> None:
        """In place of one that the same session has out for the same purpose, so that they are few."""
        if ceremony.session_id is not None:
            await self._fetch(_REPLACED, ceremony.session_id, ceremony.purpose)
        await self._fetch(
            _BEGIN, ceremony.id, ceremony.purpose, ceremony.user_id, ceremony.session_id, ceremony.challenge,
            ceremony.secret_hash, ceremony.expires_time_ms, ceremony.client_name, ceremony.device_id,
            ceremony.password_version,
        )  # fmt: skip

    async def take(self, ceremony_id: UUID, purpose: Purpose, now_ms: int) -> Ceremony | None:
        """Once. None where there is none, of another purpose, or expired."""
        rows = await self._fetch(_TAKE, ceremony_id, purpose, now_ms)
        return _ceremony(rows[0]) if rows else None

    async def attempt(self, ceremony_id: UUID, purpose: Purpose, now_ms: int, tries: int) -> Ceremony | None:
        """Count a try, whatever comes of it, and leave it there. None, also, where it was tried too often."""
        rows = await self._fetch(_TRY, ceremony_id, purpose, now_ms, tries)
        return _ceremony(rows[0]) if rows else None


def _passkey(row: asyncpg.Record) -> Passkey:
    return Passkey(
        row["passkey_id"], row["user_id"], row["credential_id"], row["public_key"], row["sign_count"], row["name"],
        row["created_time_ms"], row["used_time_ms"],
    )  # fmt: skip


def _ceremony(row: asyncpg.Record) -> Ceremony:
    return Ceremony(
        row["id"], Purpose(row["purpose"]), row["user_id"], row["challenge"], row["expires_time_ms"],
        row["session_id"], row["secret_hash"], row["client_name"], row["device_id"], row["password_version"],
    )  # fmt: skip
