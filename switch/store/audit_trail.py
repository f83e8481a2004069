"""The audit trail: rows are only ever added, each in the transaction of the change that it tells of."""

import json
import time
from collections.abc import Mapping
from secrets import randbits
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.store.sessions import Connection

_APPEND = """
INSERT INTO audit_trail (merchant_id, id, who, act, subject, before, after, time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

_OF = """
SELECT merchant_id, id, who, act, subject, before, after, time_ms FROM audit_trail
WHERE merchant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""


async def append(connection: Connection, entry: AuditEntry) -> None:
    """Within the caller's transaction."""
    now_ms = time.time_ns() // 1_000_000
    await connection.execute(
        _APPEND, entry.merchant_id, _identity(now_ms), entry.who, entry.act, entry.subject, _json(entry.before),
        _json(entry.after), now_ms,
    )  # fmt: skip


_last: UUID = UUID(int=0)


def _identity(now_ms: int) -> UUID:
    """RFC 9562's version 7; of one millisecond in the order in which this process wrote (its section 6.2, method 2)."""
    global _last
    drawn = UUID(int=now_ms << 80 | 0x7 << 76 | randbits(12) << 64 | 0b10 << 62 | randbits(62))
    if _last.int >> 80 == now_ms:
        drawn = max(drawn, UUID(int=_last.int + 1 + randbits(16)))
    _last = drawn
    return drawn


def _json(fields: Mapping[str, object]) -> str:
    return json.dumps(dict(fields), ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


async def entries_of(
    connection: Connection, merchant_id: str, before: UUID, limit: int
) -> list[tuple[UUID, int, AuditEntry]]:
    """(id, Unix milliseconds, entry), newest first, of those before that id."""
    rows = await connection.fetch(_OF, merchant_id, before, limit)
    return [
        (
            row["id"],
            row["time_ms"],
            AuditEntry(
                row["merchant_id"], row["who"], row["act"], row["subject"], json.loads(row["before"]),
                json.loads(row["after"]),
            ),
        )
        for row in rows
    ]  # fmt: skip
