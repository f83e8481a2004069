"""The SDK for acquirers."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import structlog

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc as pb_grpc
from switch.client.connection import END_OF_STREAM, Backoff, ClientCredentials, open_channel
from switch.client.errors import OutcomeUnknown, PaymentError, SwitchUnavailable, call_error, status_of, stream_error
from switch.client.expiry import Expiries
from switch.client.frames import Call, FrameWindow, build_frame

log = structlog.get_logger()

_LONGEST_BUDGET_MS = 200
_MOST_REPEATS = 3
_REPEAT_AFTER_S = 0.02
# Repeats may be a tenth of the calls, and this many more at once: a sick switch is not buried under repeats.
_REPEATS_AT_ONCE = 100.0
_REPEATS_PER_CALL = 0.1
# Calls have gone unanswered past their budget and no frame has come for so long: the connection is dead.
_DEAD_AFTER_S = 1.0
# The switch refused the stream itself: another try would be refused as well.
_STREAM_REFUSALS = frozenset(
    {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)


def identify(message: pb.AuthorizeRequest | pb.FollowOn) -> None:
    """Fill in transmission time and idempotency key if unset, in place: sending the same object again is a repeat."""
    if not message.transmission_time_ms:
        message.transmission_time_ms = time.time_ns() // 1_000_000
    if not message.idempotency_key:
        message.idempotency_key = str(uuid4())


class AcquirerClient:
    """Authorizations over one long-lived stream, everything else over calls of their own.

    Calls made while frames are in flight travel together in the next one; there is no waiting for company. On a lost
    stream and on UNAVAILABLE the same request (same key, same time) is sent again while its budget lasts.

    target: `host:port`. credentials: None is for tests. server_name: what the server's certificate must name, if not
    the host. max_outstanding: calls open at once; one more raises SwitchUnavailable. grace_ms: how long past its
    budget an answer is still awaited, for the way back.

    ready: set while the stream is up; nobody need wait for it. discarded_answers: of calls cancelled or given up.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: ClientCredentials | None = None,
        max_frame_items: int = 128,
        max_frames_in_flight: int = 4,
        max_outstanding: int = 8_192,
        grace_ms: int = 50,
        server_name: str | None = None,
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._server_name = server_name
        self._max_frame_items = max_frame_items
        self._max_outstanding = max_outstanding
        self._grace_s = grace_ms / 1000
        self._sequences = count(1)
        self._open: dict[int, Call] = {}
        self._waiting: deque[Call] = deque()
        self._window = FrameWindow(max_frames_in_flight)
        self._wake = asyncio.Event()
        self._emptied = asyncio.Event()
        self._window_timer: asyncio.TimerHandle | None = None
        self._repeat_allowance = _REPEATS_AT_ONCE
        self._closing = False
        self._heard_s = 0.0
        self.ready = asyncio.Event()
        self.discarded_answers = 0
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._stream: Any = None
        self._talker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._expiries: Expiries

    async def __aenter__(self) -> "AcquirerClient":
        self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- authorizations in frames -----------------------------------------------------------------------------------

    async def authorize(self, request: pb.AuthorizeRequest, budget_ms: int = 200) -> pb.AuthorizeResponse:
        """The answer to one authorization; a decline is an answer.

        Fills in the request's key and time if unset. Raises PaymentRefused (nothing was approved) or OutcomeUnknown
        (no answer in budget and grace; repeat the same request or reverse it). A cancelled call's answer is discarded.
        """
        if self._talker is None:
            self._connect()
        if self._closing:
            raise SwitchUnavailable(grpc.StatusCode.UNAVAILABLE, "the client is closing")
        if len(self._open) >= self._max_outstanding:
            raise SwitchUnavailable(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._max_outstanding} calls outstanding")
        identify(request)
        loop = self._loop
        sequence = next(self._sequences)
        deadline_s = loop.time() + budget_ms / 1000
        call = Call(sequence, request, loop.create_future(), deadline_s)
        self._open[sequence] = call
        self._waiting.append(call)
        self._expiries.add(sequence, deadline_s + self._grace_s)
        self._wake.set()
        try:
            return await call.answer
        finally:
            self._open.pop(sequence, None)
            if not self._open:
                self._emptied.set()

    # --- calls of their own -----------------------------------------------------------------------------------------

    async def authorize_unary(self, request: pb.AuthorizeRequest, budget_ms: int = 200) -> pb.AuthorizeResponse:
        """As `authorize`, in a call of its own and never repeated."""
        identify(request)
        # The switch reads a shorter deadline as the budget; 200 ms it keeps by itself, and the way back may be added.
        grace_s = self._grace_s if budget_ms >= _LONGEST_BUDGET_MS else 0.0
        answer: pb.AuthorizeResponse = await self._call("Authorize", request, budget_ms / 1000 + grace_s)
        return answer

    async def capture(self, request: pb.CaptureRequest, timeout_s: float = 5.0) -> pb.CaptureResponse:
        """Take a pre-authorized amount. This and the other later operations fill in their key and time if unset."""
        identify(request.follow_on)
        answer: pb.CaptureResponse = await self._call("Capture", request, timeout_s)
        return answer

    async def increment(self, request: pb.IncrementRequest, timeout_s: float = 5.0) -> pb.IncrementResponse:
        """Raise a pre-authorization."""
        identify(request.follow_on)
        answer: pb.IncrementResponse = await self._call("Increment", request, timeout_s)
        return answer

    async def void(self, request: pb.VoidRequest, timeout_s: float = 5.0) -> pb.VoidResponse:
        identify(request.follow_on)
        answer: pb.VoidResponse = await self._call("Void", request, timeout_s)
        return answer

    async def refund(self, request: pb.RefundRequest, timeout_s: float = 5.0) -> pb.RefundResponse:
        identify(request.follow_on)
        answer: pb.RefundResponse = await self._call("Refund", request, timeout_s)
        return answer

    async def reverse(self, request: pb.ReverseRequest, timeout_s: float = 5.0) -> pb.ReverseResponse:
        identify(request.follow_on)
        answer: pb.ReverseResponse = await self._call("Reverse", request, timeout_s)
        return answer

    async def get(self, request: pb.GetRequest, timeout_s: float = 5.0) -> pb.GetResponse:
        answer: pb.GetResponse = await self._call("Get", request, timeout_s)
        return answer

    async def watch(self, request: pb.WatchRequest, timeout_s: float | None = None) -> AsyncIterator[pb.WatchResponse]:
        """The authorization now and after every change, until it is final. Close the iterator to stop earlier."""
        self._connect()
        changes = self._stub.Watch(request, timeout=timeout_s)
        try:
            async for change in changes:
                yield change
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None
        finally:
            changes.cancel()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Take no more calls, wait for the open ones, hang up. What is still open then fails as on a lost stream."""
        self._closing = True
        if self._talker is None or self._channel is None:
            return
        self._emptied.clear()
        if self._open:
            with suppress(TimeoutError):  # what is still open is failed below
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
        self._talker.cancel()
        await asyncio.wait([self._talker])
        for call in list(self._open.values()):
            self._give_up(call, "the client closed")
        self._expiries.close()
        if self._window_timer is not None:
            self._window_timer.cancel()
        await self._channel.close(None)

    async def _call(self, method: str, request: object, timeout_s: float) -> Any:
        self._connect()
        try:
            return await getattr(self._stub, method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None

    def _connect(self) -> None:
        """The channel belongs to the running loop, so it is opened at the first use and not in the constructor."""
        if self._talker is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._expiries = Expiries(self._loop, self._expire)
        self._channel = open_channel(self._target, self._credentials, self._server_name)
        self._stub = pb_grpc.AuthorizationServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._talker = self._loop.create_task(self._talk(), name="acquirer-stream")
        self._talker.add_done_callback(self._talker_ended)

    def _talker_ended(self, talker: "asyncio.Task[None]") -> None:
        if not talker.cancelled() and (error := talker.exception()) is not None:
            self._closing = True
            log.error("acquirer_stream_died", error=repr(error))
            for call in list(self._open.values()):
                self._give_up(call, "the client failed")

    # --- the stream -------------------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        """Keep one stream up: the first call after a pause should not pay for a handshake."""
        backoff = Backoff()
        while True:
            code, message, heard = await self._converse()
            self._after_loss(code, message)
            if heard:
                backoff.reset()
            log.info("acquirer_stream_lost", target=self._target, code=code.name, message=message)
            await asyncio.sleep(backoff.next_s())

    async def _converse(self) -> tuple[grpc.StatusCode, str, bool]:
        """One stream from dialling to its end: its status, and whether anything was heard on it."""
        stream = self._stream = self._stub.AuthorizeStream()
        begun_s = self._heard_s = self._loop.time()
        writer = self._loop.create_task(self._write_frames(stream), name="acquirer-writer")
        writer.add_done_callback(lambda _: stream.cancel())
        try:
            while True:
                frame = await stream.read()
                if frame is END_OF_STREAM:
                    return await stream.code(), await stream.details(), self._heard_s > begun_s
                self._heard_s = self._loop.time()
                self._take_results(frame)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or "", self._heard_s > begun_s
        except asyncio.CancelledError:
            # grpc.aio raises this to the reader also when it was the stream that we cancelled, not this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return grpc.StatusCode.UNAVAILABLE, "given up", self._heard_s > begun_s
        finally:
            self._stream = None
            self.ready.clear()
            writer.cancel()
            stream.cancel()
            await asyncio.wait([writer])
            if not writer.cancelled() and (fault := writer.exception()) is not None:
                log.error("acquirer_writer_died", error=type(fault).__name__)  # its text may quote a field

    async def _write_frames(self, stream: Any) -> None:
        # The reader learns the status of a stream that ends; to the writer its end is only the end.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await stream.wait_for_connection()
            self.ready.set()
            while True:
                now_s = self._loop.time()
                calls = self._next_calls(now_s)
                if calls:
                    await stream.write(build_frame(calls, self._window.open_frame(now_s), now_s))
                else:
                    await self._wake_up()

    async def _wake_up(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    def _next_calls(self, now_s: float) -> list[Call]:
        """The calls of the next frame; none if nothing waits or the window is full."""
        if not self._waiting:
            return []
        if not self._window.is_open(now_s):
            if self._window_timer is None:
                self._window_timer = self._loop.call_at(self._window.opens_s(), self._window_may_be_open)
            return []
        calls: list[Call] = []
        while self._waiting and len(calls) < self._max_frame_items:
            call = self._waiting.popleft()
            if call.answer.done():
                continue
            if call.deadline_s <= now_s:
                self._give_up(call, "no frame could be sent within the budget")
                continue
            calls.append(call)
        return calls

    def _window_may_be_open(self) -> None:
        self._window_timer = None
        self._wake.set()

    def _take_results(self, frame: pb.AuthorizeStreamResponse) -> None:
        last_frame = 0
        answered = 0
        for result in frame.results:
            call = self._open.get(result.sequence)
            if call is None or call.answer.done():
                self.discarded_answers += 1
                continue
            last_frame = max(last_frame, call.frame)
            if result.HasField("response"):
                call.answer.set_result(result.response)
                answered += 1
            else:
                self._take_error(call, status_of(result.error.code), result.error.message)
        self._repeat_allowance = min(_REPEATS_AT_ONCE, self._repeat_allowance + answered * _REPEATS_PER_CALL)
        self._window.acknowledge(last_frame)
        if self._waiting:
            self._wake.set()

    def _take_error(self, call: Call, code: grpc.StatusCode, message: str) -> None:
        call.travelling = False
        if code is grpc.StatusCode.UNAVAILABLE:
            wait_s = _REPEAT_AFTER_S * 2**call.repeats
            in_time = self._loop.time() + wait_s < call.deadline_s
            if in_time and call.repeats < _MOST_REPEATS and self._repeat_allowance >= 1:
                call.repeats += 1
                self._repeat_allowance -= 1
                self._loop.call_later(wait_s, self._put_back, call)
                return
        call.answer.set_exception(stream_error(code, message))

    def _put_back(self, call: Call) -> None:
        if not call.answer.done():
            self._waiting.append(call)
            self._wake.set()

    def _after_loss(self, code: grpc.StatusCode, message: str) -> None:
        """What was sent on the lost stream is sent again on the next, before what has waited for it."""
        self._window.clear()
        now_s = self._loop.time()
        again: list[Call] = []
        for call in self._open.values():
            if call.answer.done():
                continue
            if code in _STREAM_REFUSALS:
                call.answer.set_exception(stream_error(code, message))
            elif call.travelling:
                call.travelling = False
                if call.deadline_s > now_s and call.repeats < _MOST_REPEATS:
                    call.repeats += 1
                    again.append(call)
                else:
                    self._give_up(call, f"stream lost: {code.name} {message}")
        self._waiting.extendleft(reversed(again))

    # --- ends -------------------------------------------------------------------------------------------------------

    def _expire(self, sequences: list[int]) -> None:
        """Budget and grace have passed."""
        silent = False
        for sequence in sequences:
            call = self._open.get(sequence)
            if call is None or call.answer.done():
                continue
            silent = silent or bool(call.frame)
            self._give_up(call, "no answer within the budget")
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()  # while no stream is up, nobody else takes them out
        if silent and self._stream is not None and self._loop.time() - self._heard_s > _DEAD_AFTER_S:
            log.warning("acquirer_stream_silent", target=self._target)
            self._stream.cancel()

    def _give_up(self, call: Call, why: str) -> None:
        if call.answer.done():
            return
        error: PaymentError
        if call.frame:
            error = OutcomeUnknown(grpc.StatusCode.DEADLINE_EXCEEDED, why)
        else:
            error = SwitchUnavailable(grpc.StatusCode.UNAVAILABLE, f"{why}; nothing was sent")
        call.answer.set_exception(error)
