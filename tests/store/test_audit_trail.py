"""The audit trail is read in the order in which a process wrote it."""

from types import SimpleNamespace

import asyncpg
import pytest

from switch.domain.audit import AuditEntry
from switch.store import audit_trail


async def test_what_is_written_within_a_millisecond_has_an_order(
    database: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "time", SimpleNamespace(time_ns=lambda: 1_764_216_000_000_999_999))
    acts = [f"act {number}" for number in range(50)]
    async with database.acquire() as connection, connection.transaction():
        for act in acts:
            await audit_trail.append(connection, AuditEntry("audited", "operator/ann", act, "it", {}, {}))
    rows = await database.fetch("SELECT act FROM audit_trail WHERE merchant_id = 'audited' ORDER BY id")
    await database.execute("DELETE FROM audit_trail WHERE merchant_id = 'audited'")
    assert [row["act"] for row in rows] == acts
