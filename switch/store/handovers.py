"""Sealed handovers that were opened: one statement for a batch."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.ports import HandoverClaim
from switch.store import audit_trail
from switch.store.sessions import Pool, Sessions

_CLAIM = """
WITH claimed AS (
    INSERT INTO handover_claims (merchant_id, terminal_id, nonce, time_ms, authorization_id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::uuid[])
    ON CONFLICT DO NOTHING
    RETURNING merchant_id, terminal_id, nonce, time_ms, authorization_id)
SELECT * FROM claimed
"""

_HOLDERS = """
SELECT c.merchant_id, c.terminal_id, c.nonce, c.time_ms, c.authorization_id
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) AS w (merchant_id, terminal_id, nonce, time_ms)
JOIN handover_claims AS c ON c.merchant_id = w.merchant_id AND c.terminal_id = w.terminal_id AND c.nonce = w.nonce
                         AND c.time_ms = w.time_ms
"""

_Key = tuple[str, str, bytes, int]


class PostgresHandovers:
    """Meets `switch.ports.HandoverClaims`."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def claim(self, claims: Sequence[HandoverClaim]) -> list[UUID | None]:
        """Of two fresh claims of one handover in a batch the first is given it."""
        # In one order everywhere: two batches cannot wait for each other in a circle.
        fresh = sorted({_key(each): each.authorization_id for each in reversed(claims) if each.fresh}.items())
        holders: dict[_Key, UUID] = {}
        if fresh:
            holders |= await self._fetch(_CLAIM, [key for key, _ in fresh], [holder for _, holder in fresh])
        missing = sorted({_key(each) for each in claims} - holders.keys())
        if missing:
            holders |= await self._fetch(_HOLDERS, missing)
        return [holders.get(_key(each)) for each in claims]

    async def _fetch(self, statement: str, keys: Sequence[_Key], *more: Any) -> dict[_Key, UUID]:
        columns = [list(each) for each in zip(*keys, strict=True)]
        rows = await self._sessions.run(lambda connection: connection.fetch(statement, *columns, *more))
        return {
            (row["merchant_id"], row["terminal_id"], row["nonce"], row["time_ms"]): row["authorization_id"]
            for row in rows
        }


class PostgresTrail:
    """Meets `switch.payments.terminal_certificates.Trail`: for what changes nothing else in the database."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def keep(self, entry: AuditEntry) -> None:
        await self._sessions.transaction(lambda connection: audit_trail.append(connection, entry))


def _key(claim: HandoverClaim) -> _Key:
    return claim.merchant_id, claim.terminal_id, claim.nonce, claim.time_ms
