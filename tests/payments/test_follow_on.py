"""Capture, void, refund and the acquirer's reversal; amounts are the journal's to check (tests/store)."""

import asyncio
import time
from uuid import uuid4

import pytest

from switch.domain.authorization import FollowOnRequest
from switch.domain.money import Money
from switch.domain.states import Decision, Operation, State
from switch.payments.errors import ContentDiffers, NotFound, TransmissionTimeRefused, Unavailable
from switch.payments.follow_on import FollowOns
from switch.payments.intake import new_record
from switch.ports import Approved, Declined, Phase, StoreUnavailable, Unknown

pytestmark = pytest.mark.usefixtures("own_time")


def follow_on_of(record, operation, **changes):
    values = {
        "operation": operation, "acquirer_id": "acme", "merchant_id": record.merchant_id,
        "authorization_id": record.id, "idempotency_key": uuid4().hex,
        "transmission_time_ms": time.time_ns() // 1_000_000, "money": None,
    }  # fmt: skip
    return FollowOnRequest(**(values | changes))


@pytest.fixture
async def approved(town, request_of):
    return await town.road.enter(request_of(), 0.2)


@pytest.fixture
def follow_ons(town):
    return FollowOns(town.world, town.settings)


async def test_a_refund_reaches_the_channel_with_the_originals_trace(town, approved, follow_ons):
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY")))
    message = town.first.sent[-1]
    assert (done.state, done.response_code) == (State.APPROVED, "00")
    assert (message.operation, message.money.amount_minor) == (Operation.REFUND, 500)
    assert message.authorization.trace == approved.trace
    assert message.trace != approved.trace
    assert message.credential.pan.reveal() == "6225880000000005"


async def test_a_repeat_has_one_effect(town, approved, follow_ons):
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    first = await follow_ons.carry_out(wanted)
    assert await follow_ons.carry_out(wanted) == first
    assert len(town.first.sent) == 2


async def test_the_same_key_with_another_amount_is_an_error(town, approved, follow_ons):
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    await follow_ons.carry_out(wanted)
    other = follow_on_of(
        approved, Operation.REFUND, money=Money(501, "CNY"), idempotency_key=wanted.idempotency_key,
        transmission_time_ms=wanted.transmission_time_ms,
    )  # fmt: skip
    with pytest.raises(ContentDiffers):
        await follow_ons.carry_out(other)


async def test_a_silent_refund_is_unknown_and_its_repeat_is_not_sent_by_the_caller(town, approved, follow_ons):
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    town.first.script = lambda request: None
    first = await follow_ons.carry_out(wanted)
    assert (first.state, first.response_code) == (State.UNKNOWN, "68")
    town.first.script = lambda request: Approved()
    assert await follow_ons.carry_out(wanted) == first
    assert len(town.first.sent) == 2
    [follow_up] = town.journal.follow_ups
    assert (follow_up.operation, follow_up.trace) == (Operation.REFUND, town.first.sent[-1].trace)


async def test_repeats_that_come_while_it_is_sent_are_unknown_and_send_nothing(town, approved, follow_ons):
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    town.first.script = lambda request: None
    first = asyncio.create_task(follow_ons.carry_out(wanted))
    await asyncio.sleep(0.02)
    repeats = await asyncio.gather(*(follow_ons.carry_out(wanted) for _ in range(3)))
    assert {(each.state, each.response_code) for each in repeats} == {(State.UNKNOWN, "68")}
    town.first.replies[-1].set_result(Approved())
    assert (await first).state is State.APPROVED
    assert (await follow_ons.carry_out(wanted)).state is State.APPROVED
    assert len(town.first.sent) == 2


async def test_the_intent_is_durable_before_the_first_byte_and_the_outcome_before_the_answer(
    town, approved, follow_ons
):
    town.events.clear()
    await follow_ons.carry_out(follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY")))
    assert town.events == ["follow-on durable", "sent", "outcome durable"]


async def test_a_process_killed_while_it_sends_leaves_it_to_the_resolver(town, approved, follow_ons):
    """The journal's sweep takes it over (tests/store); a repeat meanwhile sends nothing."""
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    town.journal.down_for_outcomes = True
    with pytest.raises(StoreUnavailable):
        await follow_ons.carry_out(wanted)
    town.journal.down_for_outcomes = False
    assert (await follow_ons.carry_out(wanted)).state is State.UNKNOWN
    assert len(town.first.sent) == 2


async def test_an_outcome_that_comes_after_the_sweep_does_not_win(town, approved, follow_ons):
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    town.first.script = lambda request: None
    late = asyncio.create_task(follow_ons.carry_out(wanted))
    await asyncio.sleep(0.02)
    for each in town.journal.follow_ons.values():
        each.state, each.response_code, each.reason = State.UNKNOWN, "68", "outcome lost"
    town.first.replies[-1].set_result(Declined("51"))
    answer = await late
    assert (answer.state, answer.response_code) == (State.UNKNOWN, "68")
    assert town.journal.rows[approved.merchant_id, approved.id].refunded_minor == 500


@pytest.mark.parametrize("slow_s", [0.15, 0.3])
async def test_the_caller_is_answered_inside_its_budget(town, approved, follow_ons, slow_s):
    """What the database takes from the budget the channel does not get."""
    town.first.script = lambda request: None
    town.journal.slow_s = slow_s
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    with pytest.raises(Unavailable):
        await follow_ons.carry_out(follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY")))
    assert loop.time() - begun_s == pytest.approx(0.18)
    await asyncio.gather(*follow_ons._working)
    assert [each.state for each in town.journal.follow_ons.values()] == [State.DECLINED]
    assert len(town.first.sent) == 1


async def test_not_sent_is_declined_91(town, approved, follow_ons):
    town.first.script = lambda request: Unknown(Phase.NOT_SENT, "no link")
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.VOID))
    assert (done.state, done.response_code) == (State.DECLINED, "91")


async def test_a_reversal_that_was_not_sent_is_pursued(town, approved, follow_ons):
    town.first.script = lambda request: Unknown(Phase.NOT_SENT, "no link")
    wanted = follow_on_of(approved, Operation.REVERSAL)
    done = await follow_ons.carry_out(wanted)
    assert (done.state, done.response_code) == (State.UNKNOWN, "68")
    assert [each.operation for each in town.journal.follow_ups] == [Operation.REVERSAL]
    assert await follow_ons.carry_out(wanted) == done
    assert len(town.first.sent) == 2


@pytest.mark.parametrize("state", [State.SENT, State.UNKNOWN, State.AWAITING_PAYER])
async def test_a_reversal_of_an_open_original_is_not_sent_at_once(town, approved, follow_ons, state):
    """A channel may refuse it so early; the resolver sends it when it may be sent."""
    town.journal.rows[approved.merchant_id, approved.id].state = state
    town.first.script = lambda request: Declined("12")
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.REVERSAL))
    assert (done.state, done.response_code) == (State.UNKNOWN, "68")
    assert len(town.first.sent) == 1
    assert [each.operation for each in town.journal.follow_ups] == [Operation.REVERSAL]


async def test_a_reversal_of_an_open_original_without_a_channel_is_not_declined(town, approved, follow_ons):
    row = town.journal.rows[approved.merchant_id, approved.id]
    row.state, row.channel = State.SENT, ""
    assert (await follow_ons.carry_out(follow_on_of(approved, Operation.REVERSAL))).state is State.UNKNOWN


async def test_an_original_that_moved_to_another_channel_meanwhile_is_not_asked_under_a_wrong_name(
    town, approved, follow_ons
):
    row = town.journal.rows[approved.merchant_id, approved.id]
    begin = town.journal.begin_follow_on

    async def cascaded(follow_on, tombstone):
        row.channel = "second"
        return await begin(follow_on, tombstone)

    town.journal.begin_follow_on = cascaded
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.REVERSAL))
    assert done.state is State.UNKNOWN
    assert (len(town.first.sent), town.second.sent) == (1, [])


async def test_a_refusal_is_an_answer(town, approved, follow_ons):
    town.first.script = lambda request: Declined("64", "too much")
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.VOID))
    assert (done.state, done.response_code, done.reason) == (State.DECLINED, "64", "too much")


async def test_what_the_channel_does_not_offer_is_40(town, approved, follow_ons):
    town.first.operations = frozenset({Operation.SALE})
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.REFUND, money=Money(1, "CNY")))
    assert (done.state, done.response_code) == (State.DECLINED, "40")
    assert done.reason == "first has no refund"
    assert len(town.first.sent) == 1


@pytest.mark.parametrize("change", [{"authorization_id": uuid4()}, {"acquirer_id": "other"}])
async def test_another_acquirers_or_no_authorization_is_not_found(town, approved, follow_ons, change):
    with pytest.raises(NotFound):
        await follow_ons.carry_out(follow_on_of(approved, Operation.REFUND, money=Money(5, "CNY"), **change))


async def test_a_reversal_that_overtakes_declines_its_original(town, request_of, follow_ons):
    request = request_of()
    record = new_record(request, 0)
    done = await follow_ons.carry_out(follow_on_of(record, Operation.REVERSAL))
    assert done.state is State.APPROVED
    late = await town.road.enter(request, 0.2)
    assert (late.decision, late.response_code) == (Decision.DECLINED, "22")
    assert town.first.sent == []


async def test_a_void_moves_the_original(town, approved, follow_ons):
    await follow_ons.carry_out(follow_on_of(approved, Operation.VOID))
    assert town.journal.rows[approved.merchant_id, approved.id].state is State.VOIDED


async def test_its_own_transmission_time_is_checked(town, approved, follow_ons):
    with pytest.raises(TransmissionTimeRefused):
        await follow_ons.carry_out(follow_on_of(approved, Operation.VOID, transmission_time_ms=1))


@pytest.fixture
async def held(town, request_of):
    return await town.road.enter(request_of(operation=Operation.PRE_AUTHORIZATION), 0.2)


@pytest.mark.parametrize(("approved_minor", "raised_minor"), [(None, 500), (200, 200), (900, 500)])
async def test_an_increment_raises_by_what_the_channel_approved(town, held, follow_ons, approved_minor, raised_minor):
    town.first.script = lambda request: Approved("10" if approved_minor == 200 else "00", approved_minor=approved_minor)
    done = await follow_ons.carry_out(follow_on_of(held, Operation.INCREMENT, money=Money(500, "CNY")))
    message = town.first.sent[-1]
    assert (message.operation, message.money.amount_minor) == (Operation.INCREMENT, 500)
    assert (done.state, done.money.amount_minor) == (State.APPROVED, raised_minor)
    row = town.journal.rows[held.merchant_id, held.id]
    assert (row.approved_minor, row.incremented_minor) == (1200 + raised_minor, raised_minor)


async def test_a_silent_increment_is_unknown_and_raises_nothing(town, held, follow_ons):
    town.first.script = lambda request: None
    wanted = follow_on_of(held, Operation.INCREMENT, money=Money(500, "CNY"))
    done = await follow_ons.carry_out(wanted)
    assert (done.state, done.response_code) == (State.UNKNOWN, "68")
    assert town.journal.rows[held.merchant_id, held.id].approved_minor == 1200
    [follow_up] = town.journal.follow_ups
    assert (follow_up.operation, follow_up.trace) == (Operation.INCREMENT, town.first.sent[-1].trace)


async def test_a_channel_without_increments_is_named(town, held, follow_ons):
    town.first.operations = frozenset(Operation) - {Operation.INCREMENT}
    done = await follow_ons.carry_out(follow_on_of(held, Operation.INCREMENT, money=Money(500, "CNY")))
    assert (done.state, done.response_code, done.reason) == (State.DECLINED, "40", "first has no increment")


@pytest.mark.parametrize("operation", [Operation.VOID, Operation.REVERSAL])
async def test_what_undoes_a_partial_approval_names_the_originals_amount(town, request_of, follow_ons, operation):
    """The acquirer may say what was approved; the channel knows the message by what was asked (invariant 8)."""
    town.first.script = lambda request: Approved("10", "123456", approved_minor=700)
    record = await town.road.enter(request_of(), 0.2)
    town.first.script = lambda request: Approved()
    done = await follow_ons.carry_out(follow_on_of(record, operation, money=Money(700, "CNY")))
    assert done.state is State.APPROVED
    assert town.first.sent[-1].money == Money(1200, "CNY")
