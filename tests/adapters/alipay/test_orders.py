"""Orders that the payer pays by scanning a code."""

from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.simulation import SCRIPTED_AMOUNTS_FROM_MINOR as SCRIPTED
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Phase, Unknown


async def scanned(simulator: Any, status: int = 200, **fields: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{simulator.port}/alipay/scan"
    async with aiohttp.ClientSession() as session, session.post(url, json=fields) as response:
        assert response.status == status
        return dict(await response.json())


def order(till: Any, amount_minor: int = 300) -> Any:
    return till.sale(amount_minor, operation=Operation.ORDER, credential=None)


async def test_an_order_is_paid_once_a_payer_scans_it(channel: Any, simulator: Any, till: Any) -> None:
    request = order(till)
    result = await till.ask(channel, request)
    assert isinstance(result, AwaitingPayer)
    assert result.code.startswith("https://qr.alipay.com/bax")
    # Nobody has scanned it: for Alipay it is no trade, for us it waits.
    assert await till.ask(channel, till.follow_on(request, Operation.INQUIRY)) == AwaitingPayer()
    await scanned(simulator, qr_code=result.code, payer="rich")
    assert isinstance(await till.ask(channel, till.follow_on(request, Operation.INQUIRY)), Approved)
    refund = till.follow_on(request, Operation.REFUND, 300)
    assert isinstance(await till.ask(channel, refund), Approved)


async def test_a_payer_who_refuses_an_order(channel: Any, simulator: Any, till: Any) -> None:
    request = order(till)
    await till.ask(channel, request)
    await scanned(simulator, out_trade_no=request.trace["out_trade_no"], payer="rich", agrees=False)
    result = await till.ask(channel, till.follow_on(request, Operation.INQUIRY))
    assert isinstance(result, Declined)
    assert result.response_code == "05"


async def test_who_cannot_pay_an_order_leaves_it_open(channel: Any, simulator: Any, till: Any) -> None:
    request = order(till)
    result = await till.ask(channel, request)
    refusal = await scanned(simulator, 409, qr_code=result.code, payer="poor")
    assert refusal == {"error": "ACQ.BUYER_BALANCE_NOT_ENOUGH"}
    await scanned(simulator, 404, qr_code=result.code, payer="nobody")
    await scanned(simulator, 404, qr_code=result.code + "1", payer="rich")
    await scanned(simulator, qr_code=result.code, payer="rich")
    await scanned(simulator, 409, qr_code=result.code, payer="rich")
    (booked,) = simulator.book()
    assert (booked["status"], booked["payments"]) == ("TRADE_SUCCESS", 1)


async def test_a_cancelled_order_cannot_be_paid(channel: Any, simulator: Any, till: Any) -> None:
    request = order(till)
    result = await till.ask(channel, request)
    assert isinstance(await till.ask(channel, till.follow_on(request, Operation.REVERSAL)), Approved)
    assert await scanned(simulator, 409, qr_code=result.code) == {"error": "ACQ.TRADE_HAS_CLOSE"}
    assert await till.ask(channel, request) == Declined("22", "ACQ.TRADE_HAS_CLOSE")


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (161, Declined("61", "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR")),
        # Without a code there is nothing to wait for: it is reversed.
        (191, Unknown(Phase.SENT, "isp.unknow-error")),
        (204, Unknown(Phase.SENT, "connection_lost")),
        (206, Unknown(Phase.SENT, "forged_answer")),
    ],
)
async def test_orders_that_alipay_does_not_take(channel: Any, till: Any, offset: int, expected: Any) -> None:
    assert await till.ask(channel, order(till, SCRIPTED + offset)) == expected


async def test_an_order_without_a_code_is_malformed(channels: Any, simulator: Any, served: Any, till: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        out_trade_no = (await request.post())["biz_content"].split('"')[3]  # type: ignore[union-attr]
        body = simulator._body("alipay_trade_precreate_response", {"code": "10000", "out_trade_no": out_trade_no})
        return web.Response(body=body)

    channel = await channels(await served(handler), simulator.public_key_pem)
    assert await till.ask(channel, order(till)) == Unknown(Phase.SENT, "malformed_answer")
