"""One issuer's stream, from sign-on to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from prometheus_client import Histogram

from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import BillRequest, IssuerMessage, IssuerNotice
from adapters.issuer.metrics import REFUSED
from payswitch.v1 import issuer_pb2
from switch.api import issuer_frames as frames

_FRAME_MESSAGES = Histogram(
    "payswitch_issuer_frame_messages", "Messages in a frame to an issuer", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
MOST_CREDIT = 65_536
# Notices of one stream that are being recorded; one more is told to come again.
_NOTICES_AT_ONCE = 32
_LAST_WRITE_S = 1.0

# grpc.aio.EOF, which the type stubs do not know.
_END_OF_STREAM: Any = vars(grpc.aio)["EOF"]

Context = grpc.aio.ServicerContext[issuer_pb2.ConnectRequest, issuer_pb2.ConnectResponse]

# An issuer and what it says by itself -> "" if that was taken, else the cause of its refusal.
TakeNotice = Callable[[str, IssuerNotice], Awaitable[str]]


@dataclass(slots=True, frozen=True)
class LinkLimits:
    """Bounds of one stream.

    dead_after_s: a stream on which nothing comes for so long, or no answer to an echo, is cut.
    """

    sign_on_s: float = 10.0
    echo_interval_s: float = 15.0
    dead_after_s: float = 45.0
    frame_messages: int = 128
    links_per_issuer: int = 64


class LinkFault(Exception):
    """Why a stream is cut: becomes its status. cause: one word for the metrics."""

    def __init__(self, code: grpc.StatusCode, message: str, cause: str = "unavailable") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.cause = cause


def malformed(message: str, cause: str) -> LinkFault:
    return LinkFault(grpc.StatusCode.INVALID_ARGUMENT, message, cause)


class Link:
    """Meets `adapters.issuer.hub.IssuerLink` on one stream.

    Messages that wait while a frame is being written travel in the next one. What waits is bounded by the credit.
    """

    def __init__(
        self,
        issuer_id: str,
        credit: int,
        context: Context,
        hub: IssuerHub,
        limits: LinkLimits,
        take_notice: TakeNotice,
    ) -> None:
        self.issuer_id = issuer_id
        self.credit = credit
        self._context = context
        self._hub = hub
        self._limits = limits
        self._take_notice = take_notice
        self._loop = asyncio.get_running_loop()
        self._control: list[issuer_pb2.ConnectResponse] = []
        self._processes: issuer_pb2.Processes | None = None
        self._messages: list[IssuerMessage] = []
        self._wake = asyncio.Event()
        self._resting = False
        self._drain_told = True
        self._hung_up = False
        self._heard_s = self._loop.time()
        self._nonce = 0
        self._echoes: dict[int, float] = {}
        self._notices: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Future[None] | None = None

    def deliver(self, messages: list[IssuerMessage]) -> bool:
        if self._resting or len(self._messages) + len(messages) > self.credit:
            return False
        self._messages += messages
        self._wake.set()
        return True

    def ask_bill(self, request: BillRequest) -> bool:
        if self._resting:
            return False
        self.say(frames.bill_request_frame(request))
        return True

    def say(self, frame: issuer_pb2.ConnectResponse) -> None:
        self._control.append(frame)
        self._wake.set()

    def tell_processes(self, processes: issuer_pb2.Processes) -> None:
        """Only the last list counts: one that waits is replaced."""
        self._processes = processes
        self._wake.set()

    def drain(self) -> None:
        """Nothing new; tell the issuer after the messages that wait; end when all is answered."""
        self._drain_told = False
        self._rest()

    def hang_up(self) -> None:
        self._hung_up = True
        self._wake.set()

    def unsent_message_ids(self) -> set[str]:
        return {message.message_id for message in self._messages}

    async def serve(self) -> None:
        """Returns when the stream ended in good order; raises LinkFault."""
        parts = [self._loop.create_task(part) for part in (self._read_frames(), self._write_frames(), self._tick())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*parts, *self._notices):
                task.cancel()
            await asyncio.gather(*parts, *self._notices, return_exceptions=True)
            await self._last_write()
        for task in done:
            error = task.exception()
            if isinstance(error, LinkFault):
                raise error
            if error is not None:
                # grpc.aio raises internal kinds when the peer is gone in the middle of a read or write.
                raise LinkFault(grpc.StatusCode.UNAVAILABLE, f"stream failed: {type(error).__name__}", "stream_failed")

    async def _write(self, frame: issuer_pb2.ConnectResponse) -> None:
        self._writing = asyncio.ensure_future(self._context.write(frame))
        await asyncio.shield(self._writing)

    async def _last_write(self) -> None:
        """Until the write that was begun is done: gRPC takes no status while one is under way, and who ends the stream
        then leaves its peer without an end (GRPC_CALL_ERROR_TOO_MANY_OPERATIONS).
        """
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=_LAST_WRITE_S)
            if self._writing.done() and not self._writing.cancelled():
                self._writing.exception()  # seen: the stream has ended

    def _rest(self) -> None:
        self._resting = True
        self._hub.stop_delivering(self)
        self._wake.set()

    # --- in ---------------------------------------------------------------------------------------------------------

    async def _read_frames(self) -> None:
        while (frame := await read(self._context)) is not None:
            self._heard_s = self._loop.time()
            self._take(frame)

    def _take(self, frame: issuer_pb2.ConnectRequest) -> None:
        match frame.WhichOneof("frame"):
            case "answers":
                self._take_answers(frame.answers)
            case "echo":
                if self._echoes.pop(frame.echo.nonce, None) is None:
                    raise malformed("echo.nonce: no such echo was sent", "echo")
            case "credit_change":
                self._change_credit(frame.credit_change.credit)
            case "notice":
                self._begin_notice(frames.plain_notice(frame.notice))
            case "bill_chunk":
                self._hub.take_bill_chunk(self, frames.plain_chunk(frame.bill_chunk))
            case "sign_off":
                self._rest()
            case "sign_on":
                raise malformed("frame.sign_on: signed on already", "sign_on_again")
            case _:
                raise malformed("frame: empty", "frame_empty")

    def _take_answers(self, frame: issuer_pb2.IssuerAnswers) -> None:
        for index, answer in enumerate(frame.answers):
            if not answer.message_id:
                raise malformed(f"answers.answers[{index}].message_id: empty", "answer_message_id")
        self._hub.take_answers(self, frames.plain_answers(frame.answers))
        if self._resting:
            self._wake.set()

    def _change_credit(self, credit: int) -> None:
        if credit > MOST_CREDIT:
            raise malformed(f"credit_change.credit: at most {MOST_CREDIT}", "credit")
        self.credit = credit

    def _begin_notice(self, notice: IssuerNotice) -> None:
        if len(self._notices) >= _NOTICES_AT_ONCE:
            self._answer_notice(notice, "unavailable")
            return
        task = self._loop.create_task(self._handle_notice(notice))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    async def _handle_notice(self, notice: IssuerNotice) -> None:
        self._answer_notice(notice, await self._take_notice(self.issuer_id, notice))

    def _answer_notice(self, notice: IssuerNotice, cause: str) -> None:
        if cause:
            REFUSED.labels(self.issuer_id, f"notice_{cause}").inc()
        self.say(frames.notice_answer_frame(notice.notice_id, cause))

    # --- out --------------------------------------------------------------------------------------------------------

    async def _write_frames(self) -> None:
        while not self._hung_up:
            if self._control:
                await self._write(self._control.pop(0))
            elif self._processes is not None:
                processes, self._processes = self._processes, None
                await self._write(issuer_pb2.ConnectResponse(processes=processes))
            elif self._messages:
                batch = self._messages[: self._limits.frame_messages]
                del self._messages[: self._limits.frame_messages]
                _FRAME_MESSAGES.observe(len(batch))
                await self._write(frames.messages_frame(batch))
            elif not self._drain_told:
                self._drain_told = True
                await self._write(issuer_pb2.ConnectResponse(drain=issuer_pb2.Drain()))
            elif self._resting and self._hub.unanswered(self) == 0:
                return
            else:
                await self._wake.wait()
                self._wake.clear()

    async def _tick(self) -> None:
        """Echo now and then; cut a stream on which nothing comes, or whose issuer does not answer an echo."""
        while True:
            await asyncio.sleep(self._limits.echo_interval_s)
            now_s = self._loop.time()
            silent_s = now_s - self._heard_s
            if silent_s >= self._limits.dead_after_s:
                raise LinkFault(grpc.StatusCode.UNAVAILABLE, f"no frame for {silent_s:.1f} s", "silent")
            waited_s = now_s - next(iter(self._echoes.values()), now_s)
            if waited_s >= self._limits.dead_after_s:
                raise LinkFault(grpc.StatusCode.UNAVAILABLE, f"no answer to an echo for {waited_s:.1f} s", "no_echo")
            self._nonce += 1
            self._echoes[self._nonce] = now_s
            self.say(issuer_pb2.ConnectResponse(echo=issuer_pb2.Echo(nonce=self._nonce)))


async def read(context: Context) -> issuer_pb2.ConnectRequest | None:
    """The next frame, None at the end of the stream. Raises LinkFault if it is no ConnectRequest."""
    try:
        frame = await context.read()
    except DecodeError:
        raise malformed("frame: not a ConnectRequest", "frame_bytes") from None
    return None if frame is _END_OF_STREAM else frame
