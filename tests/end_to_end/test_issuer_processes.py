"""Several switch processes behind one port, one direct issuer: a stream to each; and stand-in while it is away."""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from shop import ISSUED, SETTLE_TIMEOUT_S, TRIES, Shop, too_slow

from payswitch.v1 import common_pb2
from switch.demo.environment import Environment
from switch.demo.presenting import Terminal
from switch.demo.processes import Child

pytestmark = pytest.mark.asyncio(loop_scope="module")

_STAND_IN = {
    "issuer": "demo", "largest_minor": 5_000, "card_minor": 8_000, "card_count": 5, "total_minor": 100_000,
    "total_count": 100, "pan_prefixes": ["6259"], "entries": ["nfc"],
}  # fmt: skip
_ROUTES = [
    {"name": "the issuer alone", "pan_prefix": "6259", "channels": ["issuer:demo"]},
    {"name": "cards", "pan_prefix": "", "channels": ["unionpay"]},
]
_OVERRIDES = {
    "PAYSWITCH_STAND_IN": json.dumps([_STAND_IN]),
    "PAYSWITCH_ROUTES": json.dumps(_ROUTES),
    "PAYSWITCH_LEASE_MS": "3000",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town() -> AsyncIterator[Environment]:
    with tempfile.TemporaryDirectory(prefix="payswitch-tests-", ignore_cleanup_errors=True) as directory:
        async with Environment(Path(directory) / "state", _OVERRIDES) as environment:
            yield environment


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = SETTLE_TIMEOUT_S) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


async def issuer_links(town: Environment, operations: str) -> int:
    text = await town.get_text(f"http://{operations}/metrics")
    [count] = re.findall(r'^payswitch_issuer_links\{issuer="demo"\} (\d+)', text, re.MULTILINE)
    return int(count)


async def another(town: Environment, number: int) -> Child:
    """A further process at the same port, with listeners of its own for operators."""
    child = town._child(f"switch-{number}", "serve", "--announce")
    child._environment |= {
        "PAYSWITCH_OPERATIONS__LISTEN": "127.0.0.1:0", "PAYSWITCH_OPERATIONS__GRPC_LISTEN": "127.0.0.1:0",
    }  # fmt: skip
    await child.start()
    return child


async def test_the_issuer_keeps_a_stream_to_every_process_behind_the_port(town: Environment) -> None:
    first = town.operations_url.removeprefix("http://")
    others = [await another(town, number) for number in (2, 3)]
    try:
        everyone = [first, *(each.ready["operations"] for each in others)]

        async def linked() -> bool:
            return [await issuer_links(town, each) for each in everyone] == [1, 1, 1]

        await until(linked)
        await others[0].kill()
        fourth = await another(town, 4)
        others.append(fourth)
        everyone[1] = fourth.ready["operations"]
        await until(linked)
    finally:
        for each in others:
            await each.stop()


async def test_stand_in_from_the_terminal_to_the_issuers_book(town: Environment) -> None:
    terminal = Terminal(town.state_dir)
    async with town.client() as client:
        shop = Shop(town, client)
        await shop.connected()
        for _ in range(TRIES):
            before = {line["message_id"] for line in await town.book("issuer")}
            there = await shop.ask(terminal.tap(ISSUED[0], 1_000))
            if not too_slow(there):
                break
        assert (there.decision, there.approval_code[:1] == "S") == (common_pb2.DECISION_APPROVED, False)
        await town.listening("issuer", False)
        try:
            away = [await shop.ask(terminal.tap(ISSUED[0], each)) for each in (5_000, 3_000, 1)]
            with_pin = await shop.ask(terminal.tap(ISSUED[3], 100, ISSUED[3].pin))
        finally:
            await town.listening("issuer", True)
    assert [each.decision for each in away[:2]] == [common_pb2.DECISION_APPROVED] * 2
    assert all(each.approval_code.startswith("S") for each in away[:2])
    assert (away[2].decision, away[2].response_code) == (common_pb2.DECISION_DECLINED, "91")
    assert (with_pin.decision, with_pin.response_code) == (common_pb2.DECISION_DECLINED, "91")

    async def told() -> bool:
        return sum(line["stood_in"] for line in await town.book("issuer")) == 2

    await until(told)
    booked = [line for line in await town.book("issuer") if line["message_id"] not in before]
    assert sorted((line["amount_minor"], line["state"], line["stood_in"], line["times_seen"]) for line in booked) == [
        (1_000, "approved", False, 1), (3_000, "approved", True, 1), (5_000, "approved", True, 1),
    ]  # fmt: skip
