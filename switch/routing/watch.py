"""Follows the live plan: asks the database about once a second, loads in a thread, exchanges one reference."""

import asyncio
import hashlib
import mmap
from collections.abc import Collection
from functools import partial

import structlog

from switch.following import VersionWatch
from switch.ports import RoutingPlans
from switch.routing.bins import BinTable, BinTableRefused
from switch.routing.check import usable_table
from switch.routing.document import Fault, PlanRefused, read_plan
from switch.routing.live import LiveRouting
from switch.routing.metrics import CHANNEL_FAILING, PLAN_RANGES, PLAN_REFUSALS, PLAN_VERSION
from switch.routing.plan import BinReference, Plan
from switch.routing.table import RoutingTable

log = structlog.get_logger()


class PlanWatch:
    """Keeps `live` at the version that the database says.

    A plan that cannot be put in force here changes nothing: the one before goes on deciding, and readiness tells.
    settings_table: version 0. channels: those of this process.
    """

    def __init__(
        self,
        plans: RoutingPlans,
        live: LiveRouting,
        settings_table: RoutingTable,
        channels: Collection[str],
        interval_s: float = 1.0,
    ) -> None:
        self._plans = plans
        self._live = live
        self._settings_table = settings_table
        self._channels = channels
        self._bins: dict[str, BinTable] = {}  # of the plan in force, by SHA-256
        self._versions = VersionWatch("routing_plan", plans.live_version, self._put_in_force, PLAN_REFUSALS, interval_s)

    async def begin(self) -> None:
        """Put the live plan in force before anything is decided. Raises PlanRefused, StoreUnavailable."""
        for channel in self._channels:
            CHANNEL_FAILING.labels(channel).set_function(partial(self._is_failing, channel))
        await self._versions.begin()

    def _is_failing(self, channel: str) -> float:
        return float(self._live.success.failing_percent(channel) is not None)

    def start(self) -> None:
        self._versions.start()

    async def close(self) -> None:
        await self._versions.close()

    async def look(self) -> None:
        """Once: if another version is live, put it in force. Never raises; what was refused is not tried again."""
        await self._versions.look()

    def state(self) -> tuple[bool, str]:
        """(whether the live plan is in force, a line for an operator)."""
        table = self._live.table
        text = f"plan {table.version} ({table.plan.name}), rules: {len(table.plan.rules)}, PAN ranges: {table.ranges}"
        if self._versions.refused is None:
            return True, text
        version, reason = self._versions.refused
        return False, f"plan {version} is live but not in force here: {reason}; in force: {text}"

    async def _put_in_force(self, version: int) -> None:
        table, bins = await self._load(version)
        self._live.put_in_force(table)
        self._bins = bins
        PLAN_VERSION.set(version)
        PLAN_RANGES.set(table.ranges)
        log.info("routing_plan_in_force", version=version, name=table.plan.name, rules=len(table.plan.rules))

    async def _load(self, version: int) -> tuple[RoutingTable, dict[str, BinTable]]:
        if version == 0:
            return self._settings_table, {}
        stored = await self._plans.find(version)
        if stored is None:
            raise PlanRefused("missing", [Fault("", f"there is no plan of version {version}")])
        plan = await asyncio.to_thread(read_plan, stored.content)
        tables = {each.sha256: await self._bin_table(each, index) for index, each in enumerate(plan.bins)}
        return await asyncio.to_thread(self._table, plan, version, tables), tables

    def _table(self, plan: Plan, version: int, tables: dict[str, BinTable]) -> RoutingTable:
        return usable_table(plan, version, {each.name: tables[each.sha256] for each in plan.bins}, self._channels)

    async def _bin_table(self, reference: BinReference, index: int) -> BinTable:
        """The one of the plan in force, if that names the same."""
        if reference.sha256 in self._bins:
            return self._bins[reference.sha256]
        return await read_bin_table(self._plans, reference, index)


async def read_bin_table(plans: RoutingPlans, reference: BinReference, index: int) -> BinTable:
    """From the database, chunk by chunk, so that nobody waits long for the event loop. Raises PlanRefused."""
    place = f"bins[{index}]"
    size = await plans.bin_table_chunks(reference.sha256)
    if size is None:
        raise PlanRefused("bins", [Fault(place, f"the table {reference.name} was never loaded")])
    # Pages that nobody has touched yet cost nothing, a bytearray of that size would be filled with zeros here.
    memory = mmap.mmap(-1, max(1, size[0]))
    for number in range(size[1]):
        memory.write(await plans.bin_table_chunk(reference.sha256, number))
    return await asyncio.to_thread(bin_table_of, memory, reference, place)


def bin_table_of(data: bytes | mmap.mmap, reference: BinReference, place: str) -> BinTable:
    """The table in that file. Raises PlanRefused for another file than the plan names, and for one that is wrong."""
    if hashlib.sha256(data).hexdigest() != reference.sha256:
        raise PlanRefused("bins", [Fault(place, f"the SHA-256 of {reference.name} is not the one that the plan names")])
    try:
        return BinTable(data)
    except BinTableRefused as error:
        raise PlanRefused("bins", [Fault(f"{place} ({reference.name})", str(error))]) from None
