"""Balances and statements: sums of closed days, and the entries since."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from asyncpg import Record

from switch.domain.books import Balance, StatementFrame, StatementLine
from switch.domain.ledger import FEES, MERCHANT, PostingKind
from switch.store.heavy import HeavyConnections, snapshot
from switch.store.sessions import Connection, Pool, Sessions

_OPEN = "day > COALESCE((SELECT closed_through FROM ledger_books WHERE one), '-infinity')"
_OF_PAYMENTS: Final = (PostingKind.PAYMENT, PostingKind.REFUND, PostingKind.UNDOING, PostingKind.PRICING)

_BALANCES_OF = f"""
SELECT merchant_id, currency, account, sum(closed)::bigint AS closed, sum(closed + since)::bigint AS now
FROM (
    SELECT merchant_id, currency, account, balance_minor AS closed, 0 AS since FROM ledger_balances
    WHERE merchant_id = $1
    UNION ALL
    SELECT merchant_id, currency, account, 0, sum(amount_minor) FROM ledger_entries
    WHERE merchant_id = $1 AND {_OPEN} GROUP BY merchant_id, currency, account
) AS parts
GROUP BY merchant_id, currency, account ORDER BY currency, account
"""  # noqa: S608
_BALANCES = f"""
SELECT merchant_id, currency, account, sum(closed)::bigint AS closed, sum(closed + since)::bigint AS now
FROM (
    SELECT merchant_id, currency, account, balance_minor AS closed, 0 AS since FROM ledger_balances
    UNION ALL
    SELECT merchant_id, currency, account, 0, sum(amount_minor) FROM ledger_entries
    WHERE {_OPEN} GROUP BY merchant_id, currency, account
) AS parts
WHERE (merchant_id, currency, account) > ($1, $2, $3)
GROUP BY merchant_id, currency, account ORDER BY merchant_id, currency, account LIMIT $4
"""  # noqa: S608
# Towards the merchant positive.
_OPENING = f"""
SELECT (COALESCE((
    SELECT -sum(amount_minor) FROM ledger_days
    WHERE merchant_id = $1 AND currency = $2 AND account = '{MERCHANT}' AND day < $3), 0)
+ COALESCE((
    SELECT -sum(amount_minor) FROM ledger_entries
    WHERE merchant_id = $1 AND currency = $2 AND account = '{MERCHANT}' AND day < $3 AND {_OPEN}), 0))::bigint
"""  # noqa: S608
_LINES = f"""
SELECT day, min(time_ms) AS time_ms, kind, min(source) AS source,
       COALESCE(sum(amount_minor) FILTER (WHERE account NOT IN ('{MERCHANT}', '{FEES}')), 0)::bigint AS gross_minor,
       COALESCE(-sum(amount_minor) FILTER (WHERE account = '{FEES}'), 0)::bigint AS fee_minor,
       COALESCE(-sum(amount_minor) FILTER (WHERE account = '{MERCHANT}'), 0)::bigint AS amount_minor
FROM ledger_entries
WHERE merchant_id = $1 AND currency = $2 AND day BETWEEN $3 AND $4
GROUP BY day, transaction_id, kind
HAVING bool_or(account = '{MERCHANT}') OR kind = ANY($5)
ORDER BY day, min(time_ms), transaction_id
"""  # noqa: S608
_READ_AT_ONCE: Final = 1_000


class PostgresAccounts:
    """Meets `switch.settlement.store.Accounts`."""

    def __init__(self, pool: Pool, heavy: HeavyConnections, statements: HeavyConnections) -> None:
        self._sessions = Sessions(pool)
        self._heavy = heavy
        self._statements = statements

    async def balances(self, after: tuple[str, str, str], limit: int) -> list[Balance]:
        async with self._heavy.open() as connection:
            return [Balance(*row.values()) for row in await connection.fetch(_BALANCES, *after, limit)]

    async def balances_of(self, merchant_id: str) -> list[Balance]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_BALANCES_OF, merchant_id))
        return [Balance(*row.values()) for row in rows]

    async def statement(
        self, merchant_id: str, currency: str, from_day: str, until_day: str
    ) -> AsyncIterator[StatementFrame | StatementLine]:
        """As of one moment. Raises TooMany."""
        first, last = date.fromisoformat(from_day), date.fromisoformat(until_day)
        async with self._statements.open() as connection, snapshot(connection):
            balance = int(await connection.fetchval(_OPENING, merchant_id, currency, first))
            yield StatementFrame(merchant_id, currency, from_day, until_day, balance)
            async for row in _lines(connection, merchant_id, currency, first, last):
                balance += row["amount_minor"]
                yield _line(row, balance)
            yield StatementFrame(merchant_id, currency, from_day, until_day, balance)


async def _lines(
    connection: Connection, merchant_id: str, currency: str, first: date, last: date
) -> AsyncIterator[Record]:
    kinds = [each.value for each in _OF_PAYMENTS]
    async for row in connection.cursor(_LINES, merchant_id, currency, first, last, kinds, prefetch=_READ_AT_ONCE):
        yield row


def _line(row: Record, balance: int) -> StatementLine:
    kind = PostingKind(row["kind"])
    of_payment = kind in _OF_PAYMENTS
    return StatementLine(
        row["day"].isoformat(), row["time_ms"], kind, row["source"], row["gross_minor"] if of_payment else 0,
        row["fee_minor"] if of_payment else 0, row["amount_minor"], balance,
    )  # fmt: skip
