"""The live plan is followed: loaded, exchanged, refused; the one before goes on deciding."""

import asyncio
import hashlib
import time

import pytest
from prometheus_client import REGISTRY
from routing_scene import BINS, BINS_SHA256, CHANNELS, MemoryPlans, decide, plan_from

from switch.ports import Phase, Unknown
from switch.routing.document import PlanRefused
from switch.routing.live import LiveRouting
from switch.routing.table import RoutingTable
from switch.routing.watch import PlanWatch


@pytest.fixture
def plans():
    return MemoryPlans()


@pytest.fixture
def live():
    return LiveRouting(RoutingTable(plan_from()), time.monotonic)


@pytest.fixture
def watch(plans, live):
    return PlanWatch(plans, live, live.table, CHANNELS)


def content(channel="alipay", **fields):
    rule = {"name": "new", "channels": [channel]}
    return plan_from(**{"rules": [rule]} | fields).model_dump_json()


def refusals(cause):
    return REGISTRY.get_sample_value("payswitch_routing_refusals_total", {"cause": cause}) or 0.0


def version_shown():
    return REGISTRY.get_sample_value("payswitch_routing_plan_version")


async def test_without_a_live_plan_the_settings_decide(plans, live, watch):
    await watch.begin()
    await watch.look()
    assert decide(live.table).channels == ("unionpay",)
    assert watch.state() == (True, "plan 0 (test), rules: 1, PAN ranges: 0")
    assert version_shown() == 0


async def test_a_plan_that_goes_live_is_put_in_force_and_taken_back(plans, live, watch):
    await watch.begin()
    plans.contents, plans.live = {3: content()}, 3
    await watch.look()
    assert decide(live.table).channels == ("alipay",)
    assert decide(live.table).explanation == "plan 3, rule new: alipay"
    assert version_shown() == 3
    plans.live = 0
    await watch.look()
    assert decide(live.table).channels == ("unionpay",)


async def test_a_new_process_begins_with_the_live_plan(plans, live, watch):
    plans.contents, plans.live = {3: content()}, 3
    await watch.begin()
    assert live.table.version == 3


async def test_a_new_process_does_not_begin_without_the_live_plan(plans, watch):
    plans.contents, plans.live = {3: content("visa")}, 3
    with pytest.raises(PlanRefused, match="there is no channel 'visa'"):
        await watch.begin()


async def test_what_does_not_change_is_not_read_again(plans, watch):
    plans.contents, plans.live = {3: content()}, 3
    await watch.begin()
    for _ in range(3):
        await watch.look()
    assert plans.plans_read == 1


@pytest.mark.parametrize(
    ("stored", "cause", "reason"),
    [
        (None, "missing", "there is no plan of version 4"),
        ("{", "syntax", "neither TOML nor JSON"),
        ("{}", "shape", "name: Field required"),
        (content("visa"), "rules", "there is no channel 'visa'"),
        (content(bins=[{"name": "main", "sha256": "0" * 64}]), "bins", "the table main was never loaded"),
    ],
)
async def test_a_plan_that_fails_here_changes_nothing_and_is_told(plans, live, watch, stored, cause, reason):
    plans.contents, plans.live = {3: content()}, 3
    await watch.begin()
    before = refusals(cause)
    plans.contents |= {} if stored is None else {4: stored}
    plans.live = 4
    for _ in range(3):
        await watch.look()
    assert decide(live.table).explanation == "plan 3, rule new: alipay"
    assert refusals(cause) == before + 1
    in_force, detail = watch.state()
    assert not in_force
    assert reason in detail
    assert "plan 4 is live but not in force here" in detail
    assert "in force: plan 3" in detail
    assert version_shown() == 3
    plans.live = 3
    await watch.look()
    assert watch.state()[0]


async def test_bin_tables_come_in_chunks_and_stay_while_a_plan_names_them(plans, live, watch):
    bins = [{"name": "main", "sha256": BINS_SHA256}]
    rules = [
        {"name": "debit", "when": {"card_type": ["debit"]}, "channels": ["issuer:bank"]},
        {"name": "rest", "channels": ["unionpay"]},
    ]
    plans.contents = {version: plan_from(bins=bins, rules=rules).model_dump_json() for version in (1, 2)}
    plans.live = 1
    await watch.begin()
    assert decide(live.table, card="622588").channels == ("issuer:bank",)
    assert decide(live.table, card="622589").channels == ("unionpay",)
    assert REGISTRY.get_sample_value("payswitch_routing_bin_ranges") == 3
    read = plans.chunks_read
    plans.live = 2
    await watch.look()
    assert live.table.version == 2
    assert plans.chunks_read == read == len(plans.chunks)


@pytest.mark.parametrize("spoilt", [b"\n62,,16,x,", b"", b"#"])
async def test_a_bin_table_that_changed_in_the_store_is_refused(plans, live, watch, spoilt):
    plans.contents = {1: content(bins=[{"name": "main", "sha256": BINS_SHA256}])}
    plans.chunks[-2] = spoilt
    await watch.begin()
    before, plans.live = refusals("bins"), 1
    await watch.look()
    assert live.table.version == 0
    assert refusals("bins") == before + 1
    assert "the SHA-256 of main is not the one that the plan names" in watch.state()[1]


async def test_a_bin_table_with_a_wrong_line_is_refused_with_the_line(plans, live, watch):
    bad = BINS + b"62,x,16,y,,,,\n"
    sha256 = hashlib.sha256(bad).hexdigest()
    plans.chunks = [bad]

    async def size(wanted):
        return len(bad), 1

    plans.bin_table_chunks = size
    plans.contents, plans.live = {1: content(bins=[{"name": "main", "sha256": sha256}])}, 1
    with pytest.raises(PlanRefused, match=r"bins\[0\] \(main\): line 5: high is neither empty nor 1 to 19 digits"):
        await watch.begin()


async def test_an_outage_of_the_store_changes_nothing(plans, live, watch):
    plans.contents, plans.live = {3: content()}, 3
    await watch.begin()
    before, plans.down = refusals("store"), True
    await watch.look()
    assert live.table.version == 3
    assert refusals("store") == before + 1
    plans.down, plans.contents[4], plans.live = False, content(), 4
    await watch.look()
    assert live.table.version == 4


async def test_a_fault_of_ours_changes_nothing(plans, live, watch, monkeypatch):
    await watch.begin()
    monkeypatch.setattr("switch.routing.watch.usable_table", lambda *_: 1 / 0)
    plans.contents, plans.live = {3: content()}, 3
    await watch.look()
    assert live.table.version == 0
    assert watch.state()[1].startswith("plan 3 is live but not in force here: ZeroDivisionError")


async def test_it_follows_by_itself(plans, live):
    watch = PlanWatch(plans, live, live.table, CHANNELS, interval_s=0.001)
    await watch.begin()
    watch.start()
    plans.contents, plans.live = {3: content()}, 3
    put_in_force, changed = live.put_in_force, asyncio.Event()

    def told(table):
        put_in_force(table)
        changed.set()

    live.put_in_force = told
    await changed.wait()
    await watch.close()
    assert live.table.version == 3


async def test_a_failing_channel_is_shown(plans, live, watch):
    plans.contents, plans.live = {3: content(success={"least_percent": 50, "least_results": 1})}, 3
    await watch.begin()
    labels = {"channel": "alipay"}
    assert REGISTRY.get_sample_value("payswitch_routing_channel_failing", labels) == 0
    live.observe("alipay", Unknown(Phase.SENT, "silent"))
    assert REGISTRY.get_sample_value("payswitch_routing_channel_failing", labels) == 1
