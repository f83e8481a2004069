"""What an acquirer asked while the channels stood still ends by itself, once, as soon as they go on."""

import asyncio
import os
import signal

import pytest
from shop import (
    ISSUER,
    PAID,
    SETTLE_TIMEOUT_S,
    UNDONE,
    UNIONPAY,
    WAYS,
    Booked,
    Shop,
    Way,
    decided,
    money,
    named,
    state_name,
)

from payswitch.v1 import authorization_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PART = 400


async def _asked_in_vain(shop: Shop, request: pb.AuthorizeRequest, operation: str) -> None:
    """The caller is answered although no channel is: unknown; so is its repeat, which sends nothing."""
    follow_on = named(request)
    wanted = {
        "capture": pb.CaptureRequest(follow_on=follow_on, amount=money(_PART)),
        "increment": pb.IncrementRequest(follow_on=follow_on, amount=money(_PART)),
        "refund": pb.RefundRequest(follow_on=follow_on, amount=money(_PART)),
        "void": pb.VoidRequest(follow_on=follow_on),
        "reverse": pb.ReverseRequest(follow_on=follow_on),
    }[operation]
    simulators = shop.environment.pids["simulators"]
    os.kill(simulators, signal.SIGSTOP)
    try:
        for _ in range(2):
            answer = await shop.until_answered(lambda: getattr(shop.client, operation)(wanted))
            assert decided(answer.result) == ("unknown", "68")
        await asyncio.sleep(1.5)  # the resolver has begun to repeat it
    finally:
        os.kill(simulators, signal.SIGCONT)


async def _ended(shop: Shop, request: pb.AuthorizeRequest) -> pb.Authorization:
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while True:
            [operation] = (await shop.shown(request)).operations
            if decided(operation.result) != ("unknown", "68"):
                assert decided(operation.result) == ("approved", "00")
                return await shop.shown(request)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("way", [UNIONPAY, ISSUER], ids=str)
async def test_a_capture(shop: Shop, way: Way) -> None:
    request = await shop.held(way)
    await _asked_in_vain(shop, request, "capture")
    shown = await _ended(shop, request)
    assert (state_name(shown), shown.captured_minor) == ("approved", _PART)
    assert await shop.booked(way, request) == [Booked(PAID, _PART)]
    await shop.until_served(way)


async def test_an_increment(shop: Shop) -> None:
    request = await shop.held(ISSUER)
    await _asked_in_vain(shop, request, "increment")
    shown = await _ended(shop, request)
    assert (state_name(shown), shown.approved_minor) == ("approved", request.amount.amount_minor + _PART)
    await shop.until_served(ISSUER)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_refund(shop: Shop, way: Way) -> None:
    request = await shop.pay(way)
    await _asked_in_vain(shop, request, "refund")
    shown = await _ended(shop, request)
    assert (state_name(shown), shown.refunded_minor) == ("approved", _PART)
    assert await shop.booked(way, request) == [Booked(PAID, request.amount.amount_minor, _PART)]
    await shop.until_served(way)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("operation", ["void", "reverse"])
async def test_a_void_or_reversal(shop: Shop, way: Way, operation: str) -> None:
    request = await shop.pay(way)
    await asyncio.sleep(way.undoes_after_s)
    await _asked_in_vain(shop, request, operation)
    shown = await _ended(shop, request)
    assert (state_name(shown) in ("reversed", "voided"), shown.captured_minor) == (True, 0)
    assert [each.standing for each in await shop.booked(way, request)] == [UNDONE]
    await shop.until_served(way)
