"""A stream that ends while a frame is being written: the status comes after the frame, else gRPC drops it."""

import asyncio
from typing import Any

import grpc
import pytest

from adapters.issuer.hub import IssuerHub
from payswitch.v1 import issuer_pb2 as pb
from switch.api.issuer_link import Link, LinkFault, LinkLimits


class SlowContext:
    """Of a peer that takes its time to take a frame, and says something wrong meanwhile."""

    def __init__(self) -> None:
        self.begun, self.taken, self.wrong = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.written = 0

    async def write(self, frame: pb.ConnectResponse) -> None:
        self.begun.set()
        # As gRPC's: what cancels the caller does not take the operation back.
        await asyncio.shield(asyncio.ensure_future(self.taken.wait()))
        self.written += 1

    async def read(self) -> pb.ConnectRequest:
        await self.wrong.wait()
        return pb.ConnectRequest()


async def take_nothing(*notice: Any) -> str:
    return ""


async def test_the_status_waits_for_the_frame_that_is_under_way() -> None:
    context = SlowContext()
    link = Link("bank", 1024, context, IssuerHub(), LinkLimits(), take_nothing)  # type: ignore[arg-type]
    link.say(pb.ConnectResponse(drain=pb.Drain()))
    serving = asyncio.ensure_future(link.serve())
    await context.begun.wait()
    context.wrong.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not serving.done()
    context.taken.set()
    with pytest.raises(LinkFault) as fault:
        await serving
    assert fault.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert context.written == 1
