"""Cutovers, notices, requests that nobody knows, keys that grow old, and the control endpoint behind them."""

import asyncio
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from adapters.simulation import control_routes
from adapters.unionpay import metrics
from switch.domain.response_codes import RETRIABLE_ELSEWHERE
from switch.domain.states import Operation
from switch.ports import Approved, Declined


def asked(name: str) -> float:
    return metrics.NETWORK_REQUESTS.labels(name)._value.get()


async def test_a_cutover(network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, until: Any) -> None:
    before = asked("cutover_begins"), asked("cutover_ends")
    sale = make_request(rich, 1_000)
    await exchange(sale)
    in_flight = make_request(rich, 990_202)  # answered a second later
    channel.prepare([in_flight])
    [late] = channel.send([in_flight])
    await until(lambda: len(network.book()) == 2)
    first_day = network.settlement_day()

    await network.begin_cutover()
    assert channel.health().ready
    assert channel.health().detail.endswith("cutover under way")
    refused = await exchange(make_request(rich))
    assert isinstance(refused, Declined)
    assert refused.response_code == "90"
    assert refused.response_code in RETRIABLE_ELSEWHERE
    assert isinstance(await exchange(make_request(rich, 300, Operation.REFUND, original=sale)), Approved)
    await network.end_cutover()

    assert not channel.health().detail.endswith("cutover under way")
    assert channel._network_requests.settlement_date == f"{network.settlement_day():%m%d}"
    assert (asked("cutover_begins"), asked("cutover_ends")) == (before[0] + 1, before[1] + 1)
    assert isinstance(await asyncio.wait_for(late, 30), Approved)  # what was in flight stays
    after = make_request(rich)
    assert isinstance(await exchange(after), Approved)
    days = [each["settlement_day"] for each in network.book()]
    assert days == [f"{first_day}"] * 3 + [f"{network.settlement_day()}"]
    assert network.settlement_day() > first_day


async def test_notices_are_confirmed(network: Any, channel: Any) -> None:
    before = asked("notice")
    [connection] = network.connections
    assert await connection.notify("planned work at night")
    assert asked("notice") == before + 1


async def test_a_request_that_nobody_knows(network: Any, channel: Any) -> None:
    before = metrics.REFUSED.labels("unknown_request")._value.get()
    [connection] = network.connections
    assert not await connection.announce("777", {})
    assert metrics.REFUSED.labels("unknown_request")._value.get() == before + 1


async def test_old_keys_are_renewed(
    network: Any, start_channel: Any, exchange_on: Any, make_request: Any, rich: Any, hsm: Any, until: Any
) -> None:
    """We ask (101), while traffic flows."""
    channel = await start_channel(network.port, links=2, key_life_s=0.1, key_request_every_s=0.05)
    exchange, activations = exchange_on(channel), hsm.activations
    results = []
    while hsm.activations < activations + 6:
        results.append(await exchange(make_request(rich)))
    assert all(isinstance(each, Approved) for each in results)
    assert network.failed_key_resets == 0


async def test_the_control_endpoint(
    network: Any, channel: Any, exchange: Any, make_request: Any, rich: Any, hsm: Any, until: Any, tmp_path: Any
) -> None:
    network.settings = replace(network.settings, bills_dir=tmp_path)
    app = web.Application()
    app.add_routes(control_routes("unionpay", network.scenarios, network.book) + network.control_routes())
    async with TestClient(TestServer(app)) as client:
        activations = hsm.activations
        assert (await client.post("/unionpay/key-resets")).status == 200
        assert hsm.activations == activations + 2
        assert await (await client.post("/unionpay/echoes")).json() == {"done": 1}
        for phase, under_way in (("begin", True), ("end", False)):
            await client.post(f"/unionpay/cutovers/{phase}")
            assert channel._network_requests.in_cutover is under_way
        state = await (await client.get("/unionpay/state")).json()
        assert state["members"] == {"44190440": 1}
        assert state["settlement_day"] == f"{network.settlement_day()}"
        await exchange(make_request(rich))
        answer = await client.post(f"/unionpay/bills/{network.settlement_day()}")
        [path] = (await answer.json())["files"]
        assert path.endswith("01ACOM")
        assert (await client.post("/unionpay/bills/yesterday")).status == 400
        await client.post("/unionpay/scenarios", json={"behaviour": "decline", "code": "43", "times": 1})
        declined = await exchange(make_request(rich))
        assert isinstance(declined, Declined)
        assert declined.response_code == "43"
        link = channel._sessions[0].link
        assert (await client.delete("/unionpay/links")).status == 204
        await until(link.closed.done)
        await until(lambda: channel.health().ready)
