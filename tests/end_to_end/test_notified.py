"""The wallets' own notifications through the whole product: known long before the next inquiry would be due."""

import time

import aiohttp
import pytest
from shop import ALIPAY, PAID, Booked, Shop, Way, decided, state_name

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
        request = shop.order(way)
        await shop.scripted(way, request, "user_paying", delay_ms=1_000)
        assert decided(await shop.ask(request)) == ("awaiting_payer", "09")
        begun_s = time.monotonic()
        assert await shop.settled(request) == "approved"
        assert time.monotonic() - begun_s < INTERVAL_S / 10
        assert await shop.booked(way, request) == [Booked(PAID, request.amount.amount_minor)]
        assert state_name(await shop.shown(request)) == "approved"
    assert (await outcomes(seldom_asking, way.channel))["hastened"] == 1


async def test_a_forged_one_changes_nothing(seldom_asking: Environment) -> None:
    async with seldom_asking.client() as client, aiohttp.ClientSession() as session:
        shop = Shop(seldom_asking, client)
        await shop.connected()
        request = shop.order(ALIPAY)
        await shop.scripted(ALIPAY, request, "user_paying", delay_ms=60_000)
        answer = await shop.ask(request)
        assert decided(answer) == ("awaiting_payer", "09")
        path = f"/notify/alipay/{request.merchant_id}/{answer.authorization_id}"
        form = {"out_trade_no": answer.authorization_id.replace("-", ""), "trade_status": "TRADE_SUCCESS",
                "sign": "AAAA", "sign_type": "RSA2"}  # fmt: skip
        async with session.post(f"http://{HOST}:{seldom_asking.ports.notifications}{path}", data=form) as response:
            assert (await response.read()) != b"success"
        assert state_name(await shop.shown(request)) == "awaiting_payer"
        found = await outcomes(seldom_asking, "alipay")
        assert found["forged"] == 1
