"""Increments through the whole product: where the channel has them, and where it has not."""

import pytest
from shop import ALIPAY, ISSUER, PAID, UNDONE, UNIONPAY, WECHAT, Booked, Shop, Way, decided, money, named, state_name

from payswitch.v1 import authorization_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def raised(shop: Shop, request: pb.AuthorizeRequest, amount_minor: int) -> pb.FollowOnResult:
    wanted = pb.IncrementRequest(follow_on=named(request), amount=money(amount_minor))
    return (await shop.done(shop.client.increment, wanted)).result


async def test_a_raised_hold_is_captured_whole(shop: Shop) -> None:
    request = await shop.held(ISSUER)
    first, whole_minor = request.amount.amount_minor, request.amount.amount_minor + 700
    assert decided(await raised(shop, request, 700)) == ("approved", "00")
    shown = await shop.shown(request)
    assert (shown.approved_minor, shown.answer.approved.amount_minor) == (whole_minor, first)
    over = pb.CaptureRequest(follow_on=named(request), amount=money(whole_minor + 1))
    assert decided((await shop.done(shop.client.capture, over)).result) == ("declined", "64")
    whole = pb.CaptureRequest(follow_on=named(request), amount=money(whole_minor))
    assert decided((await shop.done(shop.client.capture, whole)).result) == ("approved", "00")
    assert await shop.booked(ISSUER, request) == [Booked(PAID, whole_minor)]


async def test_a_void_undoes_it_whole(shop: Shop) -> None:
    request = await shop.held(ISSUER)
    assert decided(await raised(shop, request, 700)) == ("approved", "00")
    void = pb.VoidRequest(follow_on=named(request))
    assert decided((await shop.done(shop.client.void, void)).result) == ("approved", "00")
    assert state_name(await shop.shown(request)) == "voided"
    assert [each.standing for each in await shop.booked(ISSUER, request)] == [UNDONE]


async def test_a_channel_without_increments_is_named(shop: Shop) -> None:
    request = await shop.held(UNIONPAY)
    result = await raised(shop, request, 700)
    assert (decided(result), result.reason) == (("declined", "40"), "unionpay has no increment")
    assert (await shop.shown(request)).approved_minor == request.amount.amount_minor


@pytest.mark.parametrize("way", [ALIPAY, WECHAT], ids=str)
async def test_a_channel_without_pre_authorization_is_named(shop: Shop, way: Way) -> None:
    request = shop.order(way)
    request.kind = pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION
    answer = await shop.ask(request)
    assert decided(answer) == ("declined", "40")
    assert f"{way.channel} has no pre-authorization" in answer.reason
