"""Orders of both wallets through the whole product: a payer scans the code that the answer carried."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from shop import (
    ALIPAY,
    PAID,
    RICH,
    TRIES,
    UNDONE,
    UNIONPAY,
    WECHAT,
    Booked,
    Shop,
    Way,
    decided,
    fresh_amount,
    named,
    too_slow,
)

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2, order_pb2
from switch.client.acquirer import identify
from switch.demo.secrets import ACQUIRER
from switch.domain.merchant import MerchantState

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCANNED_AS = {"alipay": "qr_code", "wechat": "code_url"}
BEGINS = {"alipay": "https://qr.alipay.com/", "wechat": "weixin://wxpay/bizpayurl?pr="}


async def ordered(shop: Shop, way: Way) -> tuple[pb.AuthorizeRequest, str]:
    for _ in range(TRIES):
        request = shop.terminal.code("", fresh_amount())
        request.order.scheme = way.channel
        identify(request)
        answer = await shop.ask(request)
        if not too_slow(answer):
            break
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


# --- OrderService -----------------------------------------------------------------------------------------------------

_MERCHANT = """
INSERT INTO merchants (
    merchant_id, state, legal_name, registration_kind, registration, contact_name, contact_phone, contact_email,
    display_name, city, country, category_code, acquirer_id, applicant, round, applied_time_ms, reason, asked_state,
    asked_by, asked_reason, asked_time_ms, changed_time_ms)
VALUES ($1, $2, 'Shop', 1, '1', '', '', '', 'Corner Shop', 'Shanghai', 'CN', '5411', $3, $3, 1, now_ms(), '', $2, '',
    '', 0, now_ms())
"""


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.1)


class Till:
    """The acquirer's calls of OrderService for a merchant of its own."""

    def __init__(self, channel: Any, merchant_id: str) -> None:
        self._channel = channel
        self.merchant_id = merchant_id

    def ask(self, name: str, **fields: Any) -> Any:
        method = order_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name[name]
        request = getattr(order_pb2, method.input_type.name)(merchant_id=self.merchant_id, **fields)
        kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        decode = getattr(order_pb2, method.output_type.name).FromString
        return kind(f"/{method.full_name.rpartition('.')[0]}/{name}", type(request).SerializeToString, decode)(request)

    async def order(self) -> Any:
        amount = common_pb2.Money(amount_minor=fresh_amount(), currency="CNY")
        return (await self.ask("CreateOrder", idempotency_key=uuid4().hex, amount=amount, subject="Tea")).order

    async def state(self, order_id: str) -> int:
        return int((await self.ask("GetOrder", order_id=order_id)).order.state)


@pytest_asyncio.fixture(loop_scope="session")
async def till(shop: Shop) -> AsyncIterator[Till]:
    merchant_id = uuid4().hex[:15]
    connection = await asyncpg.connect(shop.environment.postgres.dsn())
    await connection.execute(_MERCHANT, merchant_id, MerchantState.ACTIVE, ACQUIRER)
    await connection.close()
    async with shop.environment.participants("acquirer", ACQUIRER) as channel:
        yield Till(channel, merchant_id)


@pytest.mark.parametrize("way", [ALIPAY, WECHAT], ids=str)
async def test_an_order_is_watched_until_a_wallet_pays_it(shop: Shop, till: Till, way: Way) -> None:
    order = await till.order()
    code = (await till.ask("GetChannelCode", order_id=order.order_id, scheme=way.channel)).text
    assert code.startswith(BEGINS[way.channel])
    assert await scan(shop, way, code) < 300
    states = []
    async with asyncio.timeout(40):
        async for each in till.ask("WatchOrder", order_id=order.order_id):
            states.append(each.order.state)
    assert states[-1] == order_pb2.ORDER_STATE_PAID
    paid = (await till.ask("GetOrder", order_id=order.order_id)).order
    assert paid.paid_scheme == way.channel


async def test_the_second_of_two_wallets_is_given_its_money_back(shop: Shop, till: Till) -> None:
    order = await till.order()
    codes = {
        way: (await till.ask("GetChannelCode", order_id=order.order_id, scheme=way.channel)).text
        for way in (ALIPAY, WECHAT)
    }
    for way, code in codes.items():
        assert await scan(shop, way, code) < 300

    async def money_left() -> list[int]:
        """What each wallet holds of that amount."""
        left = []
        for way in codes:
            entries = await shop.environment.book(way.simulator)
            booked = [way.read(each) for each in entries if each["amount_minor"] == order.amount.amount_minor]
            paid = [each for each in booked if each is not None and each.standing == PAID]
            left.append(sum(each.captured_minor - each.refunded_minor for each in paid))
        return sorted(left)

    async def second_is_given_back() -> bool:
        return await money_left() == [0, order.amount.amount_minor]

    await until(second_is_given_back)
    assert await till.state(order.order_id) == order_pb2.ORDER_STATE_PAID


async def test_a_closed_order_cannot_be_paid_at_the_wallet(shop: Shop, till: Till) -> None:
    order = await till.order()
    code = (await till.ask("GetChannelCode", order_id=order.order_id, scheme="alipay")).text
    assert (await till.ask("CloseOrder", order_id=order.order_id)).order.state == order_pb2.ORDER_STATE_CLOSED

    async def cannot_be_paid() -> bool:
        """Whoever was sooner than the closing is given his money back."""
        return await scan(shop, ALIPAY, code) >= 400

    await until(cannot_be_paid)
    assert await till.state(order.order_id) == order_pb2.ORDER_STATE_CLOSED


def scanned(shop: Shop, till: Till, text: str, amount_minor: int) -> pb.AuthorizeRequest:
    """A payer of the acquirer's has scanned the order's QR."""
    request = shop.terminal.keyed(RICH, amount_minor)
    card = pb.KeyedCard.FromString(request.keyed.SerializeToString())
    request.merchant_qr.CopyFrom(pb.MerchantQr(payload=text, card=card))
    request.merchant_id, request.merchant_category_code = till.merchant_id, "5411"
    request.merchant_name = request.merchant_city = request.merchant_country = ""
    identify(request)
    return request


async def test_an_orders_qr_that_an_acquirers_payer_scans_pays_it_once(shop: Shop, till: Till) -> None:
    order = await till.order()
    text = (await till.ask("PresentOrder", order_id=order.order_id, form=order_pb2.CODE_FORM_EMV)).text
    paid = pb.AuthorizeResponse()

    async def approved() -> bool:
        """Where the machine was too slow another payment is made, as soon as the order knows of the first's end."""
        nonlocal paid
        paid = await shop.ask(scanned(shop, till, text, order.amount.amount_minor))
        return decided(paid) == ("approved", "00")

    await until(approved)
    states = []
    async with asyncio.timeout(40):
        async for each in till.ask("WatchOrder", order_id=order.order_id):
            states.append(each.order)
    assert states[-1].state == order_pb2.ORDER_STATE_PAID
    assert states[-1].authorization_id == paid.authorization_id
    again = await shop.ask(scanned(shop, till, text, order.amount.amount_minor))
    assert (decided(again), again.stage, again.reason) == (("declined", "12"), "order", "the order is PAID")

    async def booked_once() -> bool:
        booked = await shop.booked(UNIONPAY, pb.AuthorizeRequest(amount=order.amount))
        return [each for each in booked if each.standing == PAID] == [Booked(PAID, order.amount.amount_minor)]

    await until(booked_once)
