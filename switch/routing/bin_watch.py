"""The BIN tables of the live plan, for a process that routes nothing: who prices payments asks them for card types."""

import asyncio
from collections.abc import Sequence

import structlog

from switch.ports import RoutingPlans, StoreUnavailable
from switch.routing.bins import BinTable
from switch.routing.document import Fault, PlanRefused, read_plan
from switch.routing.watch import read_bin_table

log = structlog.get_logger()


class BinWatch:
    """tables: of the plan that is live, another sequence for another plan; none while no plan is."""

    def __init__(self, plans: RoutingPlans, interval_s: float = 60.0) -> None:
        self._plans = plans
        self._interval_s = interval_s
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self.tables: Sequence[BinTable] = ()

    async def look(self) -> None:
        """Once: load the tables of another plan, if one is live. Raises PlanRefused, StoreUnavailable: as before."""
        version = await self._plans.live_version()
        if version == self._version:
            return
        self.tables, self._version = await self._load(version), version
        log.info("bin_tables_loaded", version=version, ranges=sum(each.ranges for each in self.tables))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="bin tables")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _load(self, version: int) -> Sequence[BinTable]:
        if version == 0:
            return ()
        stored = await self._plans.find(version)
        if stored is None:
            raise PlanRefused("missing", [Fault("", f"there is no plan of version {version}")])
        plan = await asyncio.to_thread(read_plan, stored.content)
        return [await read_bin_table(self._plans, each, index) for index, each in enumerate(plan.bins)]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except (PlanRefused, StoreUnavailable) as error:
                log.warning("bin_tables_not_loaded", reason=str(error))
            except Exception:
                log.exception("bin_tables_failed")
