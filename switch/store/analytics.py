"""Reading a merchant's roll-ups: sums over days, by key look-ups only."""

from datetime import date
from typing import Final

from asyncpg import Record

from switch.domain.analytics import Days, Dimension, Measures, Payers
from switch.store.analytics_rollups import CONSUMER
from switch.store.sessions import Pool, Sessions

_SUMS: Final = """
sum(approved_count)::bigint, sum(declined_count)::bigint, sum(unanswered_count)::bigint, sum(sales_count)::bigint,
sum(sales_minor)::bigint, sum(refunds_count)::bigint, sum(refunds_minor)::bigint, sum(undone_count)::bigint,
sum(undone_minor)::bigint
"""


def _of(statement: str) -> str:
    return statement.replace("SUMS", _SUMS)


_BY_KEY: Final = _of("""
SELECT key, SUMS FROM analytics_days
WHERE merchant_id = $1 AND currency = $2 AND dimension = $3 AND day BETWEEN $4 AND $5 GROUP BY key
""")
_BY_DAY: Final = _of("""
SELECT day, SUMS FROM analytics_days
WHERE merchant_id = $1 AND currency = $2 AND dimension = 7 AND day BETWEEN $3 AND $4 GROUP BY day
""")
_BY_WEEKDAY: Final = _of("""
SELECT extract(isodow FROM day)::integer * 100 + key::integer, SUMS FROM analytics_days
WHERE merchant_id = $1 AND currency = $2 AND dimension = 1 AND day BETWEEN $3 AND $4 GROUP BY 1
""")
# A skip from one currency to the next: a merchant has few of them and many rows.
_CURRENCIES: Final = """
WITH RECURSIVE found AS (
    (SELECT currency FROM analytics_days WHERE merchant_id = $1 ORDER BY currency LIMIT 1)
    UNION ALL
    SELECT (SELECT d.currency FROM analytics_days AS d
            WHERE d.merchant_id = $1 AND d.currency > f.currency ORDER BY d.currency LIMIT 1)
    FROM found AS f WHERE f.currency IS NOT NULL)
SELECT currency FROM found WHERE currency IS NOT NULL
"""
# Each payer on his first day of the range.
_PAYERS: Final = """
SELECT coalesce(sum(payers), 0)::bigint AS count,
       coalesce(sum(payers) FILTER (WHERE previous_day = '-infinity'), 0)::bigint AS new
FROM analytics_returns
WHERE merchant_id = $1 AND currency = $2 AND day BETWEEN $3 AND $4 AND previous_day < $3
"""
_PAYERS_BY_DAY: Final = """
SELECT day, sum(payers) FILTER (WHERE previous_day = 'infinity')::bigint AS count,
       coalesce(sum(payers) FILTER (WHERE previous_day = '-infinity'), 0)::bigint AS new
FROM analytics_returns
WHERE merchant_id = $1 AND currency = $2 AND day BETWEEN $3 AND $4 AND previous_day IN ('-infinity', 'infinity')
GROUP BY day
"""
_BEHIND: Final = """
SELECT coalesce((SELECT position FROM feed_cursors WHERE consumer = 'feed'), 0)
       - coalesce((SELECT position FROM feed_cursors WHERE consumer = $1), 0)
"""
_NOTHING: Final = Measures()


class PostgresAnalytics:
    """Meets `switch.merchants.analytics.store.AnalyticsStore`. Every method raises StoreUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def currencies(self, merchant_id: str) -> list[str]:
        rows = await self._fetch(_CURRENCIES, merchant_id)
        return [row["currency"] for row in rows]

    async def by_key(self, merchant_id: str, currency: str, dimension: Dimension, days: Days) -> dict[str, Measures]:
        """Of terminals, whole months are read as months: there may be thousands of them."""
        parts = [(dimension, days)]
        if dimension is Dimension.TERMINAL:
            months, rest = days.whole_months()
            parts = [(Dimension.TERMINAL, each) for each in rest]
            parts += [(Dimension.TERMINAL_MONTH, months)] if months is not None else []
        found: dict[str, Measures] = {}
        for kept_by, part in parts:
            for row in await self._fetch(_BY_KEY, merchant_id, currency, kept_by, part.first, part.last):
                found[row[0]] = found.get(row[0], _NOTHING) + _measures(row)
        return found

    async def by_day(self, merchant_id: str, currency: str, days: Days) -> dict[date, Measures]:
        """Of the days on which anything happened."""
        rows = await self._fetch(_BY_DAY, merchant_id, currency, days.first, days.last)
        return {row[0]: _measures(row) for row in rows}

    async def by_weekday(self, merchant_id: str, currency: str, days: Days) -> dict[tuple[int, int], Measures]:
        """By (weekday, 1 is Monday, and hour of the day)."""
        rows = await self._fetch(_BY_WEEKDAY, merchant_id, currency, days.first, days.last)
        return {divmod(row[0], 100): _measures(row) for row in rows}

    async def payers(self, merchant_id: str, currency: str, days: Days) -> Payers:
        (row,) = await self._fetch(_PAYERS, merchant_id, currency, days.first, days.last)
        return Payers(row["count"], row["new"])

    async def payers_by_day(self, merchant_id: str, currency: str, days: Days) -> dict[date, Payers]:
        """Of the days on which anybody bought; one who comes on two of them is counted on both."""
        rows = await self._fetch(_PAYERS_BY_DAY, merchant_id, currency, days.first, days.last)
        return {row["day"]: Payers(row["count"], row["new"]) for row in rows}

    async def events_behind(self) -> int:
        """How many events have been found and are in no roll-up yet, of all merchants."""
        behind: int = (await self._fetch(_BEHIND, CONSUMER))[0][0]
        return max(0, behind)

    async def _fetch(self, statement: str, *arguments: str | int | date) -> list[Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))


def _measures(row: Record) -> Measures:
    return Measures(*list(row)[1:])
