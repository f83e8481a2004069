"""The hook for short messages, against a gateway on a real socket that verifies as the documentation says."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from switch.client.webhooks import verify
from switch.domain.account import AlertKind
from switch.domain.login import parse_login
from switch.domain.refusals import Invalid
from switch.messenger.outcome import Fate, Outcome, Post
from switch.messenger.short_message import ShortMessageSender
from switch.users.messages import MessageKind

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
POST = Post("1", parse_login("+8613800138000"), MessageKind.RESET_CODE, 1, 2, "123456")


@dataclass
class Gateway:
    """status: what it answers; 0: nothing, until it is released."""

    status: int = 200
    seen: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen.append((verify(request.headers, body, [SECRET], time.time()), json.loads(body)))
        if not self.status:
            await self.released.wait()
        return web.Response(status=self.status or 200, headers={"location": "/elsewhere"})


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    application = web.Application()
    application.router.add_post("/sms", gateway.handle)
    server = TestServer(application)
    await server.start_server()
    gateway.url = str(server.make_url("/sms"))
    yield gateway
    gateway.released.set()
    await server.close()


async def send(gateway: Gateway, post: Post = POST, timeout_s: float = 20.0) -> Outcome:
    sender = ShortMessageSender(gateway.url, SECRET, timeout_s)
    try:
        return await sender.send(post)
    finally:
        await sender.close()


async def test_it_is_signed_and_says_what_to_send(gateway: Gateway) -> None:
    assert await send(gateway) == Outcome(Fate.DELIVERED)
    assert gateway.seen == [
        (
            "msg_1",
            {
                "to": "+8613800138000",
                "text": "123456 重置密码验证码，10分钟内有效，勿告知他人",
                "kind": "reset_code",
                "expires_time_ms": 2,
            },
        )
    ]
    alert = Post("2", POST.to, MessageKind.ALERT, 1, 2, alert=AlertKind.LOCKED_OUT)
    assert await send(gateway, alert) == Outcome(Fate.DELIVERED)
    assert gateway.seen[1][1]["text"] == "错误次数过多，您的账户已暂时锁定。"


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        *((204, Fate.DELIVERED), (302, Fate.LATER), (400, Fate.NEVER), (401, Fate.LATER), (422, Fate.NEVER)),
        *((429, Fate.LATER), (500, Fate.LATER), (503, Fate.LATER)),
    ],
)
async def test_what_a_gateway_answers(gateway: Gateway, status: int, fate: Fate) -> None:
    gateway.status = status
    assert (await send(gateway)).fate is fate
    assert len(gateway.seen) == 1  # no redirect is followed


async def test_a_gateway_that_hangs_or_is_away(gateway: Gateway) -> None:
    gateway.status = 0
    assert await send(gateway, timeout_s=0.5) == Outcome(Fate.LATER, "timeout")
    gateway.url = "http://127.0.0.1:1/sms"
    assert (await send(gateway)).reason == "connection ClientConnectorError"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAEC", "whsec_!!!", SECRET.removeprefix("whsec_")])
async def test_a_secret_that_is_none(secret: str) -> None:
    with pytest.raises(Invalid, match="sms_secret"):
        ShortMessageSender("http://127.0.0.1/", secret, 1.0)
