"""An order of a channel: its code is the answer, the payer scans, and the channel's own word ends it."""

import asyncio

import pytest

from switch.domain.authorization import ChannelOrder, FollowOnRequest
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.payments.follow_on import FollowOns
from switch.payments.resolve import Resolver, ResolveSettings
from switch.ports import Approved, AwaitingPayer, Declined

pytestmark = pytest.mark.usefixtures("own_time")

CODE = "https://qr.alipay.com/bax1"


def order_of(request_of, **changes):
    values = {"credential": ChannelOrder("alipay"), "entry": EntryMode.MERCHANT_QR, "operation": Operation.ORDER}
    return request_of(**(values | changes))


def resolver_of(town, **changes):
    return Resolver(town.world, ResolveSettings(message_timeout_s=0.05, **changes))


@pytest.fixture
async def ordered(town, request_of):
    town.first.script = lambda request: AwaitingPayer(code=CODE)
    return await town.road.enter(order_of(request_of), 0.2)


def row_of(town, record):
    return town.journal.rows[record.merchant_id, record.id]


async def test_it_goes_to_the_wallet_of_its_scheme_and_is_answered_with_the_code(town, ordered):
    assert (ordered.decision, ordered.channel, ordered.order_code) == (Decision.AWAITING_PAYER, "first", CODE)
    assert [each.operation for each in town.first.sent] == [Operation.ORDER]
    assert (ordered.masked_credential, ordered.sealed_credential) == ("", b"")
    assert CODE not in repr(ordered)


async def test_two_orders_are_two_payers_and_a_repeat_is_one_order(town, request_of):
    """Nobody knows who will pay: one order must not wait for another, nor count against it."""
    town.first.script = lambda request: AwaitingPayer(code=CODE)
    request = order_of(request_of)
    first, again = [await town.road.enter(request, 0.2) for _ in range(2)]
    other = await town.road.enter(order_of(request_of), 0.2)
    assert again == first
    assert first.payer_key != other.payer_key
    assert len(town.first.sent) == 2


async def test_no_wallet_of_that_scheme_declines(town, request_of):
    record = await town.road.enter(order_of(request_of, credential=ChannelOrder("wechat")), 0.2)
    assert (record.decision, record.response_code) == (Decision.DECLINED, "15")


async def test_a_scanned_order_is_paid_and_captured(town, ordered):
    town.first.script = lambda request: Approved(channel_reference="trade-1")
    await resolver_of(town).turn()
    row = row_of(town, ordered)
    assert (row.state, row.captured_minor, row.order_code) == (State.APPROVED, 1200, CODE)
    assert town.first.sent[-1].credential is None


async def test_it_waits_longer_than_a_payer_who_types_and_is_asked_about_less_and_less(town, ordered):
    resolver = resolver_of(town, payer_timeout_s=0.01, order_timeout_s=3.0, inquiry_interval_s=0.01)
    for _ in range(3):
        await resolver.turn()
        await asyncio.sleep(1)
    assert row_of(town, ordered).state is State.AWAITING_PAYER
    pauses_s = town.journal.pauses_s[-3:]
    assert pauses_s[0] < 0.02
    assert 0.09 < pauses_s[1] < 0.12
    assert 0.19 < pauses_s[2] < 0.22
    await asyncio.sleep(0.5)
    await resolver.turn()
    assert row_of(town, ordered).state is State.UNKNOWN


@pytest.mark.parametrize("operation", [Operation.VOID, Operation.REVERSAL])
async def test_one_that_is_called_off_is_closed_at_the_channel(town, ordered, operation):
    follow_ons = FollowOns(town.world, town.settings)
    wanted = FollowOnRequest(
        operation, "acme", ordered.merchant_id, ordered.id, "off", town.world.clock.time_ms(), None
    )
    called_off = await follow_ons.carry_out(wanted)
    assert called_off.state is State.UNKNOWN
    town.first.script = lambda request: Approved()
    town.journal.follow_ups = [each for each in town.journal.follow_ups if each.operation is Operation.REVERSAL]
    await resolver_of(town).turn()
    assert town.first.sent[-1].operation is Operation.REVERSAL
    assert row_of(town, ordered).state is State.REVERSED
    assert (await follow_ons.carry_out(wanted)).state is State.APPROVED


async def test_a_void_of_what_is_no_order_waits_for_the_payer_as_before(town, request_of, alipay_code):
    town.first.script = lambda request: AwaitingPayer()
    record = await town.road.enter(request_of(credential=alipay_code, entry=EntryMode.PAYER_CODE), 0.2)
    wanted = FollowOnRequest(Operation.VOID, "acme", "m1", record.id, "off", town.world.clock.time_ms(), None)
    assert (await FollowOns(town.world, town.settings).carry_out(wanted)).state is State.DECLINED


async def test_a_refused_order_is_a_decline(town, request_of):
    town.first.script = lambda request: Declined("40", "NO_PERMISSION")
    record = await town.road.enter(order_of(request_of), 0.2)
    assert (record.state, record.order_code) == (State.DECLINED, "")
