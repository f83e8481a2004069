"""The merchants' roll-ups, kept from the journal's events: each event once, in the transaction of its cursor."""

from typing import Final

import structlog

from switch.domain.analytics import BASKET_EDGES
from switch.store.feed_consumer import LARGE_BATCH, FeedConsumer, Span
from switch.store.right_of_way import RightOfWay
from switch.store.sessions import Connection, Pool

log = structlog.get_logger()

CONSUMER: Final = "analytics"

_OF_A_BATCH: Final = "position > $1 AND position <= $2"

# Kinds: 1 approved, 2 declined, 3 unanswered, 4 captured, 5 refunded, 6 undone, 7 incremented. Operation 2: a
# pre-authorization. The business day is eight hours ahead of UTC, all year.
_TOLD: Final = """
SELECT merchant_id, currency, payer_key, kind, amount_minor, channel, entry, terminal_id, response_code,
       date '1970-01-01' + ((time_ms + 28800000) / 86400000)::integer AS day,
       (time_ms + 28800000) / 3600000 % 24 AS hour,
       kind = 4 OR (kind = 1 AND operation <> 2) AS is_sale
FROM journal_events WHERE EVENTS AND kind <> 7
"""

_ADD_DAYS: Final = """
WITH told AS (TOLD)
INSERT INTO analytics_days AS d (
    merchant_id, currency, dimension, day, key, approved_count, declined_count, unanswered_count, sales_count,
    sales_minor, refunds_count, refunds_minor, undone_count, undone_minor)
SELECT merchant_id, currency, dimension, by.day, key, count(*) FILTER (WHERE kind = 1),
       count(*) FILTER (WHERE kind = 2), count(*) FILTER (WHERE kind = 3), count(*) FILTER (WHERE is_sale),
       coalesce(sum(amount_minor) FILTER (WHERE is_sale), 0), count(*) FILTER (WHERE kind = 5),
       coalesce(sum(amount_minor) FILTER (WHERE kind = 5), 0), count(*) FILTER (WHERE kind = 6 AND amount_minor > 0),
       coalesce(sum(amount_minor) FILTER (WHERE kind = 6), 0)
FROM told CROSS JOIN LATERAL (VALUES
    (1, day, lpad(hour::text, 2, '0')), (2, day, channel), (3, day, entry::text), (4, day, terminal_id),
    (CASE WHEN kind = 2 THEN 5 END, day, response_code),
    (CASE WHEN is_sale THEN 6 END, day, lpad(width_bucket(amount_minor, EDGES::bigint[])::text, 2, '0')),
    (7, day, ''), (8, date_trunc('month', day::timestamp)::date, terminal_id)
) AS by (dimension, day, key)
WHERE dimension IS NOT NULL
GROUP BY merchant_id, currency, dimension, by.day, key
ORDER BY merchant_id, currency, dimension, by.day, key
ON CONFLICT (merchant_id, currency, dimension, day, key) DO UPDATE
SET approved_count = d.approved_count + EXCLUDED.approved_count,
    declined_count = d.declined_count + EXCLUDED.declined_count,
    unanswered_count = d.unanswered_count + EXCLUDED.unanswered_count,
    sales_count = d.sales_count + EXCLUDED.sales_count, sales_minor = d.sales_minor + EXCLUDED.sales_minor,
    refunds_count = d.refunds_count + EXCLUDED.refunds_count,
    refunds_minor = d.refunds_minor + EXCLUDED.refunds_minor,
    undone_count = d.undone_count + EXCLUDED.undone_count, undone_minor = d.undone_minor + EXCLUDED.undone_minor
"""

# Events may come in any order of their days. So a payer's fresh days are put among those that he had, between the one
# before them and the one after (near): each fresh day is counted under the day before it, and a day that has another
# one before it now moves from the old to the new. Under infinity all of a day are counted.
_ADD_PAYERS: Final = """
WITH told AS (TOLD),
fresh AS (
    INSERT INTO analytics_payers (merchant_id, currency, payer_key, day)
    SELECT DISTINCT merchant_id, currency, payer_key, day FROM told WHERE is_sale AND payer_key <> ''
    ON CONFLICT DO NOTHING
    RETURNING merchant_id, currency, payer_key, day),
spans AS (
    SELECT merchant_id, currency, payer_key, min(day) AS first, max(day) AS last
    FROM fresh GROUP BY merchant_id, currency, payer_key),
around AS MATERIALIZED (
    SELECT s.merchant_id, s.currency, s.payer_key,
           coalesce((SELECT max(day) FROM analytics_payers AS p
                     WHERE p.merchant_id = s.merchant_id AND p.currency = s.currency AND p.payer_key = s.payer_key
                       AND p.day < s.first), s.first) AS since,
           coalesce((SELECT min(day) FROM analytics_payers AS p
                     WHERE p.merchant_id = s.merchant_id AND p.currency = s.currency AND p.payer_key = s.payer_key
                       AND p.day > s.last), s.last) AS until
    FROM spans AS s),
near AS (
    SELECT a.merchant_id, a.currency, a.payer_key, p.day, false AS is_fresh
    FROM around AS a JOIN analytics_payers AS p ON p.merchant_id = a.merchant_id AND p.currency = a.currency
        AND p.payer_key = a.payer_key AND p.day BETWEEN a.since AND a.until
    UNION ALL SELECT merchant_id, currency, payer_key, day, true FROM fresh),
chained AS (
    SELECT merchant_id, currency, day, is_fresh, lag(day) OVER line AS previous_day,
           max(day) FILTER (WHERE NOT is_fresh)
               OVER (line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier_previous_day
    FROM near WINDOW line AS (PARTITION BY merchant_id, currency, payer_key ORDER BY day)),
changes AS (
    SELECT merchant_id, currency, day, coalesce(previous_day, '-infinity') AS previous_day, 1 AS payers
    FROM chained WHERE is_fresh OR previous_day IS NOT NULL
    UNION ALL
    SELECT merchant_id, currency, day, coalesce(earlier_previous_day, '-infinity'), -1
    FROM chained WHERE NOT is_fresh AND previous_day IS NOT NULL
    UNION ALL
    SELECT merchant_id, currency, day, 'infinity', 1 FROM fresh)
INSERT INTO analytics_returns AS r (merchant_id, currency, day, previous_day, payers)
SELECT merchant_id, currency, day, previous_day, sum(payers) FROM changes
GROUP BY merchant_id, currency, day, previous_day HAVING sum(payers) <> 0
ON CONFLICT (merchant_id, currency, day, previous_day) DO UPDATE SET payers = r.payers + EXCLUDED.payers
"""

_OF_EVERYBODY: Final = "position <= $1"
_OF_A_MERCHANT: Final = "position <= $1 AND merchant_id = $2"

# The same sums of many events at once: one pass, with a table of groups in memory for each dimension. A row for every
# event and dimension, as for a batch, would be eight times as many rows to sort.
_BUILD_DAYS: Final = """
WITH told AS (TOLD),
known AS (
    SELECT merchant_id, currency, day, hour, channel, entry, terminal_id, is_sale, kind, amount_minor,
           CASE WHEN kind = 2 THEN response_code END AS declined_with,
           CASE WHEN is_sale THEN width_bucket(amount_minor, EDGES::bigint[]) END AS basket,
           date_trunc('month', day::timestamp)::date AS month
    FROM told),
summed AS (
    SELECT merchant_id, currency, day, hour, channel, entry, terminal_id, declined_with, basket, month,
           CASE GROUPING(month, hour, channel, entry, terminal_id, declined_with, basket)
               WHEN 95 THEN 1 WHEN 111 THEN 2 WHEN 119 THEN 3 WHEN 123 THEN 4 WHEN 125 THEN 5 WHEN 126 THEN 6
               WHEN 127 THEN 7 ELSE 8 END AS dimension,
           count(*) FILTER (WHERE kind = 1) AS approved_count, count(*) FILTER (WHERE kind = 2) AS declined_count,
           count(*) FILTER (WHERE kind = 3) AS unanswered_count, count(*) FILTER (WHERE is_sale) AS sales_count,
           coalesce(sum(amount_minor) FILTER (WHERE is_sale), 0) AS sales_minor,
           count(*) FILTER (WHERE kind = 5) AS refunds_count,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 5), 0) AS refunds_minor,
           count(*) FILTER (WHERE kind = 6 AND amount_minor > 0) AS undone_count,
           coalesce(sum(amount_minor) FILTER (WHERE kind = 6), 0) AS undone_minor
    FROM known
    GROUP BY merchant_id, currency, GROUPING SETS (
        (day, hour), (day, channel), (day, entry), (day, terminal_id), (day, declined_with), (day, basket), (day),
        (month, terminal_id)))
INSERT INTO analytics_days (
    merchant_id, currency, dimension, day, key, approved_count, declined_count, unanswered_count, sales_count,
    sales_minor, refunds_count, refunds_minor, undone_count, undone_minor)
SELECT merchant_id, currency, dimension, coalesce(day, month),
       CASE dimension
           WHEN 1 THEN lpad(hour::text, 2, '0') WHEN 2 THEN channel WHEN 3 THEN entry::text WHEN 5 THEN declined_with
           WHEN 6 THEN lpad(basket::text, 2, '0') WHEN 7 THEN '' ELSE terminal_id END AS key,
       approved_count, declined_count, unanswered_count, sales_count, sales_minor, refunds_count, refunds_minor,
       undone_count, undone_minor
FROM summed WHERE (dimension <> 5 OR declined_with IS NOT NULL) AND (dimension <> 6 OR basket IS NOT NULL)
ORDER BY merchant_id, currency, dimension, coalesce(day, month), key
"""
_BUILD_PAYERS: Final = """
WITH told AS (TOLD)
INSERT INTO analytics_payers (merchant_id, currency, payer_key, day)
SELECT DISTINCT merchant_id, currency, payer_key, day FROM told WHERE is_sale AND payer_key <> ''
ORDER BY merchant_id, currency, payer_key, day
"""
# Of the payers' days as they are now, all of them.
_BUILD_RETURNS: Final = """
WITH visits AS (
    SELECT merchant_id, currency, day, coalesce(lag(day) OVER of_payer, '-infinity') AS previous_day
    FROM analytics_payers WHERE PAYERS WINDOW of_payer AS (PARTITION BY merchant_id, currency, payer_key ORDER BY day))
INSERT INTO analytics_returns (merchant_id, currency, day, previous_day, payers)
SELECT merchant_id, currency, day, previous_day, count(*) FROM visits
GROUP BY merchant_id, currency, day, previous_day
UNION ALL
SELECT merchant_id, currency, day, 'infinity', count(*) FROM visits GROUP BY merchant_id, currency, day
"""

_CLAIM = "SELECT position FROM feed_cursors WHERE consumer = $1 FOR UPDATE"
_TABLES: Final = ("analytics_days", "analytics_payers", "analytics_returns")
# Groups are kept in tables in memory, those that do not fit on disk; left to itself the planner sorts all events once
# for each dimension.
_PLAN: Final = "SET LOCAL work_mem = '256MB'; SET LOCAL enable_sort = off"


def _of(statement: str, events: str) -> str:
    edges = f"ARRAY{list(BASKET_EDGES)}"
    return statement.replace("TOLD", _TOLD).replace("EVENTS", events).replace("EDGES", edges)


_ADD_BATCH: Final = (_of(_ADD_DAYS, _OF_A_BATCH), _of(_ADD_PAYERS, _OF_A_BATCH))


def analytics_consumer(pool: Pool, right_of_way: RightOfWay | None = None) -> FeedConsumer:
    return FeedConsumer(pool, CONSUMER, add, LARGE_BATCH, right_of_way)


async def add(connection: Connection, span: Span) -> None:
    """The span's events, within the transaction that keeps the cursor. None of them comes into Python."""
    for statement in _ADD_BATCH:
        await connection.execute(statement, span.after, span.until)


async def rebuild(connection: Connection, merchant_id: str | None = None) -> int:
    """A merchant's roll-ups anew from its events, or everybody's; returns how many events those are.

    Readers see the old ones until the end; nobody's grow meanwhile. The connection is one of its own, without the
    pool's plans and time limits: a million events take some seconds.
    """
    events_of, merchant = (_OF_EVERYBODY, ()) if merchant_id is None else (_OF_A_MERCHANT, (merchant_id,))
    whose = "true" if merchant_id is None else "merchant_id = $1"
    async with connection.transaction():
        await connection.execute(_PLAN)
        position: int = await connection.fetchval(_CLAIM, CONSUMER) or 0
        for table in _TABLES:
            await connection.execute(f"DELETE FROM {table} WHERE {whose}", *merchant)  # noqa: S608, constants
        for statement in (_BUILD_DAYS, _BUILD_PAYERS):
            await connection.execute(_of(statement, events_of), position, *merchant)
        await connection.execute(_BUILD_RETURNS.replace("PAYERS", whose), *merchant)
        count = f"SELECT count(*) FROM journal_events WHERE {events_of}"  # noqa: S608, constants
        events: int = await connection.fetchval(count, position, *merchant)
    log.info("analytics_rebuilt", events=events)
    return events
