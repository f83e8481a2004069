"""What every switch process stands on, whichever services it serves: clock, PostgreSQL, Redis, the HSM."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from switch.config import Settings
from switch.ops.lifecycle import Lifecycle
from switch.risk.blocks import DoorBlocks
from switch.risk.signal_watch import SignalWatch
from switch.store.counters import RedisCounters
from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis
from switch.store.migrate import migrate as migrate_database
from switch.store.partitions import ensure_partitions, keep_partitions
from switch.store.pool import create_pool
from switch.store.risk_cases import PostgresAlerts
from switch.store.sessions import Pool
from switch.wiring.hsm import HsmAccess, open_hsm
from switch.wiring.signals import open_signals


class SystemClock:
    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Foundation:
    """followers: connections for who follows the journal; the pool where nobody does. watch: hears of every signal.
    blocks: whom no door lets in.
    """

    settings: Settings
    lifecycle: Lifecycle
    clock: SystemClock
    pool: Pool
    followers: Pool
    redis_url: str
    counters: RedisCounters
    hsm: HsmAccess
    watch: SignalWatch
    blocks: DoorBlocks


async def open_foundation(settings: Settings, lifecycle: Lifecycle) -> Foundation:
    clock = SystemClock()
    postgres_url, redis_url = await servers(settings, lifecycle)
    await migrate_database(postgres_url)
    pool = await create_pool(postgres_url)
    lifecycle.on_close("postgres", pool.close)
    followers = await _followers(settings, postgres_url, pool, lifecycle)
    await ensure_partitions(pool, clock.time_ms())
    keeper = asyncio.create_task(keep_partitions(pool), name="partitions")
    lifecycle.on_close("partitions", lambda: cancelled(keeper))
    counters = RedisCounters(redis_url)
    lifecycle.on_close("counters", counters.close)
    hsm = await open_hsm(settings, lifecycle)
    watch, blocks = open_signals(settings, lifecycle, clock, redis_url, PostgresAlerts(pool))
    return Foundation(settings, lifecycle, clock, pool, followers, redis_url, counters, hsm, watch, blocks)


async def _followers(settings: Settings, postgres_url: str, pool: Pool, lifecycle: Lifecycle) -> Pool:
    """Connections for who follows the journal: few, so that the road's are never lent out, and patient."""
    if not set(settings.services) - {"authorization", "operations"}:
        return pool
    followers = await create_pool(
        postgres_url, size=2, command_timeout_s=10.0, name="payswitch followers", durable_at_once=False
    )
    lifecycle.on_close("followers' postgres", followers.close)
    return followers


async def servers(settings: Settings, lifecycle: Lifecycle) -> tuple[str, str]:
    """The URLs of PostgreSQL and Redis; what has none is started here and stopped at the end."""
    postgres_url = settings.postgres_url.get_secret_value()
    redis_url = settings.redis_url.get_secret_value()
    if not postgres_url:
        postgres = EmbeddedPostgres(settings.state_dir / "postgres")
        postgres_url = await postgres.start()
        lifecycle.on_close("embedded postgres", postgres.stop, timeout_s=20)
    if not redis_url:
        redis = EmbeddedRedis(settings.state_dir / "redis")
        redis_url = await redis.start()
        lifecycle.on_close("embedded redis", redis.stop, timeout_s=10)
    return postgres_url, redis_url


def closing(close: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def closed() -> None:
        close()

    return closed


async def cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
