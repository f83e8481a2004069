"""Closing days in PostgreSQL: sealed first, so that nobody enters any more, then summed, each step once."""

import hashlib
from datetime import date
from typing import Final

from asyncpg import Record

from switch.domain.books import ClosedDay, DayTotal
from switch.domain.ledger import PostingKind
from switch.domain.pricing import Unpriced
from switch.domain.refusals import Missing, NotPossible
from switch.store.heavy import HeavyConnections
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.unpriced import unpriced_from

_FED = "SELECT max(position) FROM journal_events"
_FOLLOWED = "SELECT position FROM ledger_followed WHERE one"
_BOOKS = "SELECT sealed_through, closed_through FROM ledger_books WHERE one FOR UPDATE"
_CLOSING = """
SELECT day, previous_day, sealed_by, sealed_time_ms, position, closed_time_ms, transactions, entries, digest
FROM ledger_closings WHERE day = $1
"""
_OPEN_BEFORE = "SELECT day FROM ledger_entries WHERE day > $1 AND day < $2 LIMIT 1"
_SEAL = """
INSERT INTO ledger_closings (day, previous_day, sealed_time_ms, sealed_by, position) VALUES ($1, $2, $3, $4, $5)
"""
_SEALED = "UPDATE ledger_books SET sealed_through = $1 WHERE one"
_SUM = """
INSERT INTO ledger_days (merchant_id, day, currency, account, kind, amount_minor, entries)
SELECT merchant_id, day, currency, account, kind, sum(amount_minor), count(*)
FROM ledger_entries WHERE day = $1 GROUP BY merchant_id, day, currency, account, kind
"""
_UNBALANCED = (
    "SELECT currency, sum(amount_minor) FROM ledger_days WHERE day = $1 GROUP BY 1 HAVING sum(amount_minor) <> 0"
)
_BALANCES = """
INSERT INTO ledger_balances (merchant_id, currency, account, balance_minor)
SELECT merchant_id, currency, account, sum(amount_minor) FROM ledger_days WHERE day = $1
GROUP BY merchant_id, currency, account
ON CONFLICT (merchant_id, currency, account)
DO UPDATE SET balance_minor = ledger_balances.balance_minor + excluded.balance_minor
"""
_COUNT = (
    "SELECT count(*) FILTER (WHERE leg = 0) AS transactions, count(*) AS entries FROM ledger_entries WHERE day = $1"
)
_CLOSE = """
UPDATE ledger_closings SET closed_time_ms = $2, transactions = $3, entries = $4, digest = $5 WHERE day = $1
"""
_CLOSED = "UPDATE ledger_books SET closed_through = $1 WHERE one"
_TOTALS = """
SELECT currency, account, kind, sum(amount_minor)::bigint AS amount_minor, sum(entries)::bigint AS entries
FROM ledger_days WHERE day = $1 GROUP BY currency, account, kind ORDER BY currency, account, kind
"""
_UNPRICED = """
SELECT merchant_id, day, currency, payments, amount_minor FROM ledger_unpriced
WHERE day = $1 ORDER BY merchant_id, currency LIMIT $2
"""
_MOST_UNPRICED: Final = 1_000
_ENTRIES = """
SELECT merchant_id, transaction_id, leg, day, kind, account, amount_minor, currency, authorization_id, source, time_ms
FROM ledger_entries WHERE day = $1 ORDER BY merchant_id COLLATE "C", transaction_id, leg
"""


class PostgresDays:
    """Meets `switch.settlement.store.Days`."""

    def __init__(self, pool: Pool, heavy: HeavyConnections) -> None:
        self._sessions = Sessions(pool)
        self._heavy = heavy

    async def fed(self) -> int:
        return int(await self._sessions.run(lambda connection: connection.fetchval(_FED)) or 0)

    async def followed(self) -> int:
        return int(await self._sessions.run(lambda connection: connection.fetchval(_FOLLOWED)))

    async def day(self, day: str) -> ClosedDay | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_CLOSING, date.fromisoformat(day)))
        return _closed_day(row) if row else None

    async def totals(self, day: str) -> tuple[list[DayTotal], list[Unpriced]]:
        async with self._heavy.open() as connection:
            totals = await connection.fetch(_TOTALS, date.fromisoformat(day))
            unpriced = await connection.fetch(_UNPRICED, date.fromisoformat(day), _MOST_UNPRICED)
        return (
            [
                DayTotal(row["currency"], row["account"], PostingKind(row["kind"]), row["amount_minor"], row["entries"])
                for row in totals
            ],
            [unpriced_from(row) for row in unpriced],
        )

    async def seal(self, day: str, by: str, position: int, now_ms: int) -> None:
        """From here on nothing is entered into it. Nothing where it is sealed. Raises NotPossible."""
        await self._heavy.transaction(
            lambda connection: _seal(connection, date.fromisoformat(day), by, position, now_ms)
        )

    async def sum_up(self, day: str, now_ms: int) -> ClosedDay:
        """All of it or nothing; the same again where it was done before. Who comes second waits for the first."""
        return await self._heavy.transaction(lambda connection: _sum_up(connection, date.fromisoformat(day), now_ms))


async def _seal(connection: Connection, day: date, by: str, position: int, now_ms: int) -> None:
    books = await connection.fetchrow(_BOOKS)
    assert books is not None
    if await connection.fetchrow(_CLOSING, day):
        return
    sealed, closed = books["sealed_through"], books["closed_through"]
    if sealed is not None and day <= sealed:
        raise NotPossible(f"{day}: days are closed in order, and {sealed} is closed")
    if sealed != closed:
        raise NotPossible(f"{day}: {sealed} is sealed and not summed; close it first")
    first = await connection.fetchval(_OPEN_BEFORE, closed or date.min, day)
    if first is not None:
        raise NotPossible(f"{day}: days are closed in order, and there are entries of {first}; close it first")
    await connection.execute(_SEAL, day, closed, now_ms, by, position)
    await connection.execute(_SEALED, day)


async def _sum_up(connection: Connection, day: date, now_ms: int) -> ClosedDay:
    row = await connection.fetchrow(f"{_CLOSING} FOR UPDATE", day)
    if row is None:
        raise Missing(f"{day} is not sealed")
    if row["closed_time_ms"] is not None:
        return _closed_day(row)
    await connection.execute(_SUM, day)
    wrong = await connection.fetchrow(_UNBALANCED, day)
    if wrong is not None:
        raise NotPossible(f"{day}: the ledger does not balance in {wrong[0]}; check it")
    await connection.execute(_BALANCES, day)
    digest = await digest_of(connection, day, row["previous_day"])
    counted = await connection.fetchrow(_COUNT, day)
    assert counted is not None
    await connection.execute(_CLOSE, day, now_ms, counted["transactions"], counted["entries"], digest)
    await connection.execute(_CLOSED, day)
    done = await connection.fetchrow(_CLOSING, day)
    assert done is not None
    return _closed_day(done)


async def digest_of(connection: Connection, day: date, previous_day: date | None) -> bytes:
    """SHA-256 of the digest of the day before and of the day's entries as PostgreSQL's COPY writes them, in order."""
    digest = hashlib.sha256()
    if previous_day is not None:
        before = await connection.fetchrow(_CLOSING, previous_day)
        digest.update(before["digest"] if before else b"")

    async def take(data: bytes) -> None:
        digest.update(data)

    await connection.copy_from_query(_ENTRIES, day, output=take)
    return digest.digest()


def _closed_day(row: Record) -> ClosedDay:
    return ClosedDay(
        row["day"].isoformat(), row["sealed_by"], row["sealed_time_ms"], row["position"], row["closed_time_ms"],
        row["transactions"], row["entries"], row["digest"],
    )  # fmt: skip
