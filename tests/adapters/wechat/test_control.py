"""The simulator's control endpoint: what a test or a person may tell the platform."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.wechat.simulator.notifications import SCHEDULE_S
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, Declined, Unknown


@pytest.fixture
async def control(simulator: Any) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}/simulator/") as session:
        yield Control(session)


class Control:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, what: str, **fields: Any) -> tuple[int, Any]:
        async with self._session.post(what, json=fields) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> Any:
        async with self._session.get(path) as response:
            return await response.json()


async def test_a_payer_scans_and_pays_once(till: Any, control: Control) -> None:
    order = till.order(1_000)
    code_url = (await till.do_one(order)).code
    status, told = await control.post("scan", code_url=code_url)
    assert (status, told["trade_state"]) == (200, "SUCCESS")
    assert isinstance(await till.do_one(till.follow(order, Operation.INQUIRY)), Approved)
    assert (await control.post("scan", code_url=code_url))[0] == 409
    assert (await control.post("scan", code_url="weixin://wxpay/bizpayurl?pr=000"))[0] == 404


async def test_a_payer_without_money_scans_in_vain(till: Any, control: Control) -> None:
    order = till.order(1_000)
    code_url = (await till.do_one(order)).code
    assert await control.post("scan", code_url=code_url, payer="0051") == (
        409, {"code": "NOT_ENOUGH", "message": "the payer's balance is not enough"}
    )  # fmt: skip
    assert isinstance(await till.do_one(till.follow(order, Operation.INQUIRY)), AwaitingPayer)


async def test_the_wallet_notifies_until_it_is_believed(till_for: Any, settings_for: Any, simulator_for: Any) -> None:
    """The adapter reads what the simulator posts, and its answer ends the repeats."""
    simulator = await simulator_for(notification_pauses_s=(0.02, 0.02, 0.02))
    got: list[Any] = []

    async def door(request: web.Request) -> web.Response:
        got.append(till.channel.read_notification(request.headers, await request.read()))
        status, content_type, body = till.channel.notification_answer(len(got) > 2)
        return web.Response(status=status, content_type=content_type, body=body)

    app = web.Application()
    app.add_routes([web.post("/notify/wechat/{merchant}/{authorization}", door)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    till = await till_for(
        settings_for(simulator, notify_url=f"http://127.0.0.1:{runner.addresses[0][1]}/notify/wechat")
    )
    order = till.order()
    code_url = (await till.do_one(order)).code
    async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}/simulator/") as session:
        control = Control(session)
        await control.post("scan", code_url=code_url)
        [delivery] = await control.get("notifications")
        while not delivery["accepted"]:
            [delivery] = await control.get("notifications")
    await runner.cleanup()
    assert (delivery["attempts"], delivery["last"]) == (3, "204")
    assert {notice.reference for notice in got} == {order.trace["out_trade_no"]}
    assert len({notice.event for notice in got}) == 1


def test_the_schedule_is_the_platforms() -> None:
    """24 hours and 4 minutes in all, as documented."""
    assert (len(SCHEDULE_S), sum(SCHEDULE_S)) == (15, 24 * 3_600 + 4 * 60)


async def test_faults_are_answered_and_cleared(till: Any, control: Control) -> None:
    assert (await control.post("faults", path="/codepay", status=500, code="SYSTEM_ERROR", times=1))[0] == 201
    assert isinstance(await till.do_one(till.sale()), Unknown)
    assert isinstance(await till.do_one(till.sale()), Approved)
    assert (await control.post("faults", nonsense=1))[0] == 400


async def test_refund_outcomes(till: Any, simulator: Any, control: Control) -> None:
    await control.post("refund_outcomes", status="CLOSED", settles_after_ms=1_000)
    sale = till.sale()
    await till.do_one(sale)
    refund = till.follow(sale, Operation.REFUND, 100)
    assert isinstance(await till.do_one(refund), AwaitingPayer)
    await control.post("clock", ahead_s=2)
    assert isinstance(await till.do_one(refund), Declined)
    assert (await control.post("refund_outcomes", status="LOST"))[0] == 400


async def test_a_clock_that_runs_away_is_believed_by_nobody(till: Any, control: Control) -> None:
    """Our timestamp is too old for it, and its own too new for us."""
    await control.post("clock", ahead_s=400)
    result = await till.do_one(till.sale())
    assert isinstance(result, Unknown)
    assert result.reason == "unverified answer: wechatpay-timestamp is too far from now"
    await control.post("clock", ahead_s=0)
    assert isinstance(await till.do_one(till.sale()), Approved)


async def test_rotation_by_control(simulator: Any, control: Control) -> None:
    old = simulator.certificate_serial_no
    status, told = await control.post("rotate_certificate", retire=True)
    assert (status, told["serial_no"]) == (201, simulator.certificate_serial_no)
    assert told["serial_no"] != old
    assert len(simulator.world.platform.certificates()) == 1


async def test_accounts_and_bills(till: Any, control: Control) -> None:
    await till.do_one(till.sale(1_000))
    assert await control.get("merchants") == {"1230000109": 994}
    assert await control.post("bills", at_once=True) == (200, {"at_once": True})
    assert json.dumps(await control.get("book")).count("SUCCESS") == 1
