"""People's accounts in PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.account import Account
from switch.domain.audit import AuditEntry
from switch.domain.login import LoginKind
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.users_codes import USE_CODE
from switch.store.users_sessions import revoke_others

_ACCOUNT = """
SELECT u.user_id, u.login_hash, u.login_kind, u.login_sealed, u.password_hash, u.password_version, u.created_time_ms,
       u.totp_sealed, u.totp_pending, u.totp_pending_time_ms, u.totp_last_step,
       (SELECT count(*) FROM user_passkeys AS p WHERE p.user_id = u.user_id) AS passkeys
FROM users AS u WHERE u.user_id = $1 AND u.state = 1
"""
_USER_OF = "SELECT user_id FROM user_logins WHERE login_hash = $1"

_CLAIM_LOGIN = "INSERT INTO user_logins (login_hash, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING user_id"
_CREATE = """
INSERT INTO users (user_id, state, login_hash, login_kind, login_sealed, password_hash, created_time_ms)
VALUES ($1, 1, $2, $3, $4, $5, $6)
"""

_NEW_HASH = """
UPDATE users SET password_hash = $2, password_version = password_version + 1
WHERE user_id = $1 AND state = 1 AND password_version = $3 RETURNING user_id
"""
_REHASH = "UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2 AND state = 1"

_PEND_TOTP = "UPDATE users SET totp_pending = $2, totp_pending_time_ms = $3 WHERE user_id = $1 AND state = 1"
_ACTIVATE_TOTP = """
UPDATE users SET totp_sealed = totp_pending, totp_pending = '', totp_pending_time_ms = 0, totp_last_step = $3
WHERE user_id = $1 AND totp_pending = $2 AND totp_pending <> '' AND state = 1 RETURNING user_id
"""
# Whoever comes second with the same step finds it taken: the row is locked until the first has committed.
_ACCEPT_STEP = """
UPDATE users SET totp_last_step = $3
WHERE user_id = $1 AND totp_sealed = $2 AND totp_last_step < $3 AND state = 1 RETURNING user_id
"""
_DISABLE_TOTP = """
UPDATE users SET totp_sealed = '', totp_pending = '', totp_pending_time_ms = 0
WHERE user_id = $1 AND totp_sealed <> '' AND state = 1 RETURNING user_id
"""

_CLOSE = """
UPDATE users SET state = 2, login_hash = '', login_sealed = '', password_hash = '', totp_sealed = '',
    totp_pending = '', closed_time_ms = $2
WHERE user_id = $1 AND state = 1 RETURNING user_id
"""
_PERSONAL = (
    *("user_passkeys", "user_recovery_codes", "user_sessions", "user_devices", "user_networks", "user_alerts"),
)

_COUNT_RECOVERY = "SELECT count(*) FROM user_recovery_codes WHERE user_id = $1"
_ADD_RECOVERY = "INSERT INTO user_recovery_codes (user_id, code_hash) VALUES ($1, $2)"
_CLEAR_RECOVERY = "DELETE FROM user_recovery_codes WHERE user_id = $1"
_CLEAR_USELESS_RECOVERY = """
DELETE FROM user_recovery_codes WHERE user_id = $1
    AND NOT EXISTS (SELECT 1 FROM users WHERE user_id = $1 AND totp_sealed <> '')
    AND NOT EXISTS (SELECT 1 FROM user_passkeys WHERE user_id = $1)
"""
_LOCK_OPEN = "SELECT user_id FROM users WHERE user_id = $1 AND state = 1 FOR UPDATE"


class PostgresAccounts:
    """Meets `switch.users.store.AccountStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def by_login(self, login_hash: bytes) -> Account | None:
        async def work(connection: Connection) -> Account | None:
            # A login without an account costs the same two look-ups: of nobody, the second time.
            user_id = await connection.fetchval(_USER_OF, login_hash) or UUID(int=0)
            return _account(await connection.fetchrow(_ACCOUNT, user_id))

        return await self._sessions.run(work)

    async def get(self, user_id: UUID) -> Account | None:
        rows = await self._fetch(_ACCOUNT, user_id)
        return _account(rows[0]) if rows else None

    async def create(self, account: Account, code_id: UUID, entry: AuditEntry) -> bool:
        """False where the code is used up or the login has an account by now."""

        async def work(connection: Connection) -> bool:
            if not await connection.fetch(USE_CODE, code_id):
                return False
            if not await connection.fetch(_CLAIM_LOGIN, account.login_hash, account.id):
                return False
            await connection.execute(
                _CREATE, account.id, account.login_hash, account.login_kind, account.login_sealed,
                account.password_hash, account.created_time_ms,
            )  # fmt: skip
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def set_password(
        self, account: Account, password_hash: str, keep: UUID | None, now_ms: int, entry: AuditEntry
    ) -> bool:
        """Ends every session but `keep`. False where the password was changed since `account` was read."""

        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_NEW_HASH, account.id, password_hash, account.password_version):
                return False
            await revoke_others(connection, account.id, keep, now_ms)
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    async def rehash(self, user_id: UUID, old: str, new: str) -> None:
        """The same password under other parameters; nothing where it was changed meanwhile."""
        await self._fetch(_REHASH, user_id, old, new)

    async def close(self, account: Account, now_ms: int, entry: AuditEntry) -> bool:
        """Erase what is personal."""

        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_CLOSE, account.id, now_ms):
                return False
            await connection.execute("DELETE FROM user_logins WHERE login_hash = $1", account.login_hash)
            for table in _PERSONAL:
                await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", account.id)  # noqa: S608
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)

    # --- TOTP ---------------------------------------------------------------------------------------------------------

    async def pend_totp(self, user_id: UUID, sealed: bytes, now_ms: int) -> None:
        await self._fetch(_PEND_TOTP, user_id, sealed, now_ms)

    async def activate_totp(
        self, account: Account, step: int, recovery: Sequence[bytes], entry: AuditEntry
    ) -> bool | None:
        """Whether the recovery codes are the user's now: he had none. None: another secret is pending by now."""

        async def work(connection: Connection) -> bool | None:
            if not await connection.fetch(_ACTIVATE_TOTP, account.id, account.totp_pending, step):
                return None
            await append(connection, entry)
            return await add_first_recovery(connection, account.id, recovery)

        return await self._sessions.transaction(work)

    async def accept_step(self, account: Account, step: int) -> bool:
        """False where a code of that time step, or of a later one, was accepted before."""
        return bool(await self._fetch(_ACCEPT_STEP, account.id, account.totp_sealed, step))

    async def disable_totp(self, user_id: UUID, entry: AuditEntry) -> bool:
        async def work(connection: Connection) -> bool:
            if not await connection.fetch(_DISABLE_TOTP, user_id):
                return False
            await clear_useless_recovery(connection, user_id)
            await append(connection, entry)
            return True

        return await self._sessions.transaction(work)


async def lock_open(connection: Connection, user_id: UUID) -> bool:
    """Whether there is such an account; nothing else changes it until the transaction ends."""
    return bool(await connection.fetch(_LOCK_OPEN, user_id))


async def add_first_recovery(connection: Connection, user_id: UUID, hashes: Sequence[bytes]) -> bool:
    """Where the user has none."""
    if await connection.fetchval(_COUNT_RECOVERY, user_id):
        return False
    await connection.executemany(_ADD_RECOVERY, [(user_id, each) for each in hashes])
    return True


async def replace_recovery(connection: Connection, user_id: UUID, hashes: Sequence[bytes]) -> None:
    await connection.execute(_CLEAR_RECOVERY, user_id)
    await connection.executemany(_ADD_RECOVERY, [(user_id, each) for each in hashes])


async def clear_useless_recovery(connection: Connection, user_id: UUID) -> None:
    """Without a second factor there is nothing to recover."""
    await connection.execute(_CLEAR_USELESS_RECOVERY, user_id)


def _account(row: asyncpg.Record | None) -> Account | None:
    if row is None:
        return None
    return Account(
        id=UUID(int=row["user_id"].int),
        login_hash=row["login_hash"],
        login_kind=LoginKind(row["login_kind"]),
        login_sealed=row["login_sealed"],
        password_hash=row["password_hash"],
        created_time_ms=row["created_time_ms"],
        password_version=row["password_version"],
        totp_sealed=row["totp_sealed"],
        totp_pending=row["totp_pending"],
        totp_pending_time_ms=row["totp_pending_time_ms"],
        totp_last_step=row["totp_last_step"],
        passkeys=row["passkeys"],
    )
