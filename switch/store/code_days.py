"""The days of used payment codes: a partition is a UTC day of steps, made ahead and dropped as a whole (DESIGN 4)."""

from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import structlog

from switch.domain.dynamic_code import STEP_MS
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

# One process makes a day, the others wait and find it made. Not the hot path.
_LOCK: Final = 0x636F_6465_2064_6179  # "code day"
_PREFIX: Final = "payment_code_claims_"
_STEPS_A_DAY: Final = 86_400_000 // STEP_MS
KEPT_DAYS: Final = 2
"""A repeat comes within a day of its transmission time, and may be told that its code is its own."""

_EXISTING = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'payment_code_claims'::regclass
"""


async def ensure_code_days(pool: Pool, now_ms: int, *, days_ahead: int = 3) -> list[str]:
    """Make the days from today on, drop those that are over; returns the names that were made or dropped."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    wanted = {f"{_PREFIX}{day:%Y%m%d}": day for day in (today + timedelta(days=n) for n in range(days_ahead + 1))}
    oldest = f"{_PREFIX}{today - timedelta(days=KEPT_DAYS):%Y%m%d}"
    sessions = Sessions(pool)
    existing = await sessions.run(_existing)
    done = []
    for name, day in wanted.items():
        if name not in existing and await _make(sessions, name, day):
            done.append(name)
    for name in sorted(existing):
        if name.removeprefix(_PREFIX).isdigit() and name < oldest:
            await _drop(sessions, name)
            done.append(name)
    return done


async def _existing(connection: Connection) -> set[str]:
    return {row["relname"] for row in await connection.fetch(_EXISTING)}


async def _make(sessions: Sessions, name: str, day: datetime) -> bool:
    first = int(day.timestamp() * 1000) // STEP_MS

    async def work(connection: Connection) -> bool:
        await connection.execute("SET LOCAL lock_timeout = 1000")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if name in await _existing(connection):
            return False
        bounds = f"FROM ({first}) TO ({first + _STEPS_A_DAY})"
        await connection.execute(f"CREATE TABLE {name} PARTITION OF payment_code_claims FOR VALUES {bounds}")
        return True

    try:
        return await sessions.transaction(work)
    except asyncpg.CheckViolationError:
        # Codes of that day were used before it was made: they stay in the partition of the rest.
        log.warning("code_day_refused_by_rows_in_rest", partition=name)
        return False


async def _drop(sessions: Sessions, name: str) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("SET LOCAL lock_timeout = 1000")
        await connection.execute(f"DROP TABLE IF EXISTS {name}")

    await sessions.transaction(work)
    log.info("code_day_dropped", partition=name)
