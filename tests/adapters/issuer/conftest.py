"""A loopback switch: the hub and its gRPC door, with an authentication that the test sets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import grpc.aio
import pytest
from issuer_loopback import LoopbackSwitch

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_notices import IssuerNotices
from switch.api.issuer_service import IssuerServicer, LinkLimits
from switch.ports import Notice

Start = Callable[..., Awaitable[LoopbackSwitch]]


@pytest.fixture
async def start_switch() -> AsyncIterator[Start]:
    switches: list[LoopbackSwitch] = []

    async def start(limits: LinkLimits | None = None, identity: str = "bank", **options: Any) -> LoopbackSwitch:
        limits = limits or LinkLimits()
        hub = IssuerHub()
        numbers = iter(range(1, 10_000))
        channel = IssuerChannel("bank", hub, new_id=lambda: UUID(int=next(numbers)), **options)
        notices: list[Notice] = []

        async def act(notice: Notice) -> None:
            notices.append(notice)

        taker = IssuerNotices(lambda _, notice: channel.read_notice(notice), act)
        servicer = IssuerServicer(
            hub, lambda context: identity, lambda label: "ABCDEF", lambda: "p1", limits, taker.take
        )
        server = grpc.aio.server()
        issuer_pb2_grpc.add_IssuerServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await channel.start()
        switches.append(LoopbackSwitch(hub, channel, servicer, server, f"127.0.0.1:{port}", limits, notices))
        return switches[-1]

    yield start
    for switch in switches:
        for simulator in switch.simulators:
            await simulator.close()
        await switch.channel.close()
        await switch.server.stop(0.5)


@pytest.fixture
async def switch(start_switch: Start) -> LoopbackSwitch:
    return await start_switch()
