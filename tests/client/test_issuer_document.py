"""The example of docs/issuers.md runs as it stands."""

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_service import IssuerServicer
from switch.domain.authorization import Authorization, CardCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, ChannelRequest, ChannelResult, Declined

DOCUMENT = Path(__file__).parents[2] / "docs" / "issuers.md"


@pytest.fixture
def example() -> dict[str, Any]:
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    return names


async def test_the_example_answers_the_switch(example: dict[str, Any]) -> None:
    hub = IssuerHub()
    channel = IssuerChannel("bank-1", hub)
    server = grpc.aio.server()
    servicer = IssuerServicer(hub, lambda _: "bank-1", lambda _: "ABCDEF", lambda: "switch-0")
    issuer_pb2_grpc.add_IssuerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    running = asyncio.create_task(example["main"](f"127.0.0.1:{port}", "bank-1", None))
    async with asyncio.timeout(30):
        while hub.link_count("bank-1") == 0:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)

    async def ask(operation: Operation, amount_minor: int, key: str) -> ChannelResult:
        record = Authorization(
            computed_id("a", "m", 1_750_000_000_000, key), "a", "m", "t", "5999", Operation.SALE,
            Money(amount_minor, "CNY"), EntryMode.KEYED, "", attempt=1,
        )  # fmt: skip
        deadline_s = asyncio.get_running_loop().time() + 5
        card = CardCredential(Pan("6259000000000005"))
        request = ChannelRequest(operation, record, record.money, card, Merchant("m"), deadline_s)
        channel.prepare([request])
        return await channel.send([request])[0]

    assert isinstance(await ask(Operation.SALE, 50_000, "k1"), Approved)
    assert await ask(Operation.SALE, 50_001, "k2") == Declined("40", "only small sales here")
    assert await ask(Operation.REVERSAL, 50_000, "k1") == Approved("00")
    assert await ask(Operation.REVERSAL, 50_000, "k3") == Approved("25")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.stop(0)
