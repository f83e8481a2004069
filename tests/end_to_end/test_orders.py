"""Orders of both wallets through the whole product: a payer scans the code that the answer carried."""

import aiohttp
import pytest
from shop import ALIPAY, PAID, UNDONE, WECHAT, Booked, Shop, Way, decided, fresh_amount, named

from payswitch.v1 import authorization_pb2 as pb
from switch.client.acquirer import identify

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCANNED_AS = {"alipay": "qr_code", "wechat": "code_url"}
BEGINS = {"alipay": "https://qr.alipay.com/", "wechat": "weixin://wxpay/bizpayurl?pr="}


async def ordered(shop: Shop, way: Way) -> tuple[pb.AuthorizeRequest, str]:
    request = shop.terminal.code("", fresh_amount())
    request.order.scheme = way.channel
    identify(request)
    answer = await shop.ask(request)
    assert decided(answer) == ("awaiting_payer", "09")
    assert answer.order_code.startswith(BEGINS[way.channel])
    assert await shop.ask(request) == answer
    return request, answer.order_code


async def scan(shop: Shop, way: Way, code: str) -> int:
    fields = {SCANNED_AS[way.channel]: code}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{shop.environment.control_url}/{way.channel}/scan", json=fields) as response,
    ):
        return response.status


@pytest.mark.parametrize("way", [ALIPAY, WECHAT], ids=str)
async def test_a_scanned_order_is_paid(shop: Shop, way: Way) -> None:
    request, code = await ordered(shop, way)
    assert await scan(shop, way, code) < 300
    assert await shop.settled(request) == "approved"
    assert await shop.booked(way, request) == [Booked(PAID, request.amount.amount_minor)]
    shown = await shop.shown(request)
    assert (shown.captured_minor, shown.answer.order_code) == (request.amount.amount_minor, code)


@pytest.mark.parametrize("way", [ALIPAY, WECHAT], ids=str)
async def test_an_order_that_is_called_off_cannot_be_paid(shop: Shop, way: Way) -> None:
    request, code = await ordered(shop, way)
    reversal = pb.ReverseRequest(follow_on=named(request))
    assert decided((await shop.done(shop.client.reverse, reversal)).result) == ("approved", "00")
    assert await scan(shop, way, code) >= 400
    assert await shop.settled(request) == "reversed"
    assert PAID not in {each.standing for each in await shop.booked(way, request)}
    assert {each.standing for each in await shop.booked(way, request)} <= {UNDONE}
