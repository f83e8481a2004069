"""Reversals and inquiries run until the end, and only the channel's own word ends them."""

import asyncio

import pytest

from switch.domain.states import Decision, EntryMode, Operation, State
from switch.payments.resolve import Resolver, ResolveSettings
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown


async def unknown_record(town, request_of):
    town.first.script = lambda request: None
    return await town.road.enter(request_of(), 0.05)


def resolver_of(town, **changes):
    return Resolver(town.world, ResolveSettings(message_timeout_s=0.05, **changes))


async def test_a_reversal_carries_the_original_and_ends_reversed(town, request_of):
    record = await unknown_record(town, request_of)
    town.first.script = lambda request: Approved()
    await resolver_of(town).turn()
    reversal = town.first.sent[-1]
    assert reversal.operation is Operation.REVERSAL
    assert reversal.authorization.trace == record.trace
    assert reversal.credential.pan.reveal() == "6225880000000005"
    assert town.events[-2:] == ["trace durable", "sent"]
    row = town.journal.rows[record.merchant_id, record.id]
    assert (row.state, row.decision) == (State.REVERSED, Decision.UNKNOWN)


@pytest.mark.parametrize("result", [None, Declined("96"), Unknown(Phase.SENT, "silent"), Unknown(Phase.NOT_SENT, "-")])
async def test_a_reversal_is_repeated_with_the_same_identifiers_until_taken(town, request_of, result):
    await unknown_record(town, request_of)
    town.first.script = lambda request: result
    resolver = resolver_of(town)
    await resolver.turn()
    town.first.script = lambda request: Approved()
    await resolver.turn()
    first, second = town.first.sent[-2:]
    assert (first.repeat, second.repeat) == (0, 1)
    assert first.trace == second.trace
    assert [each.state for each in town.journal.rows.values()] == [State.REVERSED]


async def test_a_reversal_never_expires_silently(town, request_of):
    await unknown_record(town, request_of)
    town.first.script = lambda request: Declined("96")
    resolver = resolver_of(town, max_attempts=2)
    await resolver.turn()
    await resolver.turn()
    assert [each.state for each in town.journal.rows.values()] == [State.DEAD_LETTER]


async def test_an_original_that_never_arrived_is_believed_only_when_said_again(town, request_of):
    await unknown_record(town, request_of)
    town.first.script = lambda request: Declined("25")
    resolver = resolver_of(town)
    states = []
    for _ in range(3):
        await resolver.turn()
        states += [each.state for each in town.journal.rows.values()]
    assert states == [State.UNKNOWN, State.UNKNOWN, State.REVERSED]


async def test_an_inquiry_that_finds_nothing_ends_nothing(town, request_of, alipay_code):
    await awaiting_record(town, request_of, alipay_code)
    town.first.script = lambda request: Declined("25")
    await resolver_of(town).turn()
    assert [each.state for each in town.journal.rows.values()] == [State.AWAITING_PAYER]


async def awaiting_record(town, request_of, alipay_code):
    town.first.script = lambda request: AwaitingPayer("trade-1")
    return await town.road.enter(request_of(credential=alipay_code, entry=EntryMode.PAYER_CODE), 0.2)


@pytest.mark.parametrize(
    ("result", "state"), [(Approved("00", channel_reference="t"), State.APPROVED), (Declined("51"), State.DECLINED)]
)
async def test_an_inquiry_learns_the_end(town, request_of, alipay_code, result, state):
    record = await awaiting_record(town, request_of, alipay_code)
    town.first.script = lambda request: result
    await resolver_of(town).turn()
    assert town.first.sent[-1].operation is Operation.INQUIRY
    row = town.journal.rows[record.merchant_id, record.id]
    assert (row.state, row.response_code) == (state, result.response_code)


async def test_a_payer_who_never_confirms_is_cancelled(town, request_of, alipay_code):
    record = await awaiting_record(town, request_of, alipay_code)
    resolver = resolver_of(town, payer_timeout_s=0.05)
    await resolver.turn()
    await asyncio.sleep(0.06)
    await resolver.turn()
    assert town.journal.rows[record.merchant_id, record.id].state is State.UNKNOWN
    town.first.script = lambda request: Approved()
    await resolver.turn()
    assert town.first.sent[-1].operation is Operation.REVERSAL
    assert town.journal.rows[record.merchant_id, record.id].state is State.REVERSED


async def test_without_a_lease_nothing_is_claimed(town, request_of):
    await unknown_record(town, request_of)
    town.ownership._valid_until_s = 0.0
    assert await resolver_of(town).turn() == 0
    assert len(town.journal.follow_ups) == 1


async def test_a_database_that_is_gone_does_not_end_the_resolver(town, request_of):
    await unknown_record(town, request_of)
    town.first.script = lambda request: Approved()
    resolver = resolver_of(town, poll_s=0.01)
    town.journal.down = True
    resolver.start()
    await asyncio.sleep(0.05)
    town.journal.down = False
    await asyncio.sleep(0.1)
    await resolver.close()
    assert [each.state for each in town.journal.rows.values()] == [State.REVERSED]
