"""A loopback switch: the hub and its gRPC door, with an authentication that the test sets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc.aio
import pytest

from adapters.issuer.channel import IssuerChannel
from adapters.issuer.hub import IssuerHub
from adapters.issuer.simulator import IssuerSimulator, default_accounts
from adapters.issuer.simulator_pin import make_pin_block
from payswitch.v1 import issuer_pb2_grpc
from switch.api.issuer_service import IssuerServicer, LinkLimits
from switch.domain.authorization import Authorization, CardCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.ports import ChannelRequest, ChannelResult

ZONE_PIN_KEY = bytes.fromhex("433457CB072A29628C495D20E0E35826")


@dataclass
class LoopbackSwitch:
    """A switch's issuer door on a free port, its hub and the channel of issuer "bank"."""

    hub: IssuerHub
    channel: IssuerChannel
    servicer: IssuerServicer
    server: Any
    target: str
    limits: LinkLimits
    simulators: list[IssuerSimulator] = field(default_factory=list)
    numbers: int = 0

    async def simulator(self, target: Any = None, **options: Any) -> IssuerSimulator:
        simulator = IssuerSimulator(target or self.target, "bank", ZONE_PIN_KEY, default_accounts(), **options)
        self.simulators.append(simulator)
        await simulator.start()
        await asyncio.wait_for(simulator.ready.wait(), 5)
        return simulator

    def authorization(self, operation: Operation, amount_minor: int) -> Authorization:
        self.numbers += 1
        return Authorization(
            id=computed_id("acq", "m1", 1_750_000_000_000, str(self.numbers)),
            acquirer_id="acq",
            merchant_id="m1",
            terminal_id="t1",
            merchant_category_code="5999",
            operation=operation,
            money=Money(amount_minor, "CNY"),
            entry=EntryMode.KEYED,
            masked_credential="",
            attempt=1,
        )

    def request(
        self,
        amount_minor: int = 1_000,
        operation: Operation = Operation.SALE,
        of: Authorization | None = None,
        card: int = 0,
        pin: str = "",
        within_s: float = 2.0,
    ) -> ChannelRequest:
        pan = default_accounts()[card].pan
        authorization = of if of is not None else self.authorization(operation, amount_minor)
        request = ChannelRequest(
            operation=operation,
            authorization=authorization,
            money=Money(amount_minor, "CNY"),
            credential=CardCredential(Pan(pan.reveal())),
            merchant=Merchant("m1", "Noodles"),
            deadline_s=asyncio.get_running_loop().time() + within_s,
            pin_block=make_pin_block(ZONE_PIN_KEY, pin, pan.reveal()) if pin else b"",
        )
        self.channel.prepare([request])
        if of is None:
            authorization.trace = request.trace
        return request

    async def ask(self, request: ChannelRequest) -> ChannelResult:
        return await asyncio.wait_for(self.channel.send([request])[0], 5)

    async def settled(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)


Start = Callable[..., Awaitable[LoopbackSwitch]]


@pytest.fixture
async def start_switch() -> AsyncIterator[Start]:
    switches: list[LoopbackSwitch] = []

    async def start(limits: LinkLimits | None = None, identity: str = "bank") -> LoopbackSwitch:
        limits = limits or LinkLimits()
        hub = IssuerHub()
        numbers = iter(range(1, 10_000))
        channel = IssuerChannel("bank", hub, new_id=lambda: UUID(int=next(numbers)))
        servicer = IssuerServicer(hub, lambda context: identity, lambda label: "ABCDEF", "p1", limits)
        server = grpc.aio.server()
        issuer_pb2_grpc.add_IssuerServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await channel.start()
        switches.append(LoopbackSwitch(hub, channel, servicer, server, f"127.0.0.1:{port}", limits))
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
