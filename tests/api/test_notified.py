"""From the wallet's notification to the answer, on a real journal: asked at once, long before the next poll."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
import pytest

from switch.api.notices import Notices
from switch.api.notifications import DoorSettings, NotificationDoor
from switch.domain.authorization import FollowOnRequest
from switch.domain.money import Money
from switch.domain.states import Operation, State
from switch.payments.follow_on import FollowOns
from switch.payments.ownership import Ownership
from switch.payments.resolve import Resolver, ResolveSettings
from switch.payments.road import Road
from switch.ports import Approved, AwaitingPayer, Declined, Notice, NotificationRefused
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases

HOURS_S = 10_000.0


class Wallet:
    """Believes what says "genuine"; the scripted channel of the town does the rest."""

    name = "first"

    def read_notification(self, headers, body):
        if headers.get("Sign") != "genuine":
            raise NotificationRefused("forged")
        reference, _, refund = body.decode().partition("/")
        return Notice("first", reference, refund, event=body.decode(), said="PAID")

    def notification_answer(self, accepted):
        return (200 if accepted else 500), "text/plain", b""


@pytest.fixture
async def city(town, database):
    """The town with PostgreSQL and the door; nothing is polled for hours."""
    ownership = Ownership(PostgresLeases(database, lease_s=30), "test", 30.0, lambda: 0, lambda reason: None)
    await ownership.join()
    journal = PostgresJournal(database, reversal_after_s=0)
    world = replace(town.world, journal=journal, ownership=ownership)
    road_settings = replace(town.settings, inquiry_after_s=HOURS_S, answer_budget_ms=5_000)
    settings = ResolveSettings(
        poll_s=HOURS_S, inquiry_interval_s=HOURS_S, payer_timeout_s=HOURS_S, backoff_first_s=HOURS_S,
        backoff_max_s=HOURS_S,
    )  # fmt: skip
    road, resolver = Road(world, road_settings), Resolver(world, settings)
    resolver.start()
    door = NotificationDoor({"first": Wallet()}, Notices(journal, resolver.wake), world.clock, DoorSettings())
    port = await door.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def notify(record, sign="genuine", refund=""):
            body = record.trace["number"] + (f"/{refund}" if refund else "")
            async with session.post(
                f"/notify/first/{record.merchant_id}/{record.id.hex}", data=body, headers={"Sign": sign}
            ) as response:
                return response.status

        yield SimpleNamespace(
            road=road, first=town.first, journal=journal, notify=notify,
            follow_ons=FollowOns(world, replace(road_settings, answer_budget_ms=300)),
        )  # fmt: skip
    await door.close()
    await resolver.close()
    await road.close()


async def until(holds):
    async with asyncio.timeout(20):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


async def state_of(city, record):
    return (await city.journal.find(record.merchant_id, record.id)).state


@pytest.mark.parametrize(("answer", "state"), [(Approved(), State.APPROVED), (Declined("51"), State.DECLINED)])
async def test_a_payer_who_confirms_is_known_at_once(city, request_of, answer, state):
    city.first.script = lambda request: AwaitingPayer()
    record = await city.road.enter(request_of(), 5.0)
    assert record.state is State.AWAITING_PAYER
    city.first.script = lambda request: answer
    assert await city.notify(record) == 200

    async def known():
        return await state_of(city, record) is state

    await until(known)
    assert [each.operation for each in city.first.sent] == [Operation.SALE, Operation.INQUIRY]
    assert await city.notify(record) == 200  # the event is known, and nothing is open any more
    assert len(city.first.sent) == 2


async def test_it_says_nothing_by_itself(city, request_of):
    """Genuine, and the channel when asked does not confirm it: the payer is waited for as before."""
    city.first.script = lambda request: AwaitingPayer()
    record = await city.road.enter(request_of(), 5.0)
    assert await city.notify(record) == 200

    async def asked():
        return len(city.first.sent) == 2

    await until(asked)
    assert await state_of(city, record) is State.AWAITING_PAYER


async def test_a_forged_one_asks_nothing(city, request_of, database):
    city.first.script = lambda request: AwaitingPayer()
    record = await city.road.enter(request_of(), 5.0)
    before = await database.fetch("SELECT * FROM follow_ups")
    assert await city.notify(record, sign="forged") == 500
    assert await database.fetch("SELECT * FROM follow_ups") == before
    assert len(city.first.sent) == 1


async def test_a_refund_under_way_is_asked_about_at_once(city, request_of):
    record = await city.road.enter(request_of(), 5.0)
    city.first.script = lambda request: AwaitingPayer()
    wanted = FollowOnRequest(
        Operation.REFUND, "acme", record.merchant_id, record.id, "refund-1", record.created_time_ms, Money(500, "CNY")
    )
    refund = await city.follow_ons.carry_out(wanted)
    assert refund.state is State.UNKNOWN
    city.first.script = lambda request: Approved()
    assert await city.notify(record, refund=refund.trace["number"]) == 200

    async def refunded():
        [kept] = await city.journal.find_follow_ons(record.merchant_id, record.id)
        return kept.state is State.APPROVED

    await until(refunded)
    assert [each.operation for each in city.first.sent] == [Operation.SALE, Operation.REFUND, Operation.REFUND]
