"""`python -m benchmarks.followers`: what each follower of the journal costs an event, and how long it holds the loop.

In one scratch PostgreSQL with the switch's own settings: payments of a hundred merchants, a tenth of them refunded in
part, one merchant in ten with a webhook endpoint and one payment in fifty of an order. Statistics are gathered when a
half of the events is worked, as they are in life. The followers go one after the other, as fast as they can.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.feed import journal_of
from benchmarks.processor import family_s, postmaster_of
from benchmarks.settlement import AfterTheDay
from benchmarks.settlement_day import Merchants
from switch.routing.card_types import BinCardTypes
from switch.store.analytics_rollups import analytics_consumer
from switch.store.embedded import EmbeddedPostgres
from switch.store.feed import JournalFeed
from switch.store.feed_consumer import FeedConsumer, Span
from switch.store.ledger_follower import LedgerFollower
from switch.store.migrate import migrate
from switch.store.order_work import apply_events
from switch.store.pool import create_pool
from switch.store.refunds import finish_from_feed
from switch.store.sessions import Connection, Pool
from switch.store.transactions import project
from switch.store.webhooks import queue_events

_ENDPOINTS = """
INSERT INTO webhook_endpoints
SELECT 'merchant-' || n, gen_random_uuid(), 'https://shop.example/hook', '', '{*}', 1, '\\x00', '\\x', 0, 0, 0, 0, 0
FROM generate_series(0, 99, 10) AS n
"""
_ORDERS = """
INSERT INTO order_payments
SELECT merchant_id, id, gen_random_uuid(), acquirer_id, 'card', '', '', 1, '', created_time_ms, 3, '', '00', '', 0, 0,
       0, 0, 0, 0, 0
FROM authorizations WHERE created_time_ms % 50 = 0
"""
# What the followers write: its statistics come, in life, once there is something in it.
_WRITTEN = (
    "ANALYZE ledger_entries, ledger_volumes, merchant_transactions, analytics_days, analytics_payers, order_payments"
)

Step = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Cost:
    """events: worked. The others in seconds; held: the longest that the loop was not given back."""

    events: int
    took: float
    python: float
    postgres: float
    held: float

    def row(self, name: str) -> str:
        each = 1e6 / max(1, self.events)
        return (
            f"| {name} | {self.events:,} | {self.events / self.took:,.0f} | {self.python * each:.0f} |"
            f" {self.postgres * each:.0f} | {self.held * 1000:.1f} |"
        )


class Held:
    """The longest that one callback ran, in processor time: what everybody else on the loop had to wait for at once."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._run = asyncio.Handle._run

    def __enter__(self) -> "Held":
        def timed(handle: asyncio.Handle) -> None:
            begun = time.thread_time()
            self._run(handle)
            self.longest_s = max(self.longest_s, time.thread_time() - begun)

        asyncio.Handle._run = timed  # type: ignore[assignment, method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]


async def measure(dsn: str, postmaster: int, payments: int) -> dict[str, Cost]:
    await migrate(dsn)
    pool = await create_pool(dsn, size=2, command_timeout_s=60)
    connection = await asyncpg.connect(dsn)
    try:
        await journal_of(pool, connection, payments)
        await connection.execute(_ENDPOINTS)
        await connection.execute(_ORDERS)
        feed = JournalFeed(pool)

        async def fed() -> int:
            while True:
                step = await feed.step()
                if step.events or not step.more:
                    return step.events

        costs = {"feed": await _cost(fed, postmaster)}
        events = costs["feed"].events
        await connection.execute("ANALYZE journal_events")
        for name, consumer in _consumers(pool).items():
            first = await _cost(consumer.step, postmaster, events // 2)
            await connection.execute(_WRITTEN)
            costs[f"{name}, first half"] = first
            costs[f"{name}, second half"] = await _cost(consumer.step, postmaster)
        return costs
    finally:
        await connection.close()
        await pool.close()


def _consumers(pool: Pool) -> dict[str, FeedConsumer]:
    return {
        "analytics": analytics_consumer(pool),
        "transactions": FeedConsumer(pool, "transactions", _transactions),
        "webhooks": FeedConsumer(pool, "webhooks", queue_events),
        "orders": FeedConsumer(pool, "orders", apply_events),
        "ledger": LedgerFollower(pool, Merchants(), BinCardTypes(tuple), AfterTheDay()),
    }


async def _transactions(connection: Connection, span: Span) -> None:
    await project(connection, span)
    await finish_from_feed(connection, span)


async def _cost(step: Step, postmaster: int, enough: int = sys.maxsize) -> Cost:
    """Of as many steps as work so many events, or all that are left."""
    events, begun, python_s, postgres_s = 0, time.perf_counter(), time.process_time(), family_s(postmaster)
    with Held() as held:
        while events < enough and (count := await step()):
            events += count
    took_s, python_s = time.perf_counter() - begun, time.process_time() - python_s
    return Cost(events, took_s, python_s, family_s(postmaster) - postgres_s, held.longest_s)


def page(costs: dict[str, Cost]) -> str:
    head = "| follower | events | events/s | process µs an event | PostgreSQL µs | loop held at most ms |"
    return "\n".join([head, "|---|---|---|---|---|---|", *(cost.row(name) for name, cost in costs.items())])


async def run(payments: int) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory(prefix="payswitch-bench-", ignore_cleanup_errors=True) as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres")
        try:
            dsn = await server.start()
            return await measure(dsn, await postmaster_of(dsn), payments)
        finally:
            await server.stop()


def main(arguments: list[str] | None = None) -> int:
    # As the switch does: what is there at the start is not looked through again.
    gc.set_threshold(50_000, 20, 20)
    gc.freeze()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.followers", description=__doc__)
    parser.add_argument("--payments", type=int, default=200_000)
    print(page(asyncio.run(run(parser.parse_args(arguments).payments))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
