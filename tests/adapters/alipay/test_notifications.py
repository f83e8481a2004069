"""Notifications: what the simulator posts, what the channel believes, and that an order of things does not matter."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from adapters.alipay.channel import AlipayChannel
from adapters.simulation import Behaviour, Scenario
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Notice, NotificationRefused


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("payswitch_alipay_notifications_total", {"outcome": outcome}) or 0.0


@dataclass
class Door:
    """Where Alipay posts: answers with what `answers` holds, then with success."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.paths.append(request.path)
        status, body = self.answers.pop(0) if self.answers else (200, b"success")
        return web.Response(status=status, body=body)

    async def until(self, count: int) -> None:
        for _ in range(3_000):
            if len(self.bodies) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.bodies)} came within thirty seconds, not {count}")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    application = web.Application()
    application.router.add_post("/notify/alipay/{rest:.*}", door.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    door.url = f"http://127.0.0.1:{runner.addresses[0][1]}/notify/alipay"
    yield door
    await runner.cleanup()


@pytest.fixture
async def told(simulator: Any, channels: Any, door: Door) -> AlipayChannel:
    return await channels(simulator.gateway_url, simulator.public_key_pem, notify_url=door.url, seller_id="")


async def test_a_payment_and_its_refund_are_told(told: AlipayChannel, door: Door, till: Any) -> None:
    sale = till.sale(1_000)
    await till.ask(told, sale)
    await door.until(1)
    refund = till.follow_on(sale, Operation.REFUND, 400, trace={"out_request_no": "r1"})
    await till.ask(told, refund)
    await door.until(2)
    hex_id = sale.authorization.id.hex
    assert door.paths == [f"/notify/alipay/m1/{hex_id}"] * 2
    first, second = (told.read_notification({}, body) for body in door.bodies)
    assert (first.channel, first.reference, first.refund_reference, first.said) == (
        "alipay",
        hex_id,
        "",
        "TRADE_SUCCESS",
    )
    assert (second.reference, second.refund_reference) == (hex_id, "r1")
    assert first.said == second.said == "TRADE_SUCCESS"
    assert first.event != second.event


async def test_it_comes_again_until_the_answer_is_success(
    told: AlipayChannel, simulator: Any, door: Door, till: Any
) -> None:
    refused, accepted = told.notification_answer(False), told.notification_answer(True)
    assert accepted == (200, "text/plain", b"success")
    door.answers = [(500, b""), (refused[0], refused[2]), (404, b"success")]
    await till.ask(told, till.sale())
    await door.until(4)
    events = {told.read_notification({}, body).event for body in door.bodies}
    assert len(events) == 1
    for _ in range(100):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{simulator.port}/alipay/notifications") as response,
        ):
            (delivery,) = await response.json()
        if delivery["accepted"]:
            break
        await asyncio.sleep(0.01)
    assert (delivery["attempts"], delivery["accepted"]) == (4, True)


async def test_a_payer_who_takes_time_is_told_of_by_itself(
    told: AlipayChannel, simulator: Any, door: Door, till: Any
) -> None:
    simulator.scenarios.put(Scenario(Behaviour.USER_PAYING, delay_ms=100, times=1))
    assert isinstance(await till.ask(told, till.sale()), AwaitingPayer)
    await door.until(1)
    assert told.read_notification({}, door.bodies[0]).said == "TRADE_SUCCESS"


async def test_in_certificate_mode(simulator: Any, certified: AlipayChannel, channels: Any, till: Any) -> None:
    sale = till.sale()
    await till.ask(certified, sale)
    form = simulator.notification("2021000000000001", sale.trace["out_trade_no"])
    assert certified.read_notification({}, urlencode(form).encode()).said == "TRADE_SUCCESS"
    # The key of public-key mode is another.
    simulator.clients["2021000000000001"].book.order(sale.trace["out_trade_no"]).certified = False
    form = simulator.notification("2021000000000001", sale.trace["out_trade_no"])
    with pytest.raises(NotificationRefused, match="forged"):
        certified.read_notification({}, urlencode(form).encode())


@pytest.fixture
async def form(told: AlipayChannel, door: Door, till: Any) -> dict[str, str]:
    await till.ask(told, till.sale(1_234))
    await door.until(1)
    return dict(parse_qsl(door.bodies[0].decode()))


def signed(simulator: Any, form: dict[str, str], **changes: str) -> bytes:
    """By Alipay, whatever it says."""
    left = {name: value for name, value in (form | changes).items() if name not in ("sign", "sign_type") and value}
    text = "&".join(f"{name}={left[name]}" for name in sorted(left))
    return urlencode(left | {"sign": simulator._key.signature(text.encode()), "sign_type": "RSA2"}).encode()


async def test_it_is_believed_once_and_again(told: AlipayChannel, simulator: Any, form: dict[str, str]) -> None:
    """A replay is believed, and is a reason to ask: nothing more."""
    notices = {told.read_notification({}, urlencode(form).encode()) for _ in range(3)}
    assert len(notices) == 1
    assert isinstance(notices.pop(), Notice)
    (entry,) = simulator.book()
    assert entry["payments"] == 1
    assert told.read_notification({}, signed(simulator, form, subject="茶 & a=b +%")).said == "TRADE_SUCCESS"


@pytest.mark.parametrize(
    ("cause", "change"),
    [
        ("unsigned", {"sign": ""}),
        ("malformed", {"sign": "not base64"}),
        ("malformed", {"sign_type": "RSA"}),
        ("malformed", {"sign_type": ""}),
        ("forged", {"sign": "AAAA"}),
        ("forged", {"total_amount": "0.01"}),
        ("forged", {"trade_status": "TRADE_CLOSED"}),
        ("forged", {"out_trade_no": "another"}),
        ("forged", {"added": "x"}),
    ],
)
async def test_what_is_not_believed_has_a_cause(
    told: AlipayChannel, form: dict[str, str], cause: str, change: dict[str, str]
) -> None:
    before = counted(cause)
    with pytest.raises(NotificationRefused) as refused:
        told.read_notification({}, urlencode(form | change).encode())
    assert refused.value.cause == cause
    assert counted(cause) == before + 1


@pytest.mark.parametrize(
    ("cause", "change"),
    [
        ("foreign", {"app_id": "2021000000000002"}),
        ("expired", {"notify_time": "2001-01-01 00:00:00"}),
        ("expired", {"notify_time": ""}),
        ("malformed", {"out_trade_no": ""}),
        ("malformed", {"trade_status": "DANCING"}),
        ("malformed", {"total_amount": "1e9"}),
        ("malformed", {"notify_id": "x" * 129}),
    ],
)
async def test_what_alipay_signed_and_we_do_not_take(
    told: AlipayChannel, simulator: Any, form: dict[str, str], cause: str, change: dict[str, str]
) -> None:
    with pytest.raises(NotificationRefused) as refused:
        told.read_notification({}, signed(simulator, form, **change))
    assert refused.value.cause == cause


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"a=1&a=1", b"a=%ff", b"x=" + b"y" * 70_000, b"a&b&c"])
async def test_what_is_no_form(told: AlipayChannel, body: bytes) -> None:
    with pytest.raises(NotificationRefused) as refused:
        told.read_notification({}, body)
    assert refused.value.cause in ("malformed", "unsigned")


async def test_an_order_of_notifications_that_is_not_that_of_things(
    told: AlipayChannel, simulator: Any, door: Door, till: Any
) -> None:
    """An old one comes after a refund in full; who asks learns what is."""
    sale = till.sale(500)
    await till.ask(told, sale)
    await till.ask(told, till.follow_on(sale, Operation.REFUND, 500, trace={"out_request_no": "r1"}))
    await door.until(2)
    late = told.read_notification({}, next(body for body in door.bodies if b"gmt_refund" not in body))
    assert late.said == "TRADE_SUCCESS"
    refund = till.follow_on(sale, Operation.INQUIRY, 500, trace={"out_request_no": "r1"})
    assert isinstance(await till.ask(told, refund), Approved)
