"""One attempt against receivers of every kind, on this machine's own sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from switch.client.webhooks import verify
from switch.merchants.webhook_sender import WebhookSender, headers_of
from switch.merchants.webhook_target import TargetRules

LOOPBACK = TargetRules(allow_loopback=True)
SECRET = bytes(range(32))
SHOWN = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY = '{"type":"ping","text":"中"}'.encode()


def headers(now_s: float) -> dict[str, str]:
    return headers_of([SECRET], "msg_1", int(now_s), BODY)


@dataclass
class Receiver:
    """answer: what it does with a request. seen: (headers, body)."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((dict(request.headers), await request.read()))
        return await self.answer(request)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async def fine(request: web.Request) -> web.Response:
        return web.Response(text="thanks")

    receiver = Receiver(fine)
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    server = TestServer(application)
    await server.start_server()
    receiver.url = str(server.make_url("/hook"))
    yield receiver
    await server.close()


@pytest.fixture
async def sender() -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(LOOPBACK, total_s=5.0)
    yield sender
    await sender.close()


async def test_a_message_is_verified_by_the_receivers_side(receiver: Receiver, sender: WebhookSender) -> None:
    now_s = time.time()
    result = await sender.send(receiver.url, headers(now_s), BODY)
    assert (result.taken, result.status, result.answer) == (True, 200, "thanks")
    [(given, body)] = receiver.seen
    assert verify(given, body, [SHOWN], now_s) == "msg_1"
    assert given["Content-Type"] == "application/json"
    assert "Accept-Encoding" not in given or body == BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_private_address_is_not_followed(
    receiver: Receiver, sender: WebhookSender, status: int
) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"location": "http://169.254.169.254/latest/meta-data"})

    receiver.answer = elsewhere
    result = await sender.send(receiver.url, headers(0), BODY)
    assert (result.status, result.failure, len(receiver.seen)) == (status, "redirect", 1)


async def test_an_error_is_kept_to_its_first_kilobyte(receiver: Receiver, sender: WebhookSender) -> None:
    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=500, body=b"\0" + "文".encode() * 1000)

    receiver.answer = broken
    result = await sender.send(receiver.url, headers(0), BODY)
    assert (result.status, result.failure) == (500, "status")
    assert len(result.answer) <= 1024
    assert "\0" not in result.answer


async def test_a_huge_answer_is_not_read(receiver: Receiver, sender: WebhookSender) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        with_end = asyncio.get_running_loop().time() + 4
        while asyncio.get_running_loop().time() < with_end:
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    receiver.answer = endless
    begun_s = time.monotonic()
    result = await sender.send(receiver.url, headers(0), BODY)
    assert (result.status, result.taken, result.answer) == (200, True, "x" * 1024)
    assert time.monotonic() - begun_s < 3
    await asyncio.sleep(0)


async def test_a_receiver_that_hangs_is_given_up(receiver: Receiver) -> None:
    released = asyncio.Event()

    async def hangs(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    receiver.answer = hangs
    sender = WebhookSender(LOOPBACK, total_s=0.1)
    result = await sender.send(receiver.url, headers(0), BODY)
    released.set()
    await sender.close()
    assert (result.status, result.failure) == (0, "timeout")


async def test_nobody_listens_or_speaks_no_http(sender: WebhookSender) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await sender.send(f"http://127.0.0.1:{port}/", headers(0), BODY)).failure == "connection"

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await sender.send(f"http://127.0.0.1:{port}/", headers(0), BODY)).failure in ("protocol", "connection")
    assert (await sender.send(f"https://127.0.0.1:{port}/", headers(0), BODY)).failure in ("tls", "connection")
    server.close()
    await server.wait_closed()


class Names:
    """A resolver that answers in turn, and the sockets that were asked for afterwards."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.connected: list[str] = []

    async def lookup(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0)

    def socket_for(self, info: Any) -> socket.socket:
        """To the address that aiohttp wants; none is really dialled."""
        self.connected.append(info[4][0])
        raise OSError("no network in the tests")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "10.1.2.3", "fd00::1", "64:ff9b::7f00:1", "0.0.0.0"],
)
async def test_a_name_of_a_private_address_is_refused_before_any_socket(address: str) -> None:
    names = Names([address])
    sender = WebhookSender(TargetRules(), names.lookup, socket_factory=names.socket_for)
    result = await sender.send("https://hooks.example.com/", headers(0), BODY)
    await sender.close()
    assert (result.status, result.failure) == (0, "address")
    assert names.connected == []


async def test_an_address_in_the_url_is_refused_though_no_resolver_is_asked() -> None:
    """One that was stored before the rule was made stricter."""
    names = Names()
    sender = WebhookSender(TargetRules(), names.lookup, socket_factory=names.socket_for)
    for url in ("https://10.0.0.1/", "https://[::1]/", "https://2130706433/", "https://0x7f.1/"):
        assert (await sender.send(url, headers(0), BODY)).failure == "address"
    await sender.close()
    assert names.connected == []


async def test_a_name_that_changes_its_mind_is_dialled_where_it_was_checked() -> None:
    names = Names(["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"])
    sender = WebhookSender(TargetRules(), names.lookup, socket_factory=names.socket_for)
    assert (await sender.send("https://hooks.example.com/", headers(0), BODY)).failure == "connection"
    assert (names.asked, names.connected) == (["hooks.example.com"], ["93.184.215.14"])
    # Nothing is remembered for the next message either: it is resolved, and checked, anew.
    assert (await sender.send("https://hooks.example.com/", headers(0), BODY)).failure == "address"
    await sender.close()
    assert names.connected == ["93.184.215.14"]
