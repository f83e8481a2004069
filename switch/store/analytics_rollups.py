"""The merchants' roll-ups, kept from the journal's events: each event once, in the transaction of its cursor."""

from collections.abc import Sequence
from typing import Final

import structlog

from switch.domain.analytics import BASKET_EDGES
from switch.domain.journal_event import JournalEvent
from switch.store.feed_consumer import FeedConsumer
from switch.store.sessions import Connection, Pool

log = structlog.get_logger()

CONSUMER: Final = "analytics"

_OF_A_BATCH: Final = "position BETWEEN $1 AND $2"
_OF_A_MERCHANT: Final = "merchant_id = $1 AND position <= $2"

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

_CLAIM = "SELECT position FROM feed_cursors WHERE consumer = $1 FOR UPDATE"
_CLEAR: Final = (
    "DELETE FROM analytics_days WHERE merchant_id = $1",
    "DELETE FROM analytics_payers WHERE merchant_id = $1",
    "DELETE FROM analytics_returns WHERE merchant_id = $1",
)


def _of(statement: str, events: str) -> str:
    edges = f"ARRAY{list(BASKET_EDGES)}"
    return statement.replace("TOLD", _TOLD).replace("EVENTS", events).replace("EDGES", edges)


_ADD_BATCH: Final = (_of(_ADD_DAYS, _OF_A_BATCH), _of(_ADD_PAYERS, _OF_A_BATCH))
_ADD_MERCHANT: Final = (_of(_ADD_DAYS, _OF_A_MERCHANT), _of(_ADD_PAYERS, _OF_A_MERCHANT))
_COUNT: Final = "SELECT count(*) FROM journal_events WHERE merchant_id = $1 AND position <= $2"


def analytics_consumer(pool: Pool) -> FeedConsumer:
    return FeedConsumer(pool, CONSUMER, add)


async def add(connection: Connection, events: Sequence[JournalEvent]) -> None:
    """The events from the first's position to the last's, within the transaction that keeps the cursor."""
    for statement in _ADD_BATCH:
        await connection.execute(statement, events[0].position, events[-1].position)


async def rebuild(connection: Connection, merchant_id: str) -> int:
    """A merchant's roll-ups anew from its events; returns how many those are. Readers see the old ones until the end.

    The connection is one of its own, without the pool's plans and time limits: of a merchant with millions of events
    it takes minutes, in which no merchant's roll-ups grow.
    """
    async with connection.transaction():
        position: int = await connection.fetchval(_CLAIM, CONSUMER) or 0
        for statement in _CLEAR:
            await connection.execute(statement, merchant_id)
        for statement in _ADD_MERCHANT:
            await connection.execute(statement, merchant_id, position)
        events: int = await connection.fetchval(_COUNT, merchant_id, position)
    log.info("analytics_rebuilt", events=events)
    return events
