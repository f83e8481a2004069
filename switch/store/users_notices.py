"""Alerts, known networks and the outbox of messages to people, in PostgreSQL; and what of a person's rows is old."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from switch.domain.account import Alert, AlertKind, OutgoingMessage
from switch.store.sessions import Pool, Sessions

_DAY_MS: Final = 86_400_000

_ADD_ALERT = """
INSERT INTO user_alerts (user_id, alert_id, kind, address, time_ms)
SELECT $1, $2, $3, $4, $5 WHERE EXISTS (SELECT 1 FROM users WHERE user_id = $1 AND state = 1)
"""
_ALERTS = """
SELECT user_id, alert_id, kind, address, time_ms FROM user_alerts WHERE user_id = $1 AND time_ms > $2
ORDER BY alert_id DESC LIMIT 100
"""
# New to an account that knows others. `xmax = 0`: this statement inserted the row.
_SEEN = """
INSERT INTO user_networks AS n (user_id, network_hash, last_time_ms) VALUES ($1, $2, $3)
ON CONFLICT (user_id, network_hash) DO UPDATE SET last_time_ms = GREATEST(n.last_time_ms, excluded.last_time_ms)
RETURNING xmax = 0 AND EXISTS (SELECT 1 FROM user_networks WHERE user_id = $1 AND network_hash <> $2) AS new
"""

_ADD_MESSAGE = """
INSERT INTO user_messages (id, sealed, created_time_ms, expires_time_ms, leased_time_ms) VALUES ($1, $2, $3, $4, 0)
"""
_TAKE = """
UPDATE user_messages SET leased_time_ms = $2 WHERE id = ANY (ARRAY(
    SELECT id FROM user_messages WHERE leased_time_ms <= $1 AND expires_time_ms > $1
    ORDER BY leased_time_ms LIMIT $3 FOR UPDATE SKIP LOCKED))
RETURNING id, sealed, created_time_ms, expires_time_ms
"""
_CONFIRM = "DELETE FROM user_messages WHERE id = ANY ($1::uuid[])"

# Table, the time by which it ages, and for how long it is kept after that.
_OLD: Final = (
    ("user_attempts", "last_time_ms", _DAY_MS),
    ("user_codes", "expires_time_ms", 0),
    ("user_ceremonies", "expires_time_ms", 0),
    ("user_sessions", "refresh_expires_time_ms", _DAY_MS),
    ("user_networks", "last_time_ms", 90 * _DAY_MS),
    ("user_alerts", "time_ms", 90 * _DAY_MS),
    ("user_messages", "expires_time_ms", 0),
)


# A rescue asks of all sessions since it was begun, those that ended too, whether a second factor was shown. A scalar
# subquery: a look-up for each.
_UNLESS: Final = {
    "user_sessions": " AND COALESCE((SELECT r.expires_time_ms FROM user_rescues AS r"
    " WHERE r.user_id = user_sessions.user_id AND r.state IN (1, 2)), 0) <= $1"
}


def _sweeping(table: str, time: str) -> str:
    """By where the rows lie: joined by their key, the whole table may be read for them, as its statistics stand. One
    that was renewed meanwhile stays."""
    old = f"{time} < $1{_UNLESS.get(table, '')}"
    found = f"SELECT ctid FROM {table} WHERE {old} LIMIT $2"  # noqa: S608 - of the constants above
    return f"DELETE FROM {table} WHERE ctid = ANY (ARRAY({found})) AND {old} RETURNING 1"  # noqa: S608


class PostgresNotices:
    """Meets `switch.users.store.NoticeStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def add_alert(self, alert: Alert) -> None:
        await self._fetch(_ADD_ALERT, alert.user_id, alert.id, alert.kind, alert.address, alert.time_ms)

    async def alerts(self, user_id: UUID, now_ms: int) -> list[Alert]:
        """Newest first, at most 100."""
        return [
            Alert(row["alert_id"], row["user_id"], AlertKind(row["kind"]), row["time_ms"], row["address"])
            for row in await self._fetch(_ALERTS, user_id, now_ms - 90 * _DAY_MS)
        ]

    async def seen(self, user_id: UUID, network_hash: bytes, now_ms: int) -> bool:
        """Keep that the account was used from there. Whether that is new, and others are known."""
        [row] = await self._fetch(_SEEN, user_id, network_hash, now_ms)
        return bool(row["new"])

    async def add_message(self, message: OutgoingMessage) -> None:
        await self._fetch(
            _ADD_MESSAGE, message.id, message.sealed, message.created_time_ms, message.expires_time_ms
        )  # fmt: skip

    async def take_messages(self, limit: int, now_ms: int, lease_ms: int) -> list[OutgoingMessage]:
        """Each is nobody else's until its lease has passed."""
        rows = await self._fetch(_TAKE, now_ms, now_ms + lease_ms, limit)
        return [OutgoingMessage(*row.values()) for row in rows]

    async def confirm_messages(self, ids: Sequence[UUID]) -> None:
        await self._fetch(_CONFIRM, list(ids))

    async def sweep(self, now_ms: int, limit: int = 1000) -> int:
        """Delete up to `limit` old rows of each table; returns how many."""
        removed = 0
        for table, time, kept_ms in _OLD:
            removed += len(await self._fetch(_sweeping(table, time), now_ms - kept_ms, limit))
        return removed
