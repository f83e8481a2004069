"""Routing, wired: for the switch process, and for `payswitch routes`, which works on the same database."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from switch.config import Settings
from switch.ops.lifecycle import Lifecycle
from switch.routing.bin_watch import BinWatch
from switch.routing.document import PlanRefused
from switch.routing.live import LiveRouting, plan_of_settings
from switch.routing.table import RoutingTable
from switch.routing.watch import PlanWatch
from switch.store.embedded import EmbeddedPostgres
from switch.store.migrate import migrate
from switch.store.pool import create_pool
from switch.store.routing_plans import PostgresRoutingPlans
from switch.store.sessions import Pool


def settings_table(settings: Settings) -> RoutingTable:
    """Version 0: what decides while no plan is live."""
    return RoutingTable(plan_of_settings(settings.routes))


async def begin_routing(
    settings: Settings, pool: Pool, channels: Collection[str], lifecycle: Lifecycle
) -> tuple[LiveRouting, PlanWatch]:
    """With the live plan in force. A process that cannot put it in force ends with the reason."""
    table = settings_table(settings)
    live = LiveRouting(table, asyncio.get_running_loop().time)
    watch = PlanWatch(PostgresRoutingPlans(pool), live, table, channels)
    try:
        await watch.begin()
    except PlanRefused as error:
        raise SystemExit(
            f"the live routing plan cannot be put in force here; see `payswitch routes`:\n{error}"
        ) from None
    watch.start()
    lifecycle.on_close("routing plans", watch.close)
    return live, watch


async def begin_bin_tables(pool: Pool, lifecycle: Lifecycle) -> BinWatch:
    """The live plan's BIN tables, for a process without a road. One that cannot load them ends with the reason."""
    watch = BinWatch(PostgresRoutingPlans(pool))
    try:
        await watch.look()
    except PlanRefused as error:
        raise SystemExit(f"the live routing plan's BIN tables cannot be loaded:\n{error}") from None
    watch.start()
    lifecycle.on_close("bin tables", watch.close)
    return watch


@asynccontextmanager
async def opened_plans(settings: Settings) -> AsyncIterator[PostgresRoutingPlans]:
    """The database of the settings, started if it is embedded and does not run, its schema up to date."""
    url = settings.postgres_url.get_secret_value()
    embedded = None if url else EmbeddedPostgres(settings.state_dir / "postgres")
    try:
        url = await embedded.start() if embedded else url
        await migrate(url)
        pool = await create_pool(url, size=1, command_timeout_s=30.0, name="payswitch routes")
        try:
            yield PostgresRoutingPlans(pool)
        finally:
            await pool.close()
    finally:
        if embedded:
            await embedded.stop()
