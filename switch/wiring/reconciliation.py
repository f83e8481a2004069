"""The wiring of reconciliation: the bills of this process's channels, slow connections of its own, the runner."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg

from payswitch.v1 import reconciliation_pb2 as pb
from switch.api.reconciliation_service import ReconciliationServicer
from switch.config import Settings
from switch.domain.bill import Bill
from switch.domain.reconciliation import Run
from switch.ops.metrics import BILLS_SUPERSEDED
from switch.ports import BilledChannel
from switch.settlement.breaks import Breaks
from switch.settlement.daily import DailyReconciliation
from switch.settlement.reconcile import Reconciliations, Rules
from switch.store.breaks import PostgresBreaks
from switch.store.embedded import EmbeddedPostgres
from switch.store.pool import create_pool
from switch.store.reconciliation import PostgresReconciliation
from switch.store.sessions import Connection
from switch.wiring.foundation import SystemClock
from switch.wiring.platform import Platform, Served


def open_reconciliation(platform: Platform) -> Sequence[Served]:
    """The service, and the daily runner where this process has channels with bills."""
    section, lifecycle = platform.settings.reconciliation, platform.lifecycle
    store = PostgresReconciliation(platform.pool, own_connections(platform.settings))
    bills = {name: each for name, each in platform.channels.items() if isinstance(each, BilledChannel)}
    rules = Rules(tolerance_s=section.tolerance_s, early=platform.settings.settlement.early_close)
    work = Reconciliations(store, bills, platform.clock, rules, lambda channel: BILLS_SUPERSEDED.labels(channel).inc())
    if bills and section.daily:
        daily = DailyReconciliation(work, platform.clock, section.first_hour)
        daily.start()
        lifecycle.on_close("daily reconciliation", daily.close)
    breaks = Breaks(PostgresBreaks(platform.pool), platform.clock)
    servicer = ReconciliationServicer(work, store, breaks, platform.clock)
    return [Served(pb.DESCRIPTOR.services_by_name["ReconciliationService"], servicer)]


def own_connections(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Connection]]:
    """Connections outside the pool, for what takes long: planned by statistics, without a time-out."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        async with _database(settings) as url:
            options = {"application_name": "payswitch-reconciliation"}
            connection = await asyncpg.connect(url, timeout=10, server_settings=options)
            try:
                yield connection
            finally:
                await connection.close()

    return connect


async def reconcile_once(settings: Settings, bill: Bill, tolerance_s: float, who: str) -> Run:
    """Beside a running switch, in a process of its own. Raises as `Reconciliations.run`, and asyncpg's errors."""
    async with _database(settings) as url:
        pool = await create_pool(url, size=1, name="payswitch-reconciliation")
        try:
            store = PostgresReconciliation(pool, own_connections(settings))
            work = Reconciliations(store, {}, SystemClock(), Rules(tolerance_s=tolerance_s))
            return await work.run(bill.channel, bill.day, who, bill)
        finally:
            await pool.close()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    url = settings.postgres_url.get_secret_value()
    embedded = None
    if not url:
        embedded = EmbeddedPostgres(settings.state_dir / "postgres")
        url = await embedded.start()
    try:
        yield url
    finally:
        if embedded is not None:
            await embedded.stop()
