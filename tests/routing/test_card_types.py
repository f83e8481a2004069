"""What is known of a card's type from its first six digits, and from which plan."""

from collections.abc import Sequence

import pytest
from routing_scene import BINS, BINS_SHA256, HEADER, MemoryPlans, plan_from

from switch.ports import StoreUnavailable
from switch.routing.bin_watch import BinWatch
from switch.routing.bins import BinTable
from switch.routing.card_types import BinCardTypes
from switch.routing.document import PlanRefused

FIRST = BinTable(BINS)
SECOND = BinTable(HEADER + b"622588,,16,x,,,credit,\n356600,,16,jcb,,,charge,\n")


def test_the_first_table_that_knows_the_card_decides() -> None:
    types = BinCardTypes(lambda: tables)
    tables = [FIRST, SECOND]
    assert [types.of(each) for each in ("622588", "356600", "411111", "622599", "510000", "")] == [
        "debit", "charge", "credit", "", "", "",
    ]  # fmt: skip


def test_another_plan_has_other_tables() -> None:
    tables: Sequence[BinTable] = (FIRST,)
    types = BinCardTypes(lambda: tables)
    assert types.of("622588") == types.of("622588") == "debit"
    tables = (SECOND,)
    assert types.of("622588") == "credit"
    tables = ()
    assert types.of("622588") == ""


def content(sha256: str = BINS_SHA256) -> str:
    return plan_from(bins=[{"name": "main", "sha256": sha256}]).model_dump_json()


async def test_a_process_without_a_road_loads_the_live_plans_tables() -> None:
    plans = MemoryPlans()
    watch = BinWatch(plans)
    types = BinCardTypes(lambda: watch.tables)
    await watch.look()
    assert types.of("622588") == ""
    plans.contents, plans.live = {3: content()}, 3
    await watch.look()
    assert types.of("622588") == "debit"
    read = plans.chunks_read
    await watch.look()
    assert plans.chunks_read == read
    plans.live = 0
    await watch.look()
    assert types.of("622588") == ""


async def test_tables_that_cannot_be_had_leave_those_before() -> None:
    plans = MemoryPlans()
    plans.contents, plans.live = {3: content(), 4: content("0" * 64)}, 3
    watch = BinWatch(plans)
    await watch.look()
    before = watch.tables
    for version in (4, 5):
        plans.live = version
        with pytest.raises(PlanRefused):
            await watch.look()
    plans.down = True
    with pytest.raises(StoreUnavailable):
        await watch.look()
    assert watch.tables is before
    assert [each.ranges for each in before] == [3]
