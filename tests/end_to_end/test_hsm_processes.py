"""The HSM in processes of its own: every channel is served; without them nothing is approved; the switch stays up."""

import asyncio
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from dumps import PIN, dumped_by_gcore, forms_of, found_in, mappings
from shop import ISSUED, PAID, RICH, SETTLE_TIMEOUT_S, TRIES, UNIONPAY, WAYS, Shop, decided, too_slow

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.client.errors import OutcomeUnknown, PaymentError, SwitchUnavailable
from switch.demo.environment import Environment
from switch.demo.secrets import zone_pin_key

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


async def refused(shop: Shop, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse | PaymentError:
    """What the switch says of it, asked again where it was too slow to say anything."""
    for _ in range(TRIES):
        answer = await answered(shop, request)
        if not isinstance(answer, OutcomeUnknown):
            break
    return answer


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


# --- what a core dump would hold -------------------------------------------------------------------------------------

linux = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of another process that forbids it")
async def test_no_dump_holds_a_pin_or_a_key(store: Shop, tmp_path: Path) -> None:
    """Of a PIN towards UnionPay's working key and towards the issuer's; both say that it is wrong."""
    environment, cards = store.environment, [RICH, ISSUED[0]]
    for card in cards * 12:
        answer = await store.ask(store.terminal.tap(card, 5_100, PIN))
        assert answer.decision in (common_pb2.DECISION_DECLINED, common_pb2.DECISION_UNKNOWN)
    forms = forms_of(environment, cards)
    assert found_in(environment.pids["switch"], forms) == set()
    apart = hsm_processes(environment).values()
    assert len(apart) == 4
    for each in apart:
        assert list(mappings(each.pid)) == []
        assert resource.prlimit(each.pid, resource.RLIMIT_CORE) == (0, 0)
    if shutil.which("gcore"):
        assert dumped_by_gcore(next(iter(apart)).pid, tmp_path, forms) == set()


@linux
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_only_root_reads_the_memory_of_an_hsm_process(store: Shop) -> None:
    for each in hsm_processes(store.environment).values():
        with pytest.raises(PermissionError):
            os.open(f"/proc/{each.pid}/mem", os.O_RDONLY)


@linux
async def test_the_looking_finds_what_is_there(store: Shop) -> None:
    """In a process that has the PIN and the terminal's key in its memory."""
    key = zone_pin_key(store.environment.state_dir)
    line = "bytes.fromhex(sys.stdin.readline())[::-1]"
    holds = f"import sys; held = [{line}, {line}]; print('held', flush=True); sys.stdin.read()"
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", holds, **pipes)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(f"{PIN.encode()[::-1].hex()}\n{key[::-1].hex()}\n".encode())
    assert await holder.stdout.readline() == b"held\n"
    found = found_in(holder.pid, forms_of(store.environment, [RICH]))
    await holder.communicate(b"")
    assert found == {"the PIN, in digits", "the key acquirer_zpk"}


# --- when they end ----------------------------------------------------------------------------------------------------


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
    # One that ended while it came back is started again, and is complained of until it has lived for a while.
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while await hsm_check(store.environment) != "[+] hsm: 4 of 4 processes connected, 2 of them sign":
            continue
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
        sent = [(way, store.order(way)) for way in WAYS * 3]
        for _, request in sent:
            assert isinstance(await refused(store, request), SwitchUnavailable)
        check = await hsm_check(environment)
        assert check.startswith("[-] hsm: no HSM process")
        assert "in a row (exit code 1)" in check
        assert [await store.booked(way, each) for way, each in sent] == [[]] * len(sent)
    finally:
        away.rename(tokens)
    await environment.until_ready()
    for way in WAYS:
        await store.until_served(way)  # ready is the switch; the processes that sign may come back later
    approved = set()
    for way, request in sent:
        answer = await store.until_answered(lambda request=request: store.client.authorize(request))  # type: ignore[misc]
        if too_slow(answer):
            continue
        assert decided(answer) == ("approved", "00")
        assert [each.standing for each in await store.booked(way, request)] == [PAID]
        approved.add(way)
    # A machine too slow for all three of a channel would not have served it just now.
    assert approved == set(WAYS)
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
