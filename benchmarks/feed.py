"""`python -m benchmarks.feed`: how fast the journal's feed catches up, beside a bare INSERT … SELECT of the same rows.

In one scratch PostgreSQL with the switch's own settings. A tenth of the payments were refunded in part.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg

from switch.store.embedded import EmbeddedPostgres
from switch.store.feed import JournalFeed
from switch.store.migrate import migrate
from switch.store.partitions import ensure_partitions
from switch.store.pool import create_pool
from switch.store.sessions import Connection, Pool

T = TypeVar("T")

# One every millisecond, the last of them just now. $1: how many; $2: when the first was answered.
_PAYMENTS = """
INSERT INTO authorizations
SELECT 'merchant-' || n % 100,
       (lpad(to_hex($2::bigint + n), 12, '0') || '7' || left(md5(n::text), 3) || '8' || right(md5(n::text), 15))
           ::uuid,
       'acquirer', 'term' || n % 300, '5411', 1, 100 + n % 5000, 'CNY', 1 + n % 3, '622588******1234',
       substr(sha256(n::text::bytea), 1, 16), substr(sha256((n % 20000)::text::bytea), 1, 16),
       substr(sha256(n::text::bytea) || sha256(n::text::bytea), 1, 48), CASE WHEN n % 20 = 7 THEN 4 ELSE 3 END,
       CASE WHEN n % 20 = 7 THEN 2 ELSE 1 END, CASE WHEN n % 20 = 7 THEN '51' ELSE '00' END, 'approved', 'decide',
       'unionpay', 1, '622588 is UnionPay''s', '{"stan":"000001","transmission":"1127120000","rrn":"123456789012"}',
       '123456', '123456789012', 'reference', '', CASE WHEN n % 20 = 7 THEN 0 ELSE 100 + n % 5000 END,
       CASE WHEN n % 20 = 7 THEN 0 ELSE 100 + n % 5000 END, 0, gen_random_uuid(), $2 + n, $2 + n + 20
FROM generate_series(1, $1) AS n
"""

_REFUNDS = """
INSERT INTO follow_ons
SELECT merchant_id, gen_random_uuid(), id, acquirer_id, 5, 1, currency, fingerprint, 3, '00', 'approved', '',
       '{"out_refund_no":"r"}', created_time_ms + 1000, answered_time_ms + 1000
FROM authorizations WHERE decision = 1 AND created_time_ms % 10 = 0
"""

_BARE = """
INSERT INTO bare SELECT merchant_id, authorization_id, kind, follow_on_id, position, operation, amount_minor, currency,
    time_ms, created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, reference, payer_key, card_prefix
FROM journal_events
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds. complete_s: the second look at all of it, which finds nothing. idle_s: a step with nothing new."""

    events: int
    catch_up_s: float
    complete_s: float
    bare_s: float
    idle_s: float


async def measure(dsn: str, payments: int) -> Figures:
    await migrate(dsn)
    pool = await create_pool(dsn, size=2, command_timeout_s=600)
    try:
        connection = await asyncpg.connect(dsn)
        first_ms, now_ms = await journal_of(pool, connection, payments)
        await connection.execute("CREATE TABLE bare (LIKE journal_events INCLUDING ALL)")
        feed = JournalFeed(pool)
        catch_up_s, events = await _timed(feed.catch_up())
        complete_s, missed = await _timed(feed.complete(first_ms, now_ms))
        assert missed == 0
        idle_s, _ = await _timed(feed.step())
        begun = time.perf_counter()
        await connection.execute(_BARE)
        bare_s = time.perf_counter() - begun
        await connection.close()
        return Figures(events, catch_up_s, complete_s, bare_s, idle_s)
    finally:
        await pool.close()


async def journal_of(pool: Pool, connection: Connection, payments: int) -> tuple[int, int]:
    """Payments, one a millisecond, and the refunds; returns (before all of them, now), Unix milliseconds."""
    now_ms = int(time.time() * 1000)
    first_ms = now_ms - payments - 60_000
    await ensure_partitions(pool, now_ms, days_back=2 + payments // 86_400_000)
    await connection.execute(_PAYMENTS, payments, first_ms)
    await connection.execute(_REFUNDS)
    for table in ("authorizations", "follow_ons"):
        await connection.execute(f"VACUUM ANALYZE {table}")
    return first_ms, now_ms


async def _timed(work: Awaitable[T]) -> tuple[float, T]:
    begun = time.perf_counter()
    done = await work
    return time.perf_counter() - begun, done


def page(figures: Figures) -> str:
    def rate(seconds: float) -> str:
        return f"{figures.events / seconds:,.0f}"

    lines = [
        f"{figures.events:,} events",
        "| | s | events/s |",
        "|---|---|---|",
        f"| catching up | {figures.catch_up_s:.2f} | {rate(figures.catch_up_s)} |",
        f"| completing, nothing missed | {figures.complete_s:.2f} | {rate(figures.complete_s)} |",
        f"| bare INSERT … SELECT | {figures.bare_s:.2f} | {rate(figures.bare_s)} |",
        f"catching up takes {figures.catch_up_s / figures.bare_s:.1f} times the bare copy; an idle step"
        f" {figures.idle_s * 1000:.1f} ms",
    ]
    return "\n".join(lines)


async def run(payments: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="payswitch-bench-", ignore_cleanup_errors=True) as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres")
        try:
            return await measure(await server.start(), payments)
        finally:
            await server.stop()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--payments", type=int, default=500_000)
    print(page(asyncio.run(run(parser.parse_args(arguments).payments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
