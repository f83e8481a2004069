"""Changing and reading merchants: one transaction each, with the merchant's row locked where something changes."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg

from switch.domain.audit import AuditEntry
from switch.domain.merchant import MerchantState
from switch.domain.merchant_people import Member, StoreTerminal, is_merchant_id
from switch.domain.merchant_record import Document, MerchantRecord
from switch.domain.refusals import Missing
from switch.store import audit_trail
from switch.store import merchant_rows as rows
from switch.store.merchant_books import TERMINALS, PostgresBooks
from switch.store.sessions import Connection, Pool, Sessions

T = TypeVar("T")
Work = Callable[[PostgresBooks], Any]

_MERCHANT = rows.MERCHANTS + "WHERE merchant_id = $1"
_MERCHANT_LOCKED = _MERCHANT + " FOR UPDATE"

_LOCK_APPLICANT = """
INSERT INTO merchant_applicants (applicant, time_ms) VALUES ($1, now_ms())
ON CONFLICT (applicant) DO UPDATE SET time_ms = now_ms()
"""

# Newest first, before ($1, $2). An index for each of the ways in which it is asked.
_APPLICATIONS = rows.MERCHANTS + "WHERE (applied_time_ms, merchant_id) < ($1, $2) "
_NEWEST: Final = " ORDER BY applied_time_ms DESC, merchant_id DESC LIMIT $3"
_OF_ALL = _APPLICATIONS + _NEWEST
_OF_STATE = _APPLICATIONS + "AND state = $4" + _NEWEST
_OF_APPLICANT = _APPLICATIONS + "AND applicant = $4" + _NEWEST
_OF_APPLICANT_IN_STATE = _APPLICATIONS + "AND applicant = $4 AND state = $5" + _NEWEST
_LATEST: Final = (1 << 62, "")

_TERMINALS = TERMINALS + "WHERE m.merchant_id = $1 AND m.terminal_id > $2 ORDER BY m.terminal_id LIMIT $3"

_DOCUMENT = """
SELECT id, kind, media_type, size_bytes, sha256, added_by, added_time_ms, content FROM merchant_documents
WHERE merchant_id = $1 AND id = $2
"""

_MEMBERSHIPS = """
SELECT m.*, p.user_id, p.role, p.added_by, p.added_time_ms
FROM merchant_members AS p JOIN merchants AS m ON m.merchant_id = p.merchant_id
WHERE p.user_id = $1 ORDER BY m.merchant_id LIMIT 500
"""


class PostgresMerchantAdministration:
    """Meets `switch.merchants.store.MerchantStore`."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    async def change(self, merchant_id: str, work: Callable[[Any], Any]) -> Any:
        return await self._within(_MERCHANT_LOCKED, merchant_id, work)

    async def read(self, merchant_id: str, work: Callable[[Any], Any]) -> Any:
        return await self._within(_MERCHANT, merchant_id, work)

    async def _within(self, statement: str, merchant_id: str, work: Callable[[Any], Any]) -> Any:
        async def within(connection: Connection) -> Any:
            row = await connection.fetchrow(statement, merchant_id) if is_merchant_id(merchant_id) else None
            if row is None:
                raise Missing("merchant_id: there is no such merchant")
            return await work(PostgresBooks(connection, rows.merchant_from(row)))

        return await self._sessions.transaction(within)

    async def create(
        self, applicant: str, decide: Callable[[Sequence[MerchantRecord]], MerchantRecord], then: Callable[[Any], Any]
    ) -> MerchantRecord:
        async def within(connection: Connection) -> MerchantRecord:
            await connection.execute(_LOCK_APPLICANT, applicant)
            found = await connection.fetch(_OF_APPLICANT_IN_STATE, *_LATEST, 100, applicant, MerchantState.APPLIED)
            waiting = [rows.merchant_from(each) for each in found]
            record = decide(waiting)
            if record not in waiting:
                books = PostgresBooks(connection, record)
                await books.keep_record(record)
                await then(books)
            return record

        return await self._sessions.transaction(within)

    async def applications(
        self, applicant: str, state: int, before: tuple[int, str], limit: int
    ) -> list[MerchantRecord]:
        if applicant:
            statement = _OF_APPLICANT_IN_STATE if state else _OF_APPLICANT
        else:
            statement = _OF_STATE if state else _OF_ALL
        conditions = [each for each in (applicant, state) if each]
        return [rows.merchant_from(each) for each in await self._fetch(statement, *before, limit, *conditions)]

    async def terminals(self, merchant_id: str, after: str, limit: int) -> list[StoreTerminal]:
        return [rows.terminal_from(each) for each in await self._fetch(_TERMINALS, merchant_id, after, limit)]

    async def document(self, merchant_id: str, document_id: UUID) -> tuple[Document, bytes] | None:
        found = await self._fetch(_DOCUMENT, merchant_id, document_id)
        return (rows.document_from(found[0]), found[0]["content"]) if found else None

    async def memberships(self, user_id: UUID) -> list[tuple[MerchantRecord, Member]]:
        return [(rows.merchant_from(each), rows.member_from(each)) for each in await self._fetch(_MEMBERSHIPS, user_id)]

    async def changes(self, merchant_id: str, before: UUID, limit: int) -> list[tuple[UUID, int, AuditEntry]]:
        return await self._sessions.run(
            lambda connection: audit_trail.entries_of(connection, merchant_id, before, limit)
        )
