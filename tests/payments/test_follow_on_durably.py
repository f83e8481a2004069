"""Follow-ons on a real journal: whatever happens to the process or the channel, each ends with one effect."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import pytest

from switch.domain.authorization import FollowOnRequest
from switch.domain.money import Money
from switch.domain.states import Operation, State
from switch.payments.follow_on import FollowOns
from switch.payments.ownership import Ownership
from switch.payments.resolve import Resolver, ResolveSettings
from switch.payments.road import Road
from switch.payments.world import RoadSettings
from switch.ports import Approved, Declined, Phase, Unknown
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases

PARTS = (Operation.CAPTURE, Operation.REFUND, Operation.INCREMENT)


class StillClock:
    """However long the database takes, the channel gets all of its share of the budget."""

    def time_ms(self):
        return time.time_ns() // 1_000_000

    def monotonic_s(self):
        return 0.0


@pytest.fixture
async def city(town, database):
    """The town with PostgreSQL for its journal: `road`, `follow_ons`, `resolver`, `journal`, `first` (the channel).

    A channel is silent after 50 ms. No database is too slow for the rest of the budget.
    """
    ownership = Ownership(PostgresLeases(database, lease_s=600), "test", 600.0, lambda: 0, lambda reason: None)
    await ownership.join()
    journal = PostgresJournal(database, reversal_after_s=0)
    world = replace(town.world, journal=journal, ownership=ownership, clock=StillClock())
    settings = RoadSettings(answer_budget_ms=30_000)
    road = Road(world, settings)
    follow_ons = FollowOns(world, replace(settings, answer_reserve_ms=29_950))
    resolver = Resolver(world, ResolveSettings(message_timeout_s=0.05, backoff_first_s=0.0))
    yield SimpleNamespace(
        road=road, follow_ons=follow_ons, resolver=resolver, journal=journal, first=town.first, database=database
    )
    await road.close()


def follow_on_of(record, operation, amount_minor=0):
    money = Money(amount_minor, "CNY") if amount_minor else None
    return FollowOnRequest(
        operation, "acme", record.merchant_id, record.id, uuid4().hex, time.time_ns() // 1_000_000, money
    )


async def approved(city, request_of, operation):
    held = operation in (Operation.CAPTURE, Operation.INCREMENT)
    kind = Operation.PRE_AUTHORIZATION if held else Operation.SALE
    record = await city.road.enter(request_of(operation=kind), 30.0)
    assert record.state is State.APPROVED
    return record


async def stored(city, record):
    now = await city.journal.find(record.merchant_id, record.id)
    [follow_on] = await city.journal.find_follow_ons(record.merchant_id, record.id)
    return now, follow_on


@pytest.mark.parametrize(
    ("operation", "answer", "ends", "amounts"),
    [
        (Operation.CAPTURE, Approved(), State.APPROVED, (500, 0)),
        (Operation.CAPTURE, Declined("51"), State.DECLINED, (0, 0)),
        (Operation.REFUND, Approved(), State.APPROVED, (1200, 500)),
        (Operation.REFUND, Declined("51"), State.DECLINED, (1200, 0)),
        (Operation.INCREMENT, Approved(), State.APPROVED, (0, 0)),
        (Operation.INCREMENT, Approved("10", approved_minor=200), State.APPROVED, (0, 0)),
        (Operation.INCREMENT, Declined("51"), State.DECLINED, (0, 0)),
    ],
)
async def test_silence_then_an_answer(city, request_of, operation, answer, ends, amounts):
    record = await approved(city, request_of, operation)
    wanted = follow_on_of(record, operation, 500)
    city.first.script = lambda request: None
    assert (await city.follow_ons.carry_out(wanted)).state is State.UNKNOWN
    assert await city.resolver.turn() == 1
    assert (await city.follow_ons.carry_out(wanted)).state is State.UNKNOWN
    city.first.script = lambda request: answer
    assert await city.resolver.turn() == 1
    assert await city.resolver.turn() == 0
    now, follow_on = await stored(city, record)
    assert (now.captured_minor, now.refunded_minor, follow_on.state) == (*amounts, ends)
    raised_minor = follow_on.money.amount_minor if (operation, ends) == (Operation.INCREMENT, State.APPROVED) else 0
    assert (now.approved_minor, now.incremented_minor) == (1200 + raised_minor, raised_minor)
    assert (await city.follow_ons.carry_out(wanted)).state is ends
    messages = [each for each in city.first.sent if each.operation is operation]
    assert [each.repeat for each in messages] == [0, 1, 2]
    assert [each.trace for each in messages] == [follow_on.trace] * 3


async def test_many_callers_with_the_same_refund_send_once(city, request_of):
    record = await approved(city, request_of, Operation.REFUND)
    wanted = follow_on_of(record, Operation.REFUND, 500)
    answers = await asyncio.gather(*(city.follow_ons.carry_out(wanted) for _ in range(6)))
    assert State.APPROVED in {each.state for each in answers} <= {State.APPROVED, State.UNKNOWN}
    assert [each.operation for each in city.first.sent].count(Operation.REFUND) == 1
    assert (await stored(city, record))[0].refunded_minor == 500


@pytest.mark.parametrize("operation", [*PARTS, Operation.VOID, Operation.REVERSAL])
async def test_killed_after_sending(city, request_of, operation):
    """The intent is all that is left; another process takes it over after a minute and ends it."""
    record = await approved(city, request_of, operation)
    sent = asyncio.Event()
    city.first.script = lambda request: sent.set()
    amount_minor = 500 if operation in PARTS else 0
    caller = asyncio.create_task(city.follow_ons.carry_out(follow_on_of(record, operation, amount_minor)))
    await sent.wait()
    for work in city.follow_ons._working:
        work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await stored(city, record))[1].state is State.SENT
    await city.database.execute("UPDATE follow_ons SET created_time_ms = created_time_ms - 61000")
    await city.resolver.take_over()
    city.first.script = lambda request: Approved()
    assert await city.resolver.turn() == 1
    now, follow_on = await stored(city, record)
    assert follow_on.state is State.APPROVED
    undone = operation in (Operation.VOID, Operation.REVERSAL)
    assert now.state is (State.REVERSED if undone else State.APPROVED)


async def test_an_early_reversal_is_sent_by_the_resolver_alone(city, request_of):
    city.first.script = lambda request: Unknown(Phase.SENT, "silent")
    record = await city.road.enter(request_of(), 30.0)
    city.first.script = lambda request: Declined("12")
    done = await city.follow_ons.carry_out(follow_on_of(record, Operation.REVERSAL))
    assert done.state is State.UNKNOWN
    assert [each.operation for each in city.first.sent] == [Operation.SALE]
    await city.resolver.turn()  # still too early for this channel
    city.first.script = lambda request: Approved()
    await city.resolver.turn()
    now, follow_on = await stored(city, record)
    assert (now.state, follow_on.state) == (State.REVERSED, State.APPROVED)
