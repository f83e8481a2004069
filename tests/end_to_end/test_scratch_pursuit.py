"""A refund that the channel carried out and did not answer ends approved, once, on its own."""

import asyncio
import time

import pytest
from shop import ALIPAY, WECHAT, Shop, Way, decided, money, named

from payswitch.v1 import authorization_pb2 as pb
from switch.domain.states import State

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("way", [ALIPAY, WECHAT], ids=str)
@pytest.mark.parametrize("behaviour", ["silent", "disconnect", "malformed"])
async def test_a_silent_refund_ends_by_itself(shop: Shop, way: Way, behaviour: str) -> None:
    request = await shop.pay(way, 9_000 + len(behaviour))
    part = pb.RefundRequest(follow_on=named(request), amount=money(700 + len(behaviour)))
    scripted = pb.AuthorizeRequest()
    scripted.CopyFrom(request)
    scripted.amount.CopyFrom(part.amount)
    await shop.scripted(way, scripted, behaviour)
    started = time.perf_counter()
    answer = await shop.client.refund(part)
    assert time.perf_counter() - started < 0.25
    assert decided(answer.result) == ("unknown", "68")
    assert decided((await shop.client.refund(part)).result) == ("unknown", "68")
    for _ in range(100):
        shown = await shop.shown(request)
        [operation] = shown.operations
        if decided(operation.result)[0] != "unknown":
            break
        await asyncio.sleep(0.1)
    assert decided(operation.result) == ("approved", "00")
    assert shown.refunded_minor == part.amount.amount_minor
    assert decided((await shop.client.refund(part)).result) == ("approved", "00")
    print(await shop.booked(way, request))
    await shop.until_served(way)
