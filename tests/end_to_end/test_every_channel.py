"""The same scenarios, with the same expectations, through every channel."""

import asyncio

import pytest
from shop import (
    ALIPAY,
    ISSUED,
    ISSUER,
    PAID,
    REFUSED,
    RICH,
    TRIES,
    UNDONE,
    UNIONPAY,
    WAITING,
    WAYS,
    WECHAT,
    Booked,
    Shop,
    Way,
    decided,
    id_of,
    money,
    named,
    state_name,
    too_slow,
)

from payswitch.v1 import authorization_pb2 as pb
from switch.client.errors import ConflictingPayment

pytestmark = pytest.mark.asyncio(loop_scope="session")

every_channel = pytest.mark.parametrize("way", WAYS, ids=str)
card_channels = pytest.mark.parametrize("way", [UNIONPAY, ISSUER], ids=str)
wallets = pytest.mark.parametrize("way", [ALIPAY, WECHAT], ids=str)

# Of an original that is still in flight: the switch may reverse it at once or leave it to its resolver.
_UNDONE_OR_BEING_UNDONE = (("approved", "00"), ("unknown", "68"))


# --- answers ---------------------------------------------------------------------------------------------------------


@every_channel
async def test_a_payment_is_approved_and_booked_once(shop: Shop, way: Way) -> None:
    request, answer = await shop.answered(way)
    amount_minor = request.amount.amount_minor
    assert decided(answer) == ("approved", "00")
    assert (answer.channel, answer.approved) == (way.channel, request.amount)
    assert await shop.booked(way, request) == [Booked(PAID, amount_minor)]
    shown = await shop.shown(request)
    assert (state_name(shown), shown.answer, shown.captured_minor) == ("approved", answer, amount_minor)


@every_channel
async def test_a_decline_is_an_answer(shop: Shop, way: Way) -> None:
    request, answer = await shop.answered(way, "decline", code="51")
    assert decided(answer) == ("declined", "51")
    assert await shop.booked(way, request) == [Booked(REFUSED)]
    assert state_name(await shop.shown(request)) == "declined"


@every_channel
@pytest.mark.parametrize("behaviour", ["silent", "disconnect", "malformed", "forged"])
async def test_a_payment_without_a_usable_answer_is_unknown_in_time_and_then_reversed(
    shop: Shop, way: Way, behaviour: str
) -> None:
    request = shop.order(way)
    await shop.scripted(way, request, behaviour)
    answer = await shop.ask(request)
    assert decided(answer) == ("unknown", "68")
    assert await shop.settled(request) == "reversed"
    assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]
    assert (await shop.shown(request)).answer == answer
    await shop.until_served(way)


@every_channel
async def test_a_late_reply_changes_nothing(shop: Shop, way: Way) -> None:
    request = shop.order(way)
    await shop.scripted(way, request, "delay", delay_ms=300)
    answer = await shop.ask(request)
    assert decided(answer) == ("unknown", "68")
    await asyncio.sleep(0.3)
    assert (await shop.shown(request)).answer == answer
    assert await shop.settled(request) == "reversed"
    assert (await shop.shown(request)).answer == answer
    assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]


@every_channel
async def test_a_reply_given_twice_counts_once(shop: Shop, way: Way) -> None:
    request, answer = await shop.answered(way, "duplicate")
    assert decided(answer) == ("approved", "00")
    assert len(await shop.booked(way, request)) == 1
    following = await shop.pay(way)
    assert len(await shop.booked(way, following)) == 1
    assert (await shop.shown(request)).answer == answer


@every_channel
async def test_answers_out_of_order_reach_their_own_payments(shop: Shop, way: Way) -> None:
    for _ in range(TRIES):
        first, second = shop.order(way), shop.order(way)
        await shop.scripted(way, first, "delay", delay_ms=60)
        slow, quick = await asyncio.gather(shop.ask(first), shop.ask(second))
        if not too_slow(slow) and not too_slow(quick):
            break
    for request, answer in ((first, slow), (second, quick)):
        assert (decided(answer), answer.approved) == (("approved", "00"), request.amount)
        assert answer.authorization_id == id_of(request)
        assert await shop.booked(way, request) == [Booked(PAID, request.amount.amount_minor)]


@every_channel
async def test_a_channel_that_is_down_is_declined_or_avoided(shop: Shop, way: Way) -> None:
    await shop.environment.listening(way.simulator, False)
    try:
        request, answer = await shop.answered(way)
        elsewhere = decided(answer) == ("approved", "00") and answer.channel != way.channel
        assert elsewhere or decided(answer) == ("declined", "91")
        assert elsewhere == (way is ISSUER)
        assert await shop.booked(way, request) == []
    finally:
        await shop.environment.listening(way.simulator, True)
        await shop.until_served(way)


# --- repeats ---------------------------------------------------------------------------------------------------------


@every_channel
async def test_a_repeat_gets_the_same_answer_and_has_no_effect_of_its_own(shop: Shop, way: Way) -> None:
    for _ in range(TRIES):
        request = shop.order(way)
        asked = [shop.until_answered(lambda request=request: shop.client.authorize(request)) for _ in range(2)]  # type: ignore[misc]
        first, meanwhile = await asyncio.gather(*asked)
        if not too_slow(first):
            break
    later = await shop.until_answered(lambda: shop.client.authorize_unary(request))
    assert decided(first) == ("approved", "00")
    assert meanwhile == first
    assert later == first
    assert await shop.booked(way, request) == [Booked(PAID, request.amount.amount_minor)]


@every_channel
async def test_a_key_used_for_another_amount_is_an_error_without_effect(shop: Shop, way: Way) -> None:
    request = await shop.pay(way)
    changed = pb.AuthorizeRequest()
    changed.CopyFrom(request)
    changed.amount.CopyFrom(shop.order(way).amount)
    with pytest.raises(ConflictingPayment):
        await shop.until_answered(lambda: shop.client.authorize(changed))
    assert await shop.booked(way, changed) == []


# --- later operations ------------------------------------------------------------------------------------------------


@every_channel
async def test_a_payment_is_refunded_in_parts_up_to_what_was_paid(shop: Shop, way: Way) -> None:
    request = await shop.pay(way)
    amount_minor = request.amount.amount_minor
    part = pb.RefundRequest(follow_on=named(request), amount=money(300))
    first = await shop.done(shop.client.refund, part)
    assert decided(first.result) == ("approved", "00")
    assert await shop.done(shop.client.refund, part) == first
    assert await shop.booked(way, request) == [Booked(PAID, amount_minor, 300)]
    rest = pb.RefundRequest(follow_on=named(request), amount=money(amount_minor - 300))
    too_much = pb.RefundRequest(follow_on=named(request), amount=money(amount_minor - 299))
    assert decided((await shop.done(shop.client.refund, too_much)).result) == ("declined", "64")
    assert decided((await shop.done(shop.client.refund, rest)).result) == ("approved", "00")
    one_more = pb.RefundRequest(follow_on=named(request), amount=money(1))
    assert decided((await shop.done(shop.client.refund, one_more)).result) == ("declined", "64")
    assert await shop.booked(way, request) == [Booked(PAID, amount_minor, amount_minor)]
    shown = await shop.shown(request)
    assert (state_name(shown), shown.refunded_minor) == ("approved", amount_minor)
    assert [decided(each.result)[0] for each in shown.operations] == ["approved", "declined", "approved", "declined"]


@every_channel
async def test_a_void_gives_everything_back_once(shop: Shop, way: Way) -> None:
    request = await shop.pay(way)
    await asyncio.sleep(way.undoes_after_s)
    void = pb.VoidRequest(follow_on=named(request))
    first = await shop.done(shop.client.void, void)
    assert decided(first.result) == ("approved", "00")
    assert await shop.done(shop.client.void, void) == first
    assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]
    assert state_name(await shop.shown(request)) == "voided"
    again = await shop.done(shop.client.void, pb.VoidRequest(follow_on=named(request)))
    refund = await shop.done(shop.client.refund, pb.RefundRequest(follow_on=named(request), amount=money(100)))
    assert decided(again.result) == decided(refund.result) == ("declined", "12")


@every_channel
async def test_an_acquirer_that_reverses_an_approval_at_once_gets_everything_back(shop: Shop, way: Way) -> None:
    """A channel that takes no cancellation so soon makes the reversal unknown for a while, never refused."""
    request = await shop.pay(way)
    reverse = pb.ReverseRequest(follow_on=named(request))
    at_once = await shop.until_answered(lambda: shop.client.reverse(reverse))
    assert decided(at_once.result) in _UNDONE_OR_BEING_UNDONE
    assert not way.undoes_after_s or decided(at_once.result) == ("unknown", "68")
    await shop.becomes(request, "reversed")
    assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]
    assert decided((await shop.done(shop.client.reverse, reverse)).result) == ("approved", "00")


@every_channel
async def test_a_reversal_before_its_original_declines_it(shop: Shop, way: Way) -> None:
    request = shop.order(way)
    original = pb.OriginalRequest(
        idempotency_key=request.idempotency_key, transmission_time_ms=request.transmission_time_ms
    )
    follow_on = named(request)
    follow_on.authorization_id = ""
    reversal = await shop.done(shop.client.reverse, pb.ReverseRequest(follow_on=follow_on, original=original))
    assert decided(reversal.result) == ("approved", "00")
    assert decided(await shop.ask(request)) == ("declined", "22")
    assert await shop.booked(way, request) == []


@every_channel
async def test_a_reversal_in_flight_wins_over_the_approval(shop: Shop, way: Way) -> None:
    """Tried until the reversal was there first, since the approval comes a tenth of a second after the payment."""
    for _ in range(20):
        request = shop.order(way)
        await shop.scripted(way, request, "delay", delay_ms=100)
        paying = asyncio.ensure_future(shop.client.authorize(request))
        while not await shop.booked(way, request) and not paying.done():  # noqa: ASYNC110 - a book has no events
            await asyncio.sleep(0.005)
        reverse = pb.ReverseRequest(follow_on=named(request))
        reversal = await shop.until_answered(lambda reverse=reverse: shop.client.reverse(reverse))  # type: ignore[misc]
        [answer] = await asyncio.gather(paying, return_exceptions=True)
        if await shop.booked(way, request):
            assert decided(reversal.result) in _UNDONE_OR_BEING_UNDONE
            await shop.becomes(request, "reversed")
            assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]
            if not (isinstance(answer, pb.AuthorizeResponse) and decided(answer)[0] == "approved"):
                return
    raise AssertionError("the approval was first every time")


# --- what only some channels have ------------------------------------------------------------------------------------


@card_channels
async def test_a_pre_authorization_is_captured_in_part_and_refunded(shop: Shop, way: Way) -> None:
    request = await shop.held(way)
    amount_minor = request.amount.amount_minor
    assert await shop.booked(way, request) == [Booked(PAID, 0)]
    part = pb.CaptureRequest(follow_on=named(request), amount=money(400))
    first = await shop.done(shop.client.capture, part)
    assert decided(first.result) == ("approved", "00")
    assert await shop.done(shop.client.capture, part) == first
    too_much = pb.CaptureRequest(follow_on=named(request), amount=money(amount_minor - 399))
    assert decided((await shop.done(shop.client.capture, too_much)).result) == ("declined", "64")
    assert await shop.booked(way, request) == [Booked(PAID, 400)]
    assert decided((await shop.done(shop.client.void, pb.VoidRequest(follow_on=named(request)))).result) == (
        "declined",
        "12",
    )
    over = pb.RefundRequest(follow_on=named(request), amount=money(401))
    assert decided((await shop.done(shop.client.refund, over)).result) == ("declined", "64")
    back = pb.RefundRequest(follow_on=named(request), amount=money(400))
    assert decided((await shop.done(shop.client.refund, back)).result) == ("approved", "00")
    assert await shop.booked(way, request) == [Booked(PAID, 400, 400)]


@card_channels
async def test_a_card_that_holds_too_little_is_approved_in_part(shop: Shop, way: Way) -> None:
    """No more than that part is the merchant's to capture or to give back."""
    request, answer = await shop.answered(way, "decline", code="10")
    amount_minor = request.amount.amount_minor
    assert (decided(answer), answer.approved) == (("approved", "10"), money(amount_minor // 2))
    assert await shop.booked(way, request) == [Booked(PAID, amount_minor // 2)]
    over = pb.RefundRequest(follow_on=named(request), amount=money(amount_minor // 2 + 1))
    assert decided((await shop.done(shop.client.refund, over)).result) == ("declined", "64")
    back = pb.RefundRequest(follow_on=named(request), amount=money(amount_minor // 2))
    assert decided((await shop.done(shop.client.refund, back)).result) == ("approved", "00")
    assert await shop.booked(way, request) == [Booked(PAID, amount_minor // 2, amount_minor // 2)]


@card_channels
async def test_a_pre_authorization_is_captured_several_times_up_to_what_was_held(shop: Shop, way: Way) -> None:
    request = await shop.held(way)
    amount_minor = request.amount.amount_minor
    for part_minor in (300, 200, amount_minor - 500):
        capture = pb.CaptureRequest(follow_on=named(request), amount=money(part_minor))
        assert decided((await shop.done(shop.client.capture, capture)).result) == ("approved", "00")
    one_more = pb.CaptureRequest(follow_on=named(request), amount=money(1))
    assert decided((await shop.done(shop.client.capture, one_more)).result) == ("declined", "64")
    assert await shop.booked(way, request) == [Booked(PAID, amount_minor)]


@card_channels
async def test_a_pre_authorization_is_voided(shop: Shop, way: Way) -> None:
    request = await shop.held(way)
    assert decided((await shop.done(shop.client.void, pb.VoidRequest(follow_on=named(request)))).result) == (
        "approved",
        "00",
    )
    assert await shop.booked(way, request) == [Booked(UNDONE)]
    capture = pb.CaptureRequest(follow_on=named(request), amount=money(100))
    assert decided((await shop.done(shop.client.capture, capture)).result) == ("declined", "12")


@card_channels
async def test_a_sale_is_not_captured_again(shop: Shop, way: Way) -> None:
    request = await shop.pay(way)
    capture = pb.CaptureRequest(follow_on=named(request), amount=money(100))
    assert decided((await shop.done(shop.client.capture, capture)).result) == ("declined", "12")


@card_channels
async def test_the_pin_is_checked_by_the_cards_issuer(shop: Shop, way: Way) -> None:
    card = RICH if way is UNIONPAY else ISSUED[3]
    wrong = await shop.until_in_time(lambda: shop.terminal.tap(card, 5_000, "9999"))
    right = await shop.until_in_time(lambda: shop.terminal.tap(card, 5_000, card.pin))
    assert (decided(wrong), decided(right)) == (("declined", "55"), ("approved", "00"))
    assert right.channel == way.channel


@wallets
async def test_a_wallet_holds_no_money_for_later(shop: Shop, way: Way) -> None:
    request = shop.order(way)
    request.kind = pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION
    assert decided(await shop.ask(request)) == ("declined", "40")
    assert await shop.booked(way, request) == []


@wallets
@pytest.mark.parametrize(
    ("behaviour", "state", "standing"),
    [("user_paying", "approved", PAID), ("user_paying_declined", "declined", REFUSED)],
)
async def test_a_payer_who_takes_time_is_waited_for(
    shop: Shop, way: Way, behaviour: str, state: str, standing: str
) -> None:
    request, answer = await shop.answered(way, behaviour, delay_ms=600)
    assert decided(answer) == ("awaiting_payer", "09")
    [booked] = await shop.booked(way, request)
    assert booked.standing in (WAITING, standing)
    assert await shop.settled(request) == state
    assert [each.standing for each in await shop.booked(way, request)] == [standing]


@wallets
async def test_an_acquirer_may_give_up_on_a_payer_who_takes_time(shop: Shop, way: Way) -> None:
    request, answer = await shop.answered(way, "user_paying", delay_ms=60_000)
    assert decided(answer) == ("awaiting_payer", "09")
    reverse = pb.ReverseRequest(follow_on=named(request))
    reversal = await shop.until_answered(lambda: shop.client.reverse(reverse))
    assert decided(reversal.result) in _UNDONE_OR_BEING_UNDONE
    await shop.becomes(request, "reversed")
    assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]
