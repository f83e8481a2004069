"""The HSM in processes of its own: every channel is served; without them nothing is approved; the switch stays up."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from shop import PAID, UNIONPAY, WAYS, Shop, decided

from payswitch.v1 import authorization_pb2 as pb
from switch.client.errors import OutcomeUnknown, PaymentError, SwitchUnavailable
from switch.demo.environment import Environment

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def store(hsm_apart: Environment) -> AsyncIterator[Shop]:
    async with hsm_apart.client() as client:
        shop = Shop(hsm_apart, client)
        await shop.connected()
        yield shop


def hsm_processes(environment: Environment) -> dict[str, psutil.Process]:
    """By name, fast-0 …, of those that live."""
    found = {}
    for each in psutil.Process(environment.pids["switch"]).children():
        line = each.cmdline()
        if "hsm.serve" in line:
            found[Path(line[line.index("--socket") + 1]).stem] = each
    return found


async def hsm_check(environment: Environment) -> str:
    """Its line, and not what was remembered from before."""
    await asyncio.sleep(0.6)
    lines = (await environment.get_text(f"{environment.operations_url}/readyz?verbose")).splitlines()
    return next(each for each in lines if "] hsm: " in each)


async def answered(shop: Shop, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse | PaymentError:
    try:
        return await shop.client.authorize(request)
    except PaymentError as error:
        return error


async def test_every_channel_is_served(store: Shop) -> None:
    assert sorted(hsm_processes(store.environment)) == ["fast-0", "fast-1", "signing-0", "signing-1"]
    assert await hsm_check(store.environment) == "[+] hsm: 4 of 4 processes connected, 2 of them sign"
    for way in WAYS:
        request = await store.pay(way)
        assert [each.standing for each in await store.booked(way, request)] == [PAID]
    log = await asyncio.to_thread((store.environment.state_dir / "log" / "switch.log").read_text)
    assert any(json.loads(line)["event"].startswith("signing-1: serves slow commands") for line in log.splitlines())
    metrics = await store.environment.get_text(f"{store.environment.operations_url}/metrics")
    assert 'payswitch_hsm_connected{process="signing-1"} 1.0' in metrics
    assert 'payswitch_hsm_outstanding_items{process="fast-0"}' in metrics


async def test_one_that_is_killed_costs_little_and_comes_back(store: Shop) -> None:
    before = hsm_processes(store.environment)
    sent = [store.order(WAYS[number % len(WAYS)]) for number in range(40)]
    calls = []
    for number, request in enumerate(sent):
        calls.append(asyncio.ensure_future(answered(store, request)))
        if number == 20:
            before["fast-0"].send_signal(signal.SIGKILL)
        await asyncio.sleep(0.004)
    answers = await asyncio.gather(*calls)
    assert any(isinstance(each, pb.AuthorizeResponse) for each in answers[21:])
    for number, (request, answer) in enumerate(zip(sent, answers, strict=True)):
        # Whoever was refused sends again, and is paid once.
        if isinstance(answer, SwitchUnavailable | OutcomeUnknown):
            answer = await store.until_answered(lambda request=request: store.client.authorize(request))  # type: ignore[misc]
        assert isinstance(answer, pb.AuthorizeResponse)
        booked = [each.standing for each in await store.booked(WAYS[number % len(WAYS)], request)]
        assert (booked == [PAID]) or decided(answer)[0] != "approved"
        assert len(booked) <= 1
    await store.environment.until_ready()
    assert await hsm_check(store.environment) == "[+] hsm: 4 of 4 processes connected, 2 of them sign"
    after = hsm_processes(store.environment)
    assert after["fast-0"].pid != before["fast-0"].pid
    assert after["fast-1"].pid == before["fast-1"].pid


async def test_without_any_nothing_is_approved_and_the_same_switch_recovers(store: Shop) -> None:
    environment = store.environment
    switch = environment.pids["switch"]
    tokens = environment.state_dir / "tokens" / "tokens"
    away = tokens.rename(tokens.with_name("away"))  # so that none can start
    try:
        for each in hsm_processes(environment).values():
            os.kill(each.pid, signal.SIGKILL)
        requests = [store.order(way) for way in WAYS]
        for request in requests:
            assert isinstance(await answered(store, request), SwitchUnavailable)
        check = await hsm_check(environment)
        assert check.startswith("[-] hsm: no HSM process")
        assert "in a row (exit code 1)" in check
        assert [await store.booked(way, each) for way, each in zip(WAYS, requests, strict=True)] == [[]] * len(WAYS)
    finally:
        away.rename(tokens)
    await environment.until_ready()
    for way, request in zip(WAYS, requests, strict=True):
        await store.until_served(way)  # ready is the switch; the processes that sign may come back later
        answer = await store.until_answered(lambda request=request: store.client.authorize(request))  # type: ignore[misc]
        assert decided(answer) == ("approved", "00")
        assert [each.standing for each in await store.booked(way, request)] == [PAID]
    assert environment.pids["switch"] == switch
    assert psutil.pid_exists(switch)


async def test_a_hung_one_approves_nothing_late(store: Shop) -> None:
    """It holds what it was sent, and answers when it is too late."""
    environment = store.environment
    fast = [each for name, each in hsm_processes(environment).items() if name.startswith("fast")]
    requests = [store.order(way) for way in WAYS]
    for each in fast:
        each.suspend()
    try:
        answers = await asyncio.gather(*(answered(store, each) for each in requests))
    finally:
        for each in fast:
            each.resume()
    for way, request, answer in zip(WAYS, requests, answers, strict=True):
        assert isinstance(answer, PaymentError)
        assert await store.booked(way, request) == []
    await environment.until_ready()
    for way in WAYS:
        await store.pay(way)


async def test_they_end_with_the_switch(store: Shop) -> None:
    processes = hsm_processes(store.environment)
    assert await store.environment.stop_switch() == 0
    assert not any(each.is_running() for each in processes.values())
    await store.environment.start_switch()
    await store.connected()
    processes = hsm_processes(store.environment)
    assert len(processes) == 4
    await store.environment.kill_switch()
    await asyncio.to_thread(psutil.wait_procs, list(processes.values()), timeout=10)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes.values())
    await store.environment.start_switch()
    await store.connected()
    await store.until_served(UNIONPAY)
