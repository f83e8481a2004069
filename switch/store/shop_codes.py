"""Printed codes of shops, in PostgreSQL."""

from dataclasses import replace
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.order import ShopCode
from switch.domain.refusals import Missing
from switch.store import audit_trail
from switch.store.order_rows import shop_code_from
from switch.store.sessions import Connection, Pool, Retry, Sessions

_NEXT = """
SELECT coalesce(max(version), 0) + 1 FROM shop_codes WHERE merchant_id = $1 AND store_id = $2 AND terminal_id = $3
"""

_ADD = """
INSERT INTO shop_codes (
    merchant_id, id, store_id, terminal_id, label, currency, version, created_by, created_time_ms, revoked_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)
ON CONFLICT DO NOTHING RETURNING version
"""

_FIND = "SELECT * FROM shop_codes WHERE merchant_id = $1 AND id = $2"

_LIST = "SELECT * FROM shop_codes WHERE merchant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"

_REVOKE = """
UPDATE shop_codes SET revoked_time_ms = $3 WHERE merchant_id = $1 AND id = $2 AND revoked_time_ms = 0 RETURNING *
"""


class PostgresShopCodes:
    """Meets `switch.orders.store.ShopCodeStore`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def add(self, code: ShopCode) -> ShopCode:
        """With the next version of its store and terminal."""

        async def work(connection: Connection) -> ShopCode:
            version = await connection.fetchval(_NEXT, code.merchant_id, code.store_id, code.terminal_id)
            added = await connection.fetchval(
                _ADD, code.merchant_id, code.id, code.store_id, code.terminal_id, code.label, code.currency, version,
                code.created_by, code.created_time_ms,
            )  # fmt: skip
            if added is None:
                raise Retry("two codes of one place at once")
            after = {"store_id": code.store_id, "terminal_id": code.terminal_id, "version": version}
            entry = AuditEntry(
                code.merchant_id, code.created_by, "OrderService.CreateShopCode", f"shop_code/{code.id}", after=after
            )
            await audit_trail.append(connection, entry)
            return replace(code, version=version)

        return await self._sessions.transaction(work)

    async def find(self, merchant_id: str, code_id: UUID) -> ShopCode | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, merchant_id, code_id))
        return None if row is None else shop_code_from(row)

    async def list(self, merchant_id: str, before: UUID, limit: int) -> list[ShopCode]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_LIST, merchant_id, before, limit))
        return [shop_code_from(row) for row in rows]

    async def revoke(self, merchant_id: str, code_id: UUID, who: str, now_ms: int) -> ShopCode:
        """Revoked before, it stays as it was. Raises Missing."""

        async def work(connection: Connection) -> ShopCode:
            row = await connection.fetchrow(_REVOKE, merchant_id, code_id, now_ms)
            if row is not None:
                entry = AuditEntry(
                    merchant_id, who, "OrderService.RevokeShopCode", f"shop_code/{code_id}", {"revoked": False},
                    {"revoked": True},
                )  # fmt: skip
                await audit_trail.append(connection, entry)
                return shop_code_from(row)
            row = await connection.fetchrow(_FIND, merchant_id, code_id)
            if row is None:
                raise Missing("there is no such shop code")
            return shop_code_from(row)

        return await self._sessions.transaction(work)
