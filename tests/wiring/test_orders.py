"""Orders as they are wired: the page, the worker and the journal's events bring an order to its end by themselves."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from order_scene import Scene, scene, until
from town import town

from switch.config import load
from switch.domain.order import OrderState, PaymentState
from switch.ops.lifecycle import Lifecycle
from switch.wiring.orders import CONSUMER, code_maker, open_orders
from switch.wiring.platform import Platform

__all__ = ["scene", "town"]

# Money that moved: what the feed writes when it finds an approval.
_EVENT = """
INSERT INTO journal_events (
    merchant_id, authorization_id, kind, follow_on_id, position, operation, amount_minor, currency, time_ms,
    created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, reference, payer_key, card_prefix)
VALUES ($1, $2, $3, gen_random_uuid(), (SELECT coalesce(max(position), 0) + 1 FROM journal_events), 9, $4, 'CNY', 1, 1,
    'acme', 't', 'first', 4, '00', '', '', '')
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
async def opened(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("PAYSWITCH_ORDERS__LISTEN", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("PAYSWITCH_ORDERS__PUBLIC_URL", "https://pay.example")
    await scene.database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors")
    lifecycle, settings = Lifecycle(grace_s=0), load()
    platform = Platform(
        settings, lifecycle, scene.database, "", scene.town.hsm, scene.clock, scene.payments, scene.people, {}
    )
    served = open_orders(platform, scene.people)
    assert [each.service.full_name for each in served] == ["payswitch.v1.OrderService"]
    yield f"http://{settings.orders.listen}"
    lifecycle.stop("test")
    await lifecycle.run()


async def page(base: str, path: str) -> tuple[int, str]:
    headers = {"User-Agent": "AlipayClient"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(base + path, headers=headers, allow_redirects=False) as response,
    ):
        return response.status, response.headers.get("Location", "")


async def test_a_scanned_order_is_paid_and_its_refund_seen(opened: str, scene: Scene) -> None:
    order = await scene.create()

    async def sent_on() -> bool:
        try:
            return (await page(opened, f"/q/{order.merchant.id}.{order.id.hex}"))[0] == 302
        except aiohttp.ClientConnectionError:
            return False

    await until(sent_on)
    payment = await scene.desk.channel_code(order, "alipay")
    scene.wallet.scan(payment, 1_250)
    await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
    await scene.resolver.turn()
    # Nobody would look for a minute: the event hastens it.
    await scene.database.execute("UPDATE order_payments SET due_time_ms = due_time_ms + 60000")
    await scene.database.execute(_EVENT, order.merchant.id, payment.authorization_id, 1, 1_250)

    async def paid() -> bool:
        return (await scene.now(order)).state is OrderState.PAID

    await until(paid)
    await scene.database.execute(_EVENT, order.merchant.id, payment.authorization_id, 5, 250)

    async def refunded() -> bool:
        return (await scene.now(order)).refunded_minor == 250

    await until(refunded)
    position = await scene.database.fetchval("SELECT position FROM feed_cursors WHERE consumer = $1", CONSUMER)
    assert position == 2


async def test_an_order_expires_by_itself_and_its_code_is_closed(opened: str, scene: Scene) -> None:
    order = await scene.create(lives_s=60)
    payment = await scene.desk.channel_code(order, "alipay")
    scene.clock.ahead_ms = 61_000

    async def closed() -> bool:
        await scene.database.execute("UPDATE order_payments SET due_time_ms = 0")
        await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0 WHERE state = 1")
        await scene.resolver.turn()
        return (await scene.payment(payment)).state is PaymentState.UNDONE

    await until(closed)
    assert (await scene.now(order)).state is OrderState.EXPIRED
    assert scene.wallet.closed == {payment.authorization_id}


def test_unionpay_is_named_only_where_it_is_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    merchant = "104110053110001"
    assert code_maker(load()).accounts_of(merchant) == {"15": f"0102034401020344{merchant}"}
    monkeypatch.setenv("PAYSWITCH_UNIONPAY__HOST", "")
    assert code_maker(load()).accounts_of(merchant) == {}
