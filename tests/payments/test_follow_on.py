"""Capture, void, refund and the acquirer's reversal; amounts are the journal's to check (tests/store)."""

import time
from uuid import uuid4

import pytest

from switch.domain.money import Money
from switch.domain.states import Decision, Operation, State
from switch.payments.errors import ContentDiffers, NotFound, TransmissionTimeRefused
from switch.payments.follow_on import FollowOnRequest, FollowOns
from switch.payments.intake import new_record
from switch.ports import Approved, Declined, Phase, Unknown


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


async def test_a_silent_refund_is_unknown_and_its_repeat_is_sent_under_the_same_identifiers(town, approved, follow_ons):
    wanted = follow_on_of(approved, Operation.REFUND, money=Money(500, "CNY"))
    town.first.script = lambda request: None
    assert (await follow_ons.carry_out(wanted)).state is State.UNKNOWN
    town.first.script = lambda request: Approved()
    assert (await follow_ons.carry_out(wanted)).state is State.APPROVED
    first, second = town.first.sent[-2:]
    assert first.trace == second.trace
    assert (first.repeat, second.repeat) == (0, 1)


async def test_not_sent_is_declined_91(town, approved, follow_ons):
    town.first.script = lambda request: Unknown(Phase.NOT_SENT, "no link")
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.VOID))
    assert (done.state, done.response_code) == (State.DECLINED, "91")


async def test_a_refusal_is_an_answer(town, approved, follow_ons):
    town.first.script = lambda request: Declined("64", "too much")
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.VOID))
    assert (done.state, done.response_code, done.reason) == (State.DECLINED, "64", "too much")


async def test_what_the_channel_does_not_offer_is_40(town, approved, follow_ons):
    town.first.operations = frozenset({Operation.SALE})
    done = await follow_ons.carry_out(follow_on_of(approved, Operation.CAPTURE, money=Money(1, "CNY")))
    assert (done.state, done.response_code) == (State.DECLINED, "40")
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
