"""Plans and BIN tables in PostgreSQL: at most one is live, whoever is at it."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from switch.domain.routing_plan import PlanChange, PlanState
from switch.store import routing_plans
from switch.store.routing_plans import AnotherWasFaster, PostgresRoutingPlans, UnknownPlan


@pytest.fixture
async def plans(database: asyncpg.Pool) -> AsyncIterator[PostgresRoutingPlans]:
    yield PostgresRoutingPlans(database)
    await database.execute(
        "DELETE FROM routing_plans; DELETE FROM routing_changes; DELETE FROM bin_table_chunks; DELETE FROM bin_tables"
    )


async def test_a_plan_is_kept_as_it_was_loaded(plans: PostgresRoutingPlans) -> None:
    assert await plans.add("first", "name = 'first'\n规则", "ann", 1_000) == 1
    found = await plans.find(1)
    assert found is not None
    assert (found.name, found.content, found.state) == ("first", "name = 'first'\n规则", PlanState.DRAFT)
    assert (found.created_by, found.created_time_ms, found.changed_by) == ("ann", 1_000, "ann")
    assert await plans.find(2) is None
    assert await plans.live_version() == 0


async def test_a_plan_goes_live_and_the_one_before_retires(plans: PostgresRoutingPlans) -> None:
    for name in ("a", "b"):
        await plans.add(name, name, "ann", 1_000)
    await plans.put_in_force(1, 0, "bob", 2_000)
    await plans.put_in_force(2, 1, "eve", 3_000)
    assert await plans.live_version() == 2
    first, second = await plans.all()
    assert (first.state, first.changed_by, first.changed_time_ms) == (PlanState.RETIRED, "eve", 3_000)
    assert (second.state, second.changed_by) == (PlanState.LIVE, "eve")
    assert await plans.last_change() == PlanChange(2, 1, "eve", 3_000)


async def test_back_to_the_settings_routes(plans: PostgresRoutingPlans) -> None:
    await plans.add("a", "a", "ann", 1_000)
    await plans.put_in_force(1, 0, "ann", 1_000)
    await plans.put_in_force(0, 1, "ann", 2_000)
    assert await plans.live_version() == 0
    assert await plans.last_change() == PlanChange(0, 1, "ann", 2_000)


async def test_who_looked_at_another_live_plan_changes_nothing(plans: PostgresRoutingPlans) -> None:
    for name in ("a", "b"):
        await plans.add(name, name, "ann", 1_000)
    await plans.put_in_force(1, 0, "ann", 1_000)
    with pytest.raises(AnotherWasFaster, match="version 1 is in force now, not 0"):
        await plans.put_in_force(2, 0, "bob", 2_000)
    assert await plans.live_version() == 1
    assert await plans.last_change() == PlanChange(1, 0, "ann", 1_000)


async def test_what_does_not_exist_is_not_put_in_force(plans: PostgresRoutingPlans) -> None:
    with pytest.raises(UnknownPlan):
        await plans.put_in_force(9, 0, "ann", 1_000)
    assert await plans.last_change() is None


async def test_many_at_once_leave_one_live_and_a_whole_record(plans: PostgresRoutingPlans) -> None:
    versions = await asyncio.gather(*(plans.add(f"p{n}", "x", "ann", n) for n in range(8)))
    assert sorted(versions) == list(range(1, 9))
    outcomes = await asyncio.gather(
        *(plans.put_in_force(version, 0, "ann", 1) for version in versions), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert all(isinstance(each, AnotherWasFaster) for each in outcomes if each is not None)
    assert [each.state for each in await plans.all()].count(PlanState.LIVE) == 1


async def test_a_bin_table_is_kept_in_chunks_once(
    plans: PostgresRoutingPlans, database: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing_plans, "CHUNK_BYTES", 100)
    data = os.urandom(1_050)
    sha256 = hashlib.sha256(data).hexdigest()
    assert await plans.bin_table_chunks(sha256) is None
    assert [await plans.add_bin_table(data, "ann", 1) for _ in range(2)] == [sha256] * 2
    assert await plans.bin_table_chunks(sha256) == (1_050, 11)
    assert b"".join([await plans.bin_table_chunk(sha256, number) for number in range(11)]) == data
    assert await plans.bin_table_chunk(sha256, 11) == b""
    assert await database.fetchval("SELECT count(*) FROM bin_table_chunks") == 11
