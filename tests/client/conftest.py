"""A scripted AuthorizationService on a loopback port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc, common_pb2
from switch.client.acquirer import AcquirerClient


class FakeSwitch(authorization_pb2_grpc.AuthorizationServiceServicer):
    """Answers each item of a frame with what `reply` makes of it; None leaves it unanswered."""

    def __init__(self) -> None:
        self.frames: list[list[pb.AuthorizeStreamItem]] = []
        self.streams = 0
        self.unary: list[Any] = []
        self.delay_s = 0.0
        self.cut_after_frames = 0
        self.refuse_streams = ""
        self.unary_error: tuple[grpc.StatusCode, str] | None = None
        self.reply: Callable[[pb.AuthorizeStreamItem], pb.AuthorizeStreamResult | None] = self.approve
        self.server: Any = None
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def items(self) -> list[pb.AuthorizeStreamItem]:
        return [item for frame in self.frames for item in frame]

    @staticmethod
    def approve(item: pb.AuthorizeStreamItem) -> pb.AuthorizeStreamResult:
        response = pb.AuthorizeResponse(
            authorization_id=item.request.idempotency_key, decision=common_pb2.DECISION_APPROVED, response_code="00"
        )
        return pb.AuthorizeStreamResult(sequence=item.sequence, response=response)

    @staticmethod
    def error(item: pb.AuthorizeStreamItem, code: grpc.StatusCode, message: str) -> pb.AuthorizeStreamResult:
        return pb.AuthorizeStreamResult(sequence=item.sequence, error={"code": code.value[0], "message": message})

    async def AuthorizeStream(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.AuthorizeStreamResponse]:
        self.streams += 1
        if self.refuse_streams:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, self.refuse_streams)
        async for frame in request_iterator:
            self.frames.append(list(frame.items))
            if self.cut_after_frames and len(self.frames) == self.cut_after_frames:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            results = [result for item in frame.items if (result := self.reply(item)) is not None]
            if results:
                yield pb.AuthorizeStreamResponse(results=results)

    async def _answer(self, request: Any, context: Any, answer: Any) -> Any:
        self.unary.append(request)
        if self.unary_error:
            await context.abort(*self.unary_error)
        return answer

    async def Authorize(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.AuthorizeResponse(response_code="51"))

    async def Capture(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.CaptureResponse())

    async def Increment(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.IncrementResponse())

    async def Void(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.VoidResponse())

    async def Refund(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.RefundResponse())

    async def Reverse(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.ReverseResponse())

    async def Get(self, request: Any, context: Any) -> Any:
        return await self._answer(request, context, pb.GetResponse())

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for state in (pb.AUTHORIZATION_STATE_AWAITING_PAYER, pb.AUTHORIZATION_STATE_APPROVED):
            yield pb.WatchResponse(authorization={"state": state})
        if self.unary_error:
            await context.abort(*self.unary_error)

    async def start(self) -> None:
        self.server = grpc.aio.server()
        authorization_pb2_grpc.add_AuthorizationServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop(0)


@pytest.fixture
async def switch() -> AsyncIterator[FakeSwitch]:
    fake = FakeSwitch()
    await fake.start()
    yield fake
    await fake.stop()


class UnhurriedClient(AcquirerClient):
    """A payment may take longer than any machine needs, unless its test says how long."""

    async def authorize(self, request: pb.AuthorizeRequest, budget_ms: int = 20_000) -> pb.AuthorizeResponse:
        return await super().authorize(request, budget_ms)


Connect = Callable[..., Awaitable[AcquirerClient]]


@pytest.fixture
async def connect(switch: FakeSwitch) -> AsyncIterator[Connect]:
    """Opens clients, ready to send, that are closed after the test."""
    clients: list[AcquirerClient] = []

    async def open_(ready: bool = True, **options: Any) -> AcquirerClient:
        client = UnhurriedClient(switch.target, **options)
        clients.append(client)
        await client.__aenter__()
        if ready:
            await asyncio.wait_for(client.ready.wait(), 30)
        return client

    yield open_
    for client in clients:
        await client.close(timeout_s=0.1)
