"""`python -m benchmarks.analytics`: what a merchant asks of its trade, answered from roll-ups.

In one scratch PostgreSQL: a year of events, half of them one merchant's (200,000 payers, 300 terminals), the others of
99 merchants. The roll-ups are built as after a loss, by `rebuild`, and the last events worked as they come. Every
question is timed beside a round trip (`SELECT 1`) and beside the same figures from the events, which must agree.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.processor import family_s, postmaster_of
from switch.domain.analytics import Days, Dimension, Measures, Payers
from switch.store.analytics import PostgresAnalytics
from switch.store.analytics_rollups import analytics_consumer, rebuild
from switch.store.embedded import EmbeddedPostgres
from switch.store.migrate import migrate
from switch.store.pool import create_pool
from switch.store.sessions import Connection

BIG: Final = "big"
FIRST: Final = date(2025, 1, 1)
FIRST_MS: Final = 1_735_660_800_000  # its midnight in Shanghai
YEAR: Final = Days(FIRST, FIRST + timedelta(days=364))
MONTH: Final = Days(date(2025, 11, 1), date(2025, 11, 30))
_CHUNK: Final = 200_000

# $1 of $2: the n-th of all events. Of twenty, one is declined, one refunds; the rest are sales.
_EVENTS: Final = """
INSERT INTO journal_events
SELECT CASE WHEN n % 2 = 0 THEN 'big' ELSE 'm' || n % 99 END,
       (lpad(to_hex(at_ms), 12, '0') || '7' || left(md5(n::text), 3) || '8' || right(md5(n::text), 15))::uuid,
       CASE WHEN n % 40 = 6 THEN 2 WHEN n % 40 = 8 THEN 5 ELSE 1 END, '00000000-0000-0000-0000-000000000000', n, 1,
       100 + dice % 20000, 'CNY', at_ms, at_ms - 50, 'acquirer',
       'term' || dice % CASE WHEN n % 2 = 0 THEN 300 ELSE 3 END,
       CASE dice % 4 WHEN 0 THEN 'unionpay' WHEN 1 THEN 'alipay' WHEN 2 THEN 'wechat' ELSE 'issuer:bank' END,
       1 + dice % 5, CASE WHEN n % 40 = 6 THEN '5' || dice % 9 ELSE '00' END, '', int4send(dice % 200000)::bytea, ''
FROM (SELECT n, hashint8(n) & 2147483647 AS dice,
             $3::bigint + n * (365 * 86400000::bigint / $4) AS at_ms FROM generate_series($1::bigint, $2) AS n) AS made
"""

_MEASURED: Final = """
SELECT count(*) FILTER (WHERE kind = 1), count(*) FILTER (WHERE kind = 2), 0, count(*) FILTER (WHERE kind = 1),
       coalesce(sum(amount_minor) FILTER (WHERE kind = 1), 0)::bigint, count(*) FILTER (WHERE kind = 5),
       coalesce(sum(amount_minor) FILTER (WHERE kind = 5), 0)::bigint, 0, 0
FROM journal_events WHERE merchant_id = $1 AND time_ms >= $2 AND time_ms < $3
"""
# The same by the values of a dimension.
_MEASURED_BY: Final = _MEASURED.replace("SELECT count", "SELECT KEY, count", 1) + " GROUP BY 1"
_KEYS: Final = {
    Dimension.HOUR: "lpad(((time_ms + 28800000) / 3600000 % 24)::text, 2, '0')",
    Dimension.CHANNEL: "channel",
    Dimension.TERMINAL: "terminal_id",
}
_PAYERS: Final = """
SELECT count(*), count(*) FILTER (WHERE first_ms >= $2) FROM (
    SELECT payer_key, min(time_ms) AS first_ms, max(time_ms) FILTER (WHERE time_ms >= $2 AND time_ms < $3) AS seen_ms
    FROM journal_events WHERE merchant_id = $1 AND kind = 1 AND time_ms < $3 GROUP BY payer_key) AS p
WHERE seen_ms IS NOT NULL
"""

Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds; asked: by question, (least, median, most). from_events: the month's sums and payers, once."""

    events: int
    build_s: float
    build_processor_s: float
    consumer_per_s: float
    round_trip: float
    asked: dict[str, tuple[float, float, float]]
    from_events: float


async def measure(dsn: str, events: int, rounds: int) -> Figures:
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    pool = await create_pool(dsn, size=2)
    try:
        await _load(connection, events)
        postmaster = await postmaster_of(dsn)
        processor_s = family_s(postmaster)
        build_s, rest = await _build(connection, events)
        processor_s = family_s(postmaster) - processor_s
        begun = time.perf_counter()
        worked = await analytics_consumer(pool).catch_up()
        consumer_s = time.perf_counter() - begun
        assert worked == rest
        await connection.execute("VACUUM ANALYZE analytics_days, analytics_returns")
        store = PostgresAnalytics(pool)
        _, round_trip, _ = await _timed(lambda: pool.fetchval("SELECT 1"), rounds)
        asked = {name: await _timed(ask, rounds) for name, ask in _questions(store).items()}
        begun = time.perf_counter()
        await _compare(connection, store)
        from_events = (time.perf_counter() - begun) * 1000
        return Figures(events, build_s, processor_s, worked / consumer_s, round_trip, asked, from_events)
    finally:
        await pool.close()
        await connection.close()


async def _load(connection: Connection, events: int) -> None:
    """Without the keys while it is loaded: they are made anew at the end, by sorting."""
    await connection.execute("ALTER TABLE journal_events DROP CONSTRAINT journal_events_pkey")
    await connection.execute("DROP INDEX journal_events_position")
    for first in range(1, events + 1, _CHUNK):
        await connection.execute(_EVENTS, first, min(first + _CHUNK - 1, events), FIRST_MS, events)
    await connection.execute("SET maintenance_work_mem = '512MB'")
    await connection.execute(
        "ALTER TABLE journal_events ADD PRIMARY KEY (merchant_id, authorization_id, kind, follow_on_id)"
    )
    await connection.execute("CREATE UNIQUE INDEX journal_events_position ON journal_events (position)")
    await connection.execute("INSERT INTO feed_cursors VALUES ('feed', $1)", events)
    await connection.execute("VACUUM ANALYZE journal_events")


async def _build(connection: Connection, events: int) -> tuple[float, int]:
    """All but the last of the events, which are left to the consumer. Returns (seconds, how many are left)."""
    left = min(events // 2, 50_000)
    await connection.execute("INSERT INTO feed_cursors VALUES ('analytics', $1)", events - left)
    begun = time.perf_counter()
    await rebuild(connection)
    return time.perf_counter() - begun, left


def _questions(store: PostgresAnalytics) -> dict[str, Ask]:
    found: dict[str, Ask] = {}
    keys = {
        "by hour": Dimension.HOUR, "by channel": Dimension.CHANNEL, "by terminal (300)": Dimension.TERMINAL,
        "baskets": Dimension.BASKET, "declines": Dimension.DECLINE,
    }  # fmt: skip
    for name, days in (("month", MONTH), ("year", YEAR)):
        found[f"sums, {name}"] = partial(store.by_day, BIG, "CNY", days)
        for question, dimension in keys.items():
            found[f"{question}, {name}"] = partial(store.by_key, BIG, "CNY", dimension, days)
        found[f"peak hours, {name}"] = partial(store.by_weekday, BIG, "CNY", days)
        found[f"payers, {name}"] = partial(store.payers, BIG, "CNY", days)
        found[f"payers by day, {name}"] = partial(store.payers_by_day, BIG, "CNY", days)
    return found


async def _timed(ask: Ask, rounds: int) -> tuple[float, float, float]:
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - begun) * 1000)
    return min(took), statistics.median(took), max(took)


async def _compare(connection: Connection, store: PostgresAnalytics) -> None:
    """The month's sums and payers from the events; raises AssertionError unless the roll-ups say the same."""
    bounds = [FIRST_MS + (day - FIRST).days * 86_400_000 for day in (MONTH.first, MONTH.last + timedelta(days=1))]
    sums = await connection.fetchrow(_MEASURED, BIG, *bounds)
    payers = await connection.fetchrow(_PAYERS, BIG, *bounds)
    assert sums is not None  # aggregates always have one row
    assert payers is not None
    assert sum((await store.by_day(BIG, "CNY", MONTH)).values(), Measures()) == Measures(*sums), "the sums differ"
    assert await store.payers(BIG, "CNY", MONTH) == Payers(*payers), "the payers differ"
    for dimension, key in _KEYS.items():
        rows = await connection.fetch(_MEASURED_BY.replace("KEY", key), BIG, *bounds)
        told = {row[0]: Measures(*tuple(row)[1:]) for row in rows}
        assert await store.by_key(BIG, "CNY", dimension, MONTH) == told, f"the sums by {dimension.name} differ"


def page(figures: Figures) -> str:
    build = (
        f"{figures.build_s:.1f} s, {figures.build_s / figures.events * 1e6:.1f} s a million"
        f" ({figures.build_processor_s / figures.events * 1e6:.1f} of processor)"
    )
    lines = [
        f"{figures.events:,} events, half of them one merchant's; rebuilding everybody's roll-ups {build};"
        f" the consumer {figures.consumer_per_s:,.0f} events/s",
        "| question | least ms | median | most | round trips | of the month from the events |",
        "|---|---|---|---|---|---|",
        f"| `SELECT 1` | | {figures.round_trip:.2f} | | 1 | |",
    ]
    lines += [
        f"| {name} | {least:.2f} | {median:.2f} | {most:.2f} | {median / figures.round_trip:.0f} |"
        f" 1/{figures.from_events / median:,.0f} |"
        for name, (least, median, most) in figures.asked.items()
    ]
    lines.append(f"| the month's sums and payers from the events | | {figures.from_events:,.0f} | | | 1 |")
    return "\n".join(lines)


async def run(events: int, rounds: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="payswitch-bench-", ignore_cleanup_errors=True) as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres", {"shared_buffers": "1GB"})
        try:
            return await measure(await server.start(), events, rounds)
        finally:
            await server.stop()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analytics", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args(arguments)
    print(page(asyncio.run(run(chosen.events, chosen.rounds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
