"""The door for issuers: `IssuerService.Connect`, protobuf outside, the hub's plain messages inside."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Histogram

from adapters.issuer.hub import IssuerHub
from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from payswitch.v1 import issuer_pb2, issuer_pb2_grpc
from switch.domain.money import CURRENCIES, Money

_FRAME_MESSAGES = Histogram(
    "payswitch_issuer_frame_messages", "Messages in a frame to an issuer", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
_DEFAULT_CREDIT = 1024
_MOST_CREDIT = 65_536

# grpc.aio.EOF, which the type stubs do not know.
_END_OF_STREAM: Any = vars(grpc.aio)["EOF"]

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[issuer_pb2.ConnectRequest, issuer_pb2.ConnectResponse]


@dataclass(slots=True, frozen=True)
class LinkLimits:
    """Bounds of one stream. dead_after_s: without any frame from the issuer for so long, the stream is cut."""

    sign_on_s: float = 10.0
    echo_interval_s: float = 15.0
    dead_after_s: float = 45.0
    frame_messages: int = 128
    links_per_issuer: int = 64


class LinkFault(Exception):
    """Why a stream is cut: becomes its status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class IssuerServicer(issuer_pb2_grpc.IssuerServiceServicer):
    """Signs issuers on and keeps their streams.

    authenticate: the participant id in the peer's certificate, or ends the call by itself (may be a coroutine
    function). pin_key_check_value: from a key label (`issuer/<id>/zpk`) to its KCV, six hex digits, or a LinkFault (may
    be one, too).
    """

    def __init__(
        self,
        hub: IssuerHub,
        authenticate: Callable[[Any], str | Awaitable[str]],
        pin_key_check_value: Callable[[str], str | Awaitable[str]],
        process_name: str,
        limits: LinkLimits = LinkLimits(),
    ) -> None:
        self._hub = hub
        self._authenticate = authenticate
        self._pin_key_check_value = pin_key_check_value
        self._process_name = process_name
        self._limits = limits
        self._links: set[_Link] = set()
        self._draining = False
        self._emptied = asyncio.Event()

    async def Connect(self, request_iterator: object, context: Context) -> None:
        """One issuer's stream, from sign-on to its end."""
        identity = self._authenticate(context)
        issuer_id = await identity if inspect.isawaitable(identity) else identity
        try:
            link = await self._sign_on(issuer_id, context)
            await self._serve(link)
        except LinkFault as fault:
            log.warning("issuer_link_refused", issuer=issuer_id, code=fault.code.name, why=fault.message)
            await context.abort(fault.code, fault.message)

    async def drain(self, limit_s: float = 10.0) -> None:
        """Tell every issuer to dial elsewhere, let what is open be answered, end the streams. New ones are refused."""
        self._draining = True
        for link in self._links:
            link.drain()
        if self._links:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), limit_s)
            except TimeoutError:
                log.warning("issuer_drain_incomplete", links=len(self._links))
        for link in self._links:
            link.hang_up()

    async def _sign_on(self, issuer_id: str, context: Context) -> "_Link":
        try:
            async with asyncio.timeout(self._limits.sign_on_s):
                frame = await _read(context)
        except TimeoutError:
            raise LinkFault(grpc.StatusCode.DEADLINE_EXCEEDED, "no sign_on came") from None
        if frame is None or frame.WhichOneof("frame") != "sign_on":
            raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, "frame: the first must be sign_on")
        if frame.sign_on.issuer_id != issuer_id:
            raise LinkFault(grpc.StatusCode.PERMISSION_DENIED, "sign_on.issuer_id: not the certificate's")
        if not self._hub.knows(issuer_id):
            raise LinkFault(grpc.StatusCode.PERMISSION_DENIED, f"sign_on.issuer_id: {issuer_id} is no issuer here")
        credit = frame.sign_on.credit or _DEFAULT_CREDIT
        if credit > _MOST_CREDIT:
            raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, f"sign_on.credit: at most {_MOST_CREDIT}")
        found = self._pin_key_check_value(f"issuer/{issuer_id}/zpk")
        check_value = await found if inspect.isawaitable(found) else found
        # From here on nothing is waited for: what is checked still holds when the link is attached.
        if self._draining:
            raise LinkFault(grpc.StatusCode.UNAVAILABLE, "draining")
        if self._hub.link_count(issuer_id) >= self._limits.links_per_issuer:
            raise LinkFault(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of this issuer")
        signed_on = issuer_pb2.SignedOn(switch_process=self._process_name, pin_key_check_value=check_value)
        link = _Link(issuer_id, credit, context, self._hub, self._limits)
        link.say(issuer_pb2.ConnectResponse(signed_on=signed_on))
        return link

    async def _serve(self, link: "_Link") -> None:
        self._links.add(link)
        self._hub.attach(link)
        log.info("issuer_signed_on", issuer=link.issuer_id, credit=link.credit)
        try:
            await link.serve()
        finally:
            self._links.discard(link)
            self._hub.detach(link, link.unsent_message_ids())
            if not self._links:
                self._emptied.set()
            log.info("issuer_link_closed", issuer=link.issuer_id)


class _Link:
    """Meets `adapters.issuer.hub.IssuerLink` on one stream.

    Messages that wait while a frame is being written travel in the next one. What waits is bounded by the credit.
    """

    def __init__(self, issuer_id: str, credit: int, context: Context, hub: IssuerHub, limits: LinkLimits) -> None:
        self.issuer_id = issuer_id
        self.credit = credit
        self._context = context
        self._hub = hub
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._control: list[issuer_pb2.ConnectResponse] = []
        self._messages: list[IssuerMessage] = []
        self._wake = asyncio.Event()
        self._resting = False
        self._drain_told = True
        self._hung_up = False
        self._heard_s = self._loop.time()
        self._nonce = 0

    def deliver(self, messages: list[IssuerMessage]) -> bool:
        if self._resting or len(self._messages) + len(messages) > self.credit:
            return False
        self._messages += messages
        self._wake.set()
        return True

    def say(self, frame: issuer_pb2.ConnectResponse) -> None:
        self._control.append(frame)
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
            for task in parts:
                task.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        for task in done:
            error = task.exception()
            if isinstance(error, LinkFault):
                raise error
            if error is not None:
                # grpc.aio raises internal kinds when the peer is gone in the middle of a read or write.
                raise LinkFault(grpc.StatusCode.UNAVAILABLE, f"stream failed: {type(error).__name__}")

    def _rest(self) -> None:
        self._resting = True
        self._hub.stop_delivering(self)
        self._wake.set()

    async def _read_frames(self) -> None:
        while True:
            frame = await _read(self._context)
            if frame is None:
                return
            self._heard_s = self._loop.time()
            kind = frame.WhichOneof("frame")
            if kind == "answers":
                self._hub.take_answers(self, _plain_answers(frame.answers.answers))
                if self._resting:
                    self._wake.set()
            elif kind == "sign_off":
                self._rest()
            elif kind == "sign_on":
                raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, "frame.sign_on: signed on already")
            elif kind != "echo":
                raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, "frame: empty")

    async def _write_frames(self) -> None:
        while not self._hung_up:
            if self._control:
                await self._context.write(self._control.pop(0))
            elif self._messages:
                batch = self._messages[: self._limits.frame_messages]
                del self._messages[: self._limits.frame_messages]
                _FRAME_MESSAGES.observe(len(batch))
                await self._context.write(_messages_frame(batch))
            elif not self._drain_told:
                self._drain_told = True
                await self._context.write(issuer_pb2.ConnectResponse(drain=issuer_pb2.Drain()))
            elif self._resting and self._hub.unanswered(self) == 0:
                return
            else:
                await self._wake.wait()
                self._wake.clear()

    async def _tick(self) -> None:
        """Echo when nothing else shows that the issuer lives; cut a stream on which nothing comes."""
        while True:
            await asyncio.sleep(self._limits.echo_interval_s)
            silent_s = self._loop.time() - self._heard_s
            if silent_s >= self._limits.dead_after_s:
                raise LinkFault(grpc.StatusCode.UNAVAILABLE, f"no frame for {silent_s:.1f} s")
            self._nonce += 1
            self.say(issuer_pb2.ConnectResponse(echo=issuer_pb2.Echo(nonce=self._nonce)))


async def _read(context: Context) -> issuer_pb2.ConnectRequest | None:
    """The next frame, None at the end of the stream. Raises LinkFault if it is no ConnectRequest."""
    try:
        frame = await context.read()
    except DecodeError:
        raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, "frame: not a ConnectRequest") from None
    return None if frame is _END_OF_STREAM else frame


def _plain_answers(answers: Iterable[issuer_pb2.IssuerAnswer]) -> list[IssuerAnswer]:
    """Raises LinkFault, naming the field, where an answer cannot belong to any message.

    What is wrong with an answer that does belong to one is the channel's to judge: it leaves one payment unknown, and
    the link lives.
    """
    plain: list[IssuerAnswer] = []
    for index, answer in enumerate(answers):
        if not answer.message_id:
            raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, f"answers.answers[{index}].message_id: empty")
        approved = None
        if answer.HasField("approved"):
            if answer.approved.currency not in CURRENCIES:
                field = f"answers.answers[{index}].approved.currency"
                raise LinkFault(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: no ISO 4217 currency known here")
            approved = Money(answer.approved.amount_minor, answer.approved.currency)
        code, approval = answer.response_code, answer.approval_code
        plain.append(IssuerAnswer(answer.message_id, code, approval, approved, answer.emv_response, answer.reason))
    return plain


def _messages_frame(messages: list[IssuerMessage]) -> issuer_pb2.ConnectResponse:
    frame = issuer_pb2.ConnectResponse()
    add = frame.messages.messages.add
    for message in messages:
        item = add(
            message_id=message.message_id,
            operation=message.operation.value,
            authorization_id=message.authorization_id,
            original_message_id=message.original_message_id,
            pan=message.pan.reveal() if message.pan is not None else "",
            expiry=message.expiry_yymm,
            card_sequence_number=message.card_sequence_number,
            emv=message.emv,
            entry=message.entry.value if message.entry is not None else 0,
            acquirer_id=message.acquirer_id,
            merchant_id=message.merchant_id,
            merchant_name=message.merchant_name,
            merchant_category_code=message.merchant_category_code,
            terminal_id=message.terminal_id,
            transmission_time_ms=message.transmission_time_ms,
            budget_ms=message.budget_ms,
            repeat=message.repeat,
        )
        amount = item.amount
        amount.amount_minor = message.money.amount_minor
        amount.currency = message.money.currency
        if message.pin_block:
            item.pin.block = message.pin_block
    return frame
