"""The journal's old days: which of them may go, what holds the others, and dropping one as a whole (DESIGN 4)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import structlog

from switch.domain.identity import lowest_id_at
from switch.store.heavy import HeavyConnections
from switch.store.partitions import partition_name
from switch.store.sessions import Connection

log = structlog.get_logger()

_PREFIX: Final = "authorizations_"
_DAY_MS: Final = 86_400_000
_DAYS = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'authorizations'::regclass AND c.relname ~ '^authorizations_[0-9]{8}$' ORDER BY 1
"""
_JOURNAL_FROM = "UPDATE housekeeping SET journal_from = $1 WHERE one AND journal_from < $1"
_OF_DAY: Final = "authorization_id >= $1 AND authorization_id < $2"
# Not every question needs every value.
_TYPED: Final = "$1::uuid IS NOT NULL AND $2::uuid IS NOT NULL AND $3::bigint > 0 AND $4::date < $5::date"
# The least that any consumer of the events has read, and the ledger, which keeps its own.
READ_BY_ALL: Final = """
least((SELECT min(position) FROM feed_cursors WHERE consumer <> 'feed'),
      (SELECT nullif(position, 0) FROM ledger_followed WHERE one))
"""

_FEED_READ: Final = "(SELECT min(until_ms) AS until_ms FROM feed_readings) AS read"

# What of a day holds it, by why; OF_DAY: of its payments. $1, $2: its ids; $3: its end, Unix ms; $4, $5: the business
# days (Shanghai) that it is in. A payment's state 1, 2, 5 or 8 is none that it stays in.
HOLDS: Final = {
    "payments that have not ended": (
        "SELECT 1 FROM authorizations WHERE id >= $1 AND id < $2 AND state IN (1, 2, 5, 8)"
    ),
    "payments outside of their day's partition": ("SELECT 1 FROM authorizations_default WHERE id >= $1 AND id < $2"),
    "captures, refunds or reversals in flight": ("SELECT 1 FROM follow_ons WHERE OF_DAY AND state IN (1, 2, 5, 8)"),
    "open follow-ups, or dead ones": "SELECT 1 FROM follow_ups WHERE OF_DAY AND state <> 2",
    "what has just ended, which the feed has not told": """
        SELECT 1 FROM follow_ons, FEED_READ WHERE OF_DAY AND answered_time_ms >= until_ms
        UNION ALL SELECT 1 FROM follow_ups, FEED_READ WHERE OF_DAY AND ended_time_ms >= until_ms
    """,
    "refunds that are asked for": "SELECT 1 FROM merchant_refunds WHERE OF_DAY AND state IN (1, 2, 3)",
    "orders being paid": "SELECT 1 FROM order_payments WHERE OF_DAY AND state IN (1, 2, 5)",
    "open disputes": "SELECT 1 FROM disputes WHERE OF_DAY AND state IN (1, 2, 3, 4)",
    "open breaks": """
        SELECT 1 FROM breaks WHERE state IN (1, 2, 3) AND ((OF_DAY) OR day IN ($4::date, $5::date))
    """,
    "a channel's day that is not reconciled": """
        SELECT 1 FROM (
            SELECT DISTINCT channel FROM authorizations
            WHERE id >= $1 AND id < $2 AND channel <> '' AND state IN (3, 6, 7)) AS a
        WHERE (SELECT count(*) FROM reconciliations AS r
               WHERE r.channel = a.channel AND r.day IN ($4::date, $5::date) AND r.compared_time_ms > 0) < 2
    """,
    "a business day that is not closed": """
        SELECT 1 FROM ledger_followed, ledger_books
        WHERE ledger_followed.position > 0 AND COALESCE(closed_through, '-infinity') < $5::date
    """,
    "the feed, which has not read so far": "SELECT 1 FROM feed_readings WHERE until_ms < $3::bigint + 172800000",
    "a consumer that is behind": "SELECT 1 FROM journal_events WHERE OF_DAY AND position > READ_BY_ALL",
}

# What may have begun of a payment since nothing held its day: whatever does, does it by one of these. $3: Unix ms. Both
# by an index: all payments wait for it.
_BEGUN_SINCE: Final = f"""
SELECT EXISTS (SELECT 1 FROM follow_ons WHERE {_OF_DAY} AND created_time_ms >= $3)
    OR EXISTS (SELECT 1 FROM follow_ups WHERE {_OF_DAY} AND state = 1)
"""  # noqa: S608
_SINCE_MS: Final = 600_000  # looking for the others takes less, and clocks differ by less
# A payment can wait so long.
_LOCK_MS: Final = 100


@dataclass(frozen=True, slots=True)
class JournalDay:
    """A day's partition. held: why it stays, "" where it may go."""

    name: str
    day: date
    held: str = ""

    @property
    def from_ms(self) -> int:
        return int(datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC).timestamp() * 1000)

    @property
    def until_ms(self) -> int:
        return self.from_ms + _DAY_MS


class JournalDays:
    def __init__(self, heavy: HeavyConnections) -> None:
        self._heavy = heavy

    async def old(self, before_ms: int, most: int) -> list[JournalDay]:
        """Those that ended before, oldest first, up to the first that is held: days go in their order, so that what is
        below `housekeeping.journal_from` is gone. Raises StoreUnavailable."""
        found = []
        async with self._heavy.open() as connection:
            for row in (await connection.fetch(_DAYS))[:most]:
                day = _day_of(row["relname"])
                if day.until_ms > before_ms:
                    break
                held = await _held(connection, day)
                found.append(JournalDay(day.name, day.day, held))
                if held:
                    break
        return found

    async def drop(self, day: JournalDay) -> str:
        """Why it stays after all; "" when it is gone. Raises StoreUnavailable, also without the locks at once.

        What holds it is looked for once more, before the locks, for that takes time; then, while nobody writes, what
        may have begun since. What risk control judged of its payments goes with it.
        """
        first, end = lowest_id_at(day.from_ms), lowest_id_at(day.until_ms)
        judgements = partition_name(datetime.fromtimestamp(day.from_ms / 1000, UTC), "risk_judgements")
        async with self._heavy.open() as connection:
            since_ms = await connection.fetchval("SELECT now_ms()") - _SINCE_MS
            held = await _held(connection, day)
        if held:
            return held

        async def work(connection: Connection) -> str:
            # The road's statements lock the journal first, then all its days: in the same order there is no circle of
            # waiters. They wait for us, and so for whoever reads the journal just now: he keeps the day this time.
            await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
            await connection.execute("LOCK TABLE ONLY authorizations, ONLY risk_judgements IN ACCESS EXCLUSIVE MODE")
            if await connection.fetchval(_BEGUN_SINCE, first, end, since_ms):
                return "captures, refunds or reversals in flight"
            await connection.execute(f"DROP TABLE {day.name}")
            await connection.execute(f"DROP TABLE IF EXISTS {judgements}")
            await connection.execute("DELETE FROM risk_judgements_default WHERE id >= $1 AND id < $2", first, end)
            await connection.execute(_JOURNAL_FROM, end)
            return ""

        held = await self._heavy.transaction(work)
        if not held:
            log.info("journal_day_dropped", day=str(day.day))
        return held


def _day_of(name: str) -> JournalDay:
    return JournalDay(name, datetime.strptime(name.removeprefix(_PREFIX), "%Y%m%d").replace(tzinfo=UTC).date())


async def _held(connection: Connection, day: JournalDay) -> str:
    first, end = lowest_id_at(day.from_ms), lowest_id_at(day.until_ms)
    values: tuple[Any, ...] = (first, end, day.until_ms, day.day, day.day + timedelta(days=1))
    for why, statement in HOLDS.items():
        found = (
            statement.replace("OF_DAY", _OF_DAY).replace("READ_BY_ALL", READ_BY_ALL).replace("FEED_READ", _FEED_READ)
        )
        if await connection.fetchval(f"SELECT {_TYPED} AND EXISTS ({found})", *values):
            return why
    return ""
