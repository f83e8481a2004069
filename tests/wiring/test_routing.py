import json

import asyncpg
import pytest
from routing_scene import BINS

from switch.config import load
from switch.ops.lifecycle import Lifecycle
from switch.store.routing_plans import PostgresRoutingPlans
from switch.wiring.routing import begin_bin_tables, begin_routing


async def begun(database: asyncpg.Pool, content: str) -> str:
    """What readiness says of a process that starts while such a plan is live."""
    plans = PostgresRoutingPlans(database)
    version = await plans.add("x", content, "ann", 1)
    await plans.put_in_force(version, 0, "ann", 1)
    lifecycle = Lifecycle(grace_s=0)
    try:
        _, watch = await begin_routing(load(), database, ["unionpay"], lifecycle)
        return watch.state()[1]
    finally:
        lifecycle.stop("test")
        await lifecycle.run()
        await database.execute("DELETE FROM routing_plans; DELETE FROM routing_changes")


async def test_a_process_starts_with_the_live_plan(database: asyncpg.Pool) -> None:
    said = await begun(database, '{"name": "x", "rules": [{"name": "all", "channels": ["unionpay"]}]}')
    assert said == "plan 1 (x), rules: 1, PAN ranges: 0"


async def test_a_process_that_cannot_put_the_live_plan_in_force_does_not_start(database: asyncpg.Pool) -> None:
    with pytest.raises(
        SystemExit, match=r"payswitch routes(.|\n)*rules\[0\].channels\[0\]: there is no channel 'visa'"
    ):
        await begun(database, '{"name": "x", "rules": [{"name": "all", "channels": ["visa"]}]}')


async def test_a_process_without_a_road_has_the_live_plans_bin_tables(database: asyncpg.Pool) -> None:
    """A plan for channels that this process has none of."""
    plans = PostgresRoutingPlans(database)
    sha256 = await plans.add_bin_table(BINS, "ann", 1)
    rules, lifecycle = [{"name": "all", "channels": ["visa"]}], Lifecycle(grace_s=0)
    content = json.dumps({"name": "x", "bins": [{"name": "main", "sha256": sha256}], "rules": rules})
    version = await plans.add("x", content, "ann", 1)
    await plans.put_in_force(version, 0, "ann", 1)
    try:
        watch = await begin_bin_tables(database, lifecycle)
        assert [each.ranges for each in watch.tables] == [3]
        await database.execute("DELETE FROM bin_table_chunks; DELETE FROM bin_tables")
        with pytest.raises(SystemExit, match="never loaded"):
            await begin_bin_tables(database, lifecycle)
    finally:
        lifecycle.stop("test")
        await lifecycle.run()
        await database.execute(
            "DELETE FROM routing_plans; DELETE FROM routing_changes; DELETE FROM bin_table_chunks;"
            "DELETE FROM bin_tables"
        )
