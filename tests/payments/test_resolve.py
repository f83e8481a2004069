"""Reversals and inquiries run until the end, and only the channel's own word ends them."""

import asyncio
import time
from uuid import uuid4

import pytest
import structlog

from switch.domain.authorization import FollowOnRequest
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.payments.follow_on import FollowOns
from switch.payments.resolve import Resolver, ResolveSettings
from switch.ports import Approved, AwaitingPayer, Declined, Phase, StoreUnavailable, Unknown

pytestmark = pytest.mark.usefixtures("own_time")


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


async def test_a_reversal_that_the_channel_would_refuse_as_too_early_is_not_sent_yet(town, request_of):
    await unknown_record(town, request_of)
    sent = len(town.first.sent)
    town.first.script = lambda request: Approved()
    town.first.reversal_after_s = 0.4
    resolver = resolver_of(town)
    await resolver.turn()
    assert len(town.first.sent) == sent
    await asyncio.sleep(0.4)
    await resolver.turn()
    assert [each.state for each in town.journal.rows.values()] == [State.REVERSED]


async def test_a_reversal_never_expires_silently(town, request_of):
    await unknown_record(town, request_of)
    town.first.script = lambda request: Declined("96")
    resolver = resolver_of(town, max_attempts=2)
    await resolver.turn()
    await resolver.turn()
    assert [each.state for each in town.journal.rows.values()] == [State.DEAD_LETTER]
    assert town.observed.dead_letters == ["first"]
    assert town.observed.follow_ups == [(Operation.REVERSAL, Declined("96"))] * 2


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
    for _ in range(1000):
        states = [each.state for each in town.journal.rows.values()]
        if states == [State.REVERSED]:
            break
        await asyncio.sleep(0.01)
    await resolver.close()
    assert states == [State.REVERSED]


def follow_on_of(record, operation, amount_minor=0):
    money = Money(amount_minor, "CNY") if amount_minor else None
    return FollowOnRequest(
        operation, "acme", record.merchant_id, record.id, uuid4().hex, time.time_ns() // 1_000_000, money
    )


def stored_follow_on(town):
    [follow_on] = town.journal.follow_ons.values()
    return follow_on


async def silent_follow_on(town, request_of, operation, amount_minor=0):
    """An approved original and a follow-on that the channel did not answer."""
    kind = Operation.PRE_AUTHORIZATION if operation is Operation.CAPTURE else Operation.SALE
    record = await town.road.enter(request_of(operation=kind), 0.2)
    town.first.script = lambda request: None
    done = await FollowOns(town.world, town.settings).carry_out(follow_on_of(record, operation, amount_minor))
    assert done.state is State.UNKNOWN
    return record


@pytest.mark.parametrize("operation", [Operation.CAPTURE, Operation.REFUND])
async def test_a_silent_capture_or_refund_is_repeated_with_the_same_identifiers_until_answered(
    town, request_of, operation
):
    record = await silent_follow_on(town, request_of, operation, 500)
    resolver = resolver_of(town)
    await resolver.turn()
    town.first.script = lambda request: Approved("00", channel_reference="r")
    await resolver.turn()
    first, second, third = town.first.sent[-3:]
    assert [each.operation for each in (first, second, third)] == [operation] * 3
    assert first.trace == second.trace == third.trace
    assert [each.repeat for each in (first, second, third)] == [0, 1, 2]
    assert {each.money.amount_minor for each in (first, second, third)} == {500}
    assert third.authorization.trace == record.trace
    assert third.credential.pan.reveal() == "6225880000000005"
    done, row = stored_follow_on(town), town.journal.rows[record.merchant_id, record.id]
    assert (done.state, done.response_code, done.channel_reference) == (State.APPROVED, "00", "r")
    assert (row.captured_minor, row.refunded_minor) == ((500, 0) if operation is Operation.CAPTURE else (1200, 500))
    assert (row.state, town.journal.follow_ups) == (State.APPROVED, [])


async def test_a_refund_that_the_channel_refuses_gives_back_what_it_reserved(town, request_of):
    record = await silent_follow_on(town, request_of, Operation.REFUND, 500)
    town.first.script = lambda request: Declined("51")
    await resolver_of(town).turn()
    done = stored_follow_on(town)
    assert (done.state, done.response_code) == (State.DECLINED, "51")
    assert town.journal.rows[record.merchant_id, record.id].refunded_minor == 0


@pytest.mark.parametrize("result", [Declined("96"), Declined("94"), Declined("91"), Unknown(Phase.NOT_SENT, "-")])
async def test_a_refusal_of_the_repeat_is_not_a_refusal_of_the_refund(town, request_of, result):
    """Invariant 15: the first message may have been carried out."""
    record = await silent_follow_on(town, request_of, Operation.REFUND, 500)
    town.first.script = lambda request: result
    await resolver_of(town).turn()
    assert stored_follow_on(town).state is State.UNKNOWN
    assert town.journal.rows[record.merchant_id, record.id].refunded_minor == 500
    assert [each.attempts for each in town.journal.follow_ups] == [1]


async def test_a_refund_that_stays_silent_alerts_and_goes_on_slowly(town, request_of):
    await silent_follow_on(town, request_of, Operation.REFUND, 500)
    resolver = resolver_of(town, max_attempts=3, backoff_first_s=1.0, backoff_max_s=60.0)
    with structlog.testing.capture_logs() as logs:
        for _ in range(6):
            await resolver.turn()
    assert town.journal.pauses_s == [1.0, 2.0, 60.0, 60.0, 60.0, 60.0]
    alerts = [each for each in logs if each["event"] == "dead_letter"]
    assert [(each["log_level"], each["attempts"]) for each in alerts] == [("error", 3), ("error", 6)]
    assert town.observed.dead_letters == ["first", "first"]
    assert {operation for operation, _ in town.observed.follow_ups} == {Operation.REFUND}
    assert stored_follow_on(town).state is State.UNKNOWN
    town.first.script = lambda request: Approved()
    await resolver.turn()
    assert stored_follow_on(town).state is State.APPROVED


@pytest.mark.parametrize("operation", [Operation.VOID, Operation.REVERSAL])
@pytest.mark.parametrize("silence", [None, Unknown(Phase.SENT, "silent"), Declined("96")])
async def test_an_acquirers_undoing_of_an_approved_original_ends_reversed(town, request_of, operation, silence):
    record = await silent_follow_on(town, request_of, operation)
    resolver = resolver_of(town)
    town.first.script = lambda request: silence
    await resolver.turn()
    assert town.journal.rows[record.merchant_id, record.id].state is State.APPROVED
    town.first.script = lambda request: Approved()
    await resolver.turn()
    assert town.first.sent[-1].operation is Operation.REVERSAL
    assert town.first.sent[-1].authorization.trace == record.trace
    assert town.journal.rows[record.merchant_id, record.id].state is State.REVERSED
    assert stored_follow_on(town).state is State.APPROVED


async def test_an_acquirers_reversal_that_was_not_sent_ends_reversed(town, request_of):
    record = await town.road.enter(request_of(), 0.2)
    town.first.script = lambda request: Unknown(Phase.NOT_SENT, "no link")
    await FollowOns(town.world, town.settings).carry_out(follow_on_of(record, Operation.REVERSAL))
    resolver = resolver_of(town)
    await resolver.turn()
    town.first.script = lambda request: Approved()
    await resolver.turn()
    assert town.journal.rows[record.merchant_id, record.id].state is State.REVERSED
    assert stored_follow_on(town).state is State.APPROVED


@pytest.mark.parametrize("step", ["keep_follow_up_trace", "finish_follow_ups"])
async def test_what_a_failing_database_interrupts_waits_for_no_lease(town, request_of, step):
    await unknown_record(town, request_of)
    town.first.script = lambda request: Approved()
    resolver, works = resolver_of(town), getattr(town.journal, step)

    async def away(rows):
        raise StoreUnavailable("away")

    setattr(town.journal, step, away)
    with pytest.raises(StoreUnavailable):
        await resolver.turn()
    town.journal.down = True
    with pytest.raises(StoreUnavailable):
        await resolver.turn()
    town.journal.down = False
    setattr(town.journal, step, works)
    assert await resolver.turn() == 1
    assert [each.state for each in town.journal.rows.values()] == [State.REVERSED]
