"""The days of used codes and handovers: a partition is a UTC day, made ahead and dropped as a whole (DESIGN 4)."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import asyncpg
import structlog

from switch.domain.dynamic_code import STEP_MS
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

# One process makes a day, the others wait and find it made. Not the hot path.
_LOCK: Final = 0x636F_6465_2064_6179  # "code day"
_DAY_MS: Final = 86_400_000
# By table, how many milliseconds its partition key counts in.
_TABLES: Final = {"payment_code_claims": STEP_MS, "handover_claims": 1}
KEPT_DAYS: Final = 2
"""A repeat comes within a day of its transmission time, and may be told that its code is its own."""

_EXISTING = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass
"""


async def ensure_code_days(pool: Pool, now_ms: int, *, days_ahead: int = 3) -> list[str]:
    """Make the days from today on, drop those that are over; returns the names that were made or dropped.

    now_ms: the database's time (`switch.store.partitions`): one clock decides what makes a used code used no more.
    """
    today = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today + timedelta(days=n) for n in range(days_ahead + 1)]
    sessions = Sessions(pool)
    done = []
    for table in _TABLES:
        existing = await sessions.run(partial(_existing, table))
        for day in days:
            name = f"{table}_{day:%Y%m%d}"
            if name not in existing and await _make(sessions, table, name, day):
                done.append(name)
        oldest = f"{table}_{today - timedelta(days=KEPT_DAYS):%Y%m%d}"
        for name in sorted(existing):
            if name.removeprefix(f"{table}_").isdigit() and name < oldest:
                await _drop(sessions, name)
                done.append(name)
    return done


async def _existing(table: str, connection: Connection) -> set[str]:
    return {row["relname"] for row in await connection.fetch(_EXISTING, table)}


async def _make(sessions: Sessions, table: str, name: str, day: datetime) -> bool:
    first_ms, unit_ms = int(day.timestamp() * 1000), _TABLES[table]

    async def work(connection: Connection) -> bool:
        await connection.execute("SET LOCAL lock_timeout = 1000")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if name in await _existing(table, connection):
            return False
        bounds = f"FROM ({first_ms // unit_ms}) TO ({(first_ms + _DAY_MS) // unit_ms})"
        await connection.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {bounds}")
        return True

    try:
        return await sessions.transaction(work)
    except asyncpg.CheckViolationError:
        # What is of that day was used before it was made, and stays in the partition of the rest.
        log.warning("code_day_refused_by_rows_in_rest", partition=name)
        return False


async def _drop(sessions: Sessions, name: str) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("SET LOCAL lock_timeout = 1000")
        await connection.execute(f"DROP TABLE IF EXISTS {name}")

    await sessions.transaction(work)
    log.info("code_day_dropped", partition=name)
