"""The wallets tell a stranger's server what happened, again until it accepts, signed as it can verify."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from alone import Control, until
from plain_wallets import PlainAlipay, PlainWeChat, fresh_number

_PATIENCE_S = 30.0


@dataclass
class Receiver:
    """A merchant's server: it is broken the first time, and then accepts as the wallet wants it."""

    url: str = ""
    accepts: bytes = b""
    got: "asyncio.Queue[tuple[web.Request, bytes]]" = field(default_factory=asyncio.Queue)
    seen: int = 0

    async def serve(self, request: web.Request) -> web.Response:
        self.seen += 1
        self.got.put_nowait((request, await request.read()))
        return web.Response(status=500) if self.seen == 1 else web.Response(body=self.accepts)

    async def next(self) -> tuple[web.Request, bytes]:
        async with asyncio.timeout(_PATIENCE_S):
            return await self.got.get()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.add_routes([web.post("/notified", made.serve)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/notified"
    yield made
    await runner.cleanup()


async def accepted_after(control: Control, name: str, receiver: Receiver) -> int:
    """How many attempts it took until the wallet believed that it was heard."""

    async def heard() -> bool:
        return all(each["accepted"] for each in await deliveries())

    async def deliveries() -> list[dict[str, Any]]:
        return [each for each in await control.get(f"/{name}/notifications") if each["url"] == receiver.url]

    await until(True, heard)
    [delivery] = await deliveries()
    return int(delivery["attempts"])


async def test_alipay_tells_of_an_order_that_a_payer_scanned(
    client_config: dict[str, Any], session: aiohttp.ClientSession, control: Control, receiver: Receiver
) -> None:
    client, number = PlainAlipay(client_config["alipay"], session), fresh_number()
    content = {"out_trade_no": number, "total_amount": "3.21", "subject": "tea"}
    ordered = await client.call("alipay.trade.precreate", content, notify_url=receiver.url)
    receiver.accepts = b"success"
    assert (await control.ask("POST", "/alipay/scan", {"qr_code": ordered["qr_code"]}))[0] == 200
    for _ in range(2):
        request, _ = await receiver.next()
        form = {name: str(value) for name, value in (await request.post()).items()}
        client.verify_notification(form)
        assert (form["out_trade_no"], form["trade_status"]) == (number, "TRADE_SUCCESS")
        assert (form["total_amount"], form["app_id"]) == ("3.21", client_config["alipay"]["app_id"])
    assert await accepted_after(control, "alipay", receiver) == 2


async def test_wechat_pay_tells_of_an_order_that_a_payer_scanned(
    client_config: dict[str, Any], session: aiohttp.ClientSession, control: Control, receiver: Receiver
) -> None:
    client, number = PlainWeChat(client_config["wechat"], session), fresh_number()
    order = {"appid": client.config["appid"], "mchid": client.config["mchid"], "description": "tea"}
    order |= {"out_trade_no": number, "notify_url": receiver.url}
    status, made = await client.call("POST", "/v3/pay/transactions/native", order | {"amount": {"total": 321}})
    assert status == 200
    assert (await control.ask("POST", "/wechat/scan", {"code_url": made["code_url"]}))[0] == 200
    for _ in range(2):
        request, body = await receiver.next()
        client.verify(request.headers, body)
        opened = json.loads(client.opened(json.loads(body)["resource"]))
        assert (opened["out_trade_no"], opened["trade_state"]) == (number, "SUCCESS")
    assert await accepted_after(control, "wechat", receiver) == 2
