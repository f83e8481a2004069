"""The days of the journal and of risk control's judgements: a partition is a range of ids, made ahead of its day and
dropped as a whole (DESIGN 4).

Whoever keeps them keeps those of used codes and handovers, too, whichever services the process has.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import structlog

from switch.domain.identity import lowest_id_at
from switch.ports import StoreUnavailable
from switch.store.code_days import ensure_code_days
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

# One process makes a day, the others wait and find it made. Not the hot path.
_LOCK = 0x7061_7274_6974_696F  # "partitio"
_AGAIN_S = 30.0

_EXISTING = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('authorizations'::regclass, 'risk_judgements'::regclass)
"""

# By table, how its days are stored. Authorizations that were inserted together are answered together: each page keeps
# room for a second, slightly longer version of all its rows, so that an outcome's UPDATE stays in the page (HOT). At 60
# a third did not. Judgements never change.
_STORED: Final = {
    "authorizations": "fillfactor = 45, autovacuum_vacuum_insert_scale_factor = 0.05",
    "risk_judgements": "autovacuum_vacuum_insert_scale_factor = 0.05",
}


def partition_name(day: datetime, table: str = "authorizations") -> str:
    """
    >>> partition_name(datetime(2026, 1, 31, tzinfo=UTC))
    'authorizations_20260131'
    """
    return f"{table}_{day:%Y%m%d}"


def start_ms_of(partition: str) -> int:
    """When the day of a partition begins, Unix milliseconds.

    >>> start_ms_of("authorizations_20260131")
    1769817600000
    """
    day = datetime.strptime(partition.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)
    return int(day.timestamp() * 1000)


async def ensure_partitions(pool: Pool, now_ms: int, *, days_back: int = 1, days_ahead: int = 3) -> list[str]:
    """Make the missing UTC days around `now_ms`; returns their names. Raises StoreUnavailable.

    Back, because a transmission time may be a day old. A day whose rows went to the default partition already cannot
    be made any more; that is logged, and they stay where they are.
    """
    today = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today + timedelta(days=offset) for offset in range(-days_back, days_ahead + 1)]
    sessions = Sessions(pool)
    existing = {row["relname"] for row in await sessions.run(lambda connection: connection.fetch(_EXISTING))}
    missing = [(table, day) for table in _STORED for day in days if partition_name(day, table) not in existing]
    return [partition_name(day, table) for table, day in missing if await _make(sessions, table, day)]


async def _make(sessions: Sessions, table: str, day: datetime) -> bool:
    name = partition_name(day, table)
    first, end = (lowest_id_at(int(each.timestamp() * 1000)) for each in (day, day + timedelta(days=1)))

    async def work(connection: Connection) -> bool:
        # An insert in flight is waited for briefly; those behind us wait as long.
        await connection.execute("SET LOCAL lock_timeout = 1000")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if name in {row["relname"] for row in await connection.fetch(_EXISTING)}:
            return False
        await connection.execute(
            f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH ({_STORED[table]})"
        )
        await connection.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')"
        )
        return True

    try:
        made = await sessions.transaction(work)
    except asyncpg.CheckViolationError:
        log.exception("partition_refused_by_rows_in_default", partition=name)
        return False
    if made:
        log.info("partition_made", partition=name)
    return made


async def database_time_ms(pool: Pool) -> int:
    """A process whose own clock is ahead must not drop a day that is not over. Raises StoreUnavailable."""
    return int(await Sessions(pool).run(lambda connection: connection.fetchval("SELECT now_ms()")))


async def keep_partitions(
    pool: Pool, time_ms: Callable[[Pool], Awaitable[int]] = database_time_ms, interval_s: float = 3600.0
) -> None:
    """Ensure the days ahead, now and for ever; an outage is logged and survived. Runs until it is cancelled."""
    while True:
        pause_s = interval_s
        for ensure in (ensure_partitions, ensure_code_days):
            try:
                await ensure(pool, await time_ms(pool))
            except StoreUnavailable as error:
                log.warning("partitions_not_made", reason=str(error))
                pause_s = min(interval_s, _AGAIN_S)
            except Exception:
                # Days without partitions are met by the default ones: aloud, and no reason to stop keeping.
                log.exception("partitions_not_made")
        await asyncio.sleep(pause_s)
