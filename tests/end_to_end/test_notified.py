"""The wallets' own notifications through the whole product: known long before the next inquiry would be due."""

import asyncio
import time

import aiohttp
import pytest
from shop import ALIPAY, PAID, WECHAT, Booked, Shop, Way, decided, money, named, state_name

from payswitch.v1 import authorization_pb2 as pb
from switch.demo.environment import HOST, Environment

pytestmark = pytest.mark.asyncio(loop_scope="module")

INTERVAL_S = 600.0


async def outcomes(environment: Environment, channel: str) -> dict[str, int]:
    """payswitch_notifications_total of that channel."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{environment.ports.operations}/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    start = f'payswitch_notifications_total{{channel="{channel}",outcome="'
    return {each[len(start) :].split('"')[0]: int(float(each.split()[-1])) for each in lines if each.startswith(start)}


@pytest.mark.parametrize("way", [ALIPAY], ids=str)
async def test_a_payer_who_confirms_is_known_at_once(seldom_asking: Environment, way: Way) -> None:
    async with seldom_asking.client() as client:
        shop = Shop(seldom_asking, client)
        await shop.connected()
        request, answer = await shop.answered(way, "user_paying", delay_ms=2_000)
        assert decided(answer) == ("awaiting_payer", "09")
        begun_s = time.monotonic()
        assert await shop.settled(request) == "approved"
        assert time.monotonic() - begun_s < INTERVAL_S / 10
        assert await shop.booked(way, request) == [Booked(PAID, request.amount.amount_minor)]
        assert state_name(await shop.shown(request)) == "approved"
    assert (await outcomes(seldom_asking, way.channel))["hastened"] == 1


async def test_a_refund_that_is_done_later_is_known_at_once(seldom_asking: Environment) -> None:
    """WeChat Pay takes it, works on it, and tells when it is done."""
    async with seldom_asking.client() as client, aiohttp.ClientSession() as session:
        shop = Shop(seldom_asking, client)
        await shop.connected()
        request = await shop.pay(WECHAT)
        settling = {"status": "SUCCESS", "settles_after_ms": 4_000}
        async with session.post(f"{seldom_asking.control_url}/wechat/refund_outcomes", json=settling) as response:
            assert response.status == 201
        wanted = pb.RefundRequest(follow_on=named(request), amount=money(300))
        assert decided((await shop.until_answered(lambda: client.refund(wanted))).result) == ("unknown", "68")
        async with asyncio.timeout(INTERVAL_S / 10):
            while True:
                [refund] = (await shop.shown(request)).operations
                if decided(refund.result) != ("unknown", "68"):
                    break
                await asyncio.sleep(0.05)
        assert decided(refund.result) == ("approved", "00")
        assert await shop.booked(WECHAT, request) == [Booked(PAID, request.amount.amount_minor, 300)]
    # Final, should this machine have been so slow that the first repeat found it done.
    assert set(await outcomes(seldom_asking, "wechat")) <= {"hastened", "final"}


async def test_a_forged_one_changes_nothing(seldom_asking: Environment) -> None:
    async with seldom_asking.client() as client, aiohttp.ClientSession() as session:
        shop = Shop(seldom_asking, client)
        await shop.connected()
        request, answer = await shop.answered(ALIPAY, "user_paying", delay_ms=60_000)
        assert decided(answer) == ("awaiting_payer", "09")
        path = f"/notify/alipay/{request.merchant_id}/{answer.authorization_id}"
        form = {"out_trade_no": answer.authorization_id.replace("-", ""), "trade_status": "TRADE_SUCCESS",
                "sign": "AAAA", "sign_type": "RSA2"}  # fmt: skip
        async with session.post(f"http://{HOST}:{seldom_asking.ports.notifications}{path}", data=form) as response:
            assert (await response.read()) != b"success"
        assert state_name(await shop.shown(request)) == "awaiting_payer"
        found = await outcomes(seldom_asking, "alipay")
        assert found["forged"] == 1
