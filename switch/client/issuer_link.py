"""One stream of an issuer to one switch process, from sign-on to its end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from payswitch.v1 import common_pb2, issuer_pb2
from switch.client.connection import END_OF_STREAM
from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation

Handler = Callable[[list[IssuerMessage]], Awaitable[Sequence[IssuerAnswer]]]

log = structlog.get_logger()

_OPERATIONS = {operation.value: operation for operation in Operation if operation <= Operation.REVERSAL}
_ENTRIES = {entry.value: entry for entry in EntryMode}

# The switch gives up on a message this long after its budget; so may we.
_FORGET_AFTER_S = 30.0


class LinkEnded(Exception):
    """The stream is over. expected: by sign-off, drain or the switch's own hanging up."""

    def __init__(self, reason: str, expected: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected


class SwitchLink:
    """Takes frames of messages to the handler and sends its answers, those that wait together in one frame.

    A handler that raises answers nothing: the switch will reverse what it cannot know. A handler may answer a message
    later through `answer`.
    """

    def __init__(
        self, stream: Any, handler: Handler, credit: int, max_frame_answers: int, silence_limit_s: float
    ) -> None:
        self._stream = stream
        self._handler = handler
        self._credit = credit
        self._max_frame_answers = max_frame_answers
        self._silence_limit_s = silence_limit_s
        self._loop = asyncio.get_running_loop()
        self._unanswered: dict[str, float] = {}
        self._answers: list[IssuerAnswer] = []
        self._control: list[issuer_pb2.ConnectRequest] = []
        self._wake = asyncio.Event()
        self._heard_s = self._loop.time()
        self._handling: set[asyncio.Task[None]] = set()

    def holds(self, message_id: str) -> bool:
        """Whether a message of this link is unanswered."""
        return message_id in self._unanswered

    def answer(self, answers: Iterable[IssuerAnswer]) -> None:
        """Queue answers for the next frame."""
        for answer in answers:
            self._unanswered.pop(answer.message_id, None)
            self._answers.append(answer)
        self._wake.set()

    def sign_off(self) -> None:
        """Ask for nothing new. The switch hangs up when everything that is on its way is answered."""
        self._control.append(issuer_pb2.ConnectRequest(sign_off=issuer_pb2.SignOff()))
        self._wake.set()

    async def serve(self) -> None:
        """Run until the stream ends; always raises LinkEnded, or what went wrong."""
        parts = [self._loop.create_task(part) for part in (self._read(), self._write(), self._listen_for_silence())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*parts, *self._handling):
                task.cancel()
            await asyncio.gather(*parts, *self._handling, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self) -> None:
        while True:
            frame = await self._stream.read()
            if frame is END_OF_STREAM:
                raise LinkEnded("the switch hung up", expected=True)
            self._heard_s = self._loop.time()
            kind = frame.WhichOneof("frame")
            if kind == "messages":
                self._take(frame.messages.messages)
            elif kind == "echo":
                self._control.append(issuer_pb2.ConnectRequest(echo=frame.echo))
                self._wake.set()
            elif kind == "drain":
                log.info("issuer_link_draining", unanswered=len(self._unanswered))

    def _take(self, messages: Iterable[issuer_pb2.IssuerMessage]) -> None:
        now_s = self._loop.time()
        self._forget(now_s)
        batch: list[IssuerMessage] = []
        for message in messages:
            self._unanswered[message.message_id] = now_s + message.budget_ms / 1000 + _FORGET_AFTER_S
            operation = _OPERATIONS.get(message.operation)
            if operation is None:
                # Newer than this SDK: refused without effect, so that the switch need not wait for nothing.
                self.answer([IssuerAnswer(message.message_id, "40", reason="operation not known")])
            else:
                batch.append(_plain(message, operation))
        if len(self._unanswered) > 2 * self._credit:
            raise LinkEnded("the switch sends more than the credit")
        if batch:
            task = self._loop.create_task(self._handle(batch))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

    async def _handle(self, batch: list[IssuerMessage]) -> None:
        try:
            answers = await self._handler(batch)
        except Exception as error:
            # Only the kind: the text may quote the message. No answer: the handler may have done half of it.
            log.error("issuer_handler_failed", error=type(error).__name__, messages=len(batch))
            return
        self.answer(answers)

    async def _write(self) -> None:
        while True:
            if self._control:
                await self._stream.write(self._control.pop(0))
            elif self._answers:
                answers = self._answers[: self._max_frame_answers]
                del self._answers[: self._max_frame_answers]
                await self._stream.write(_answers_frame(answers))
            else:
                await self._wake.wait()
                self._wake.clear()

    async def _listen_for_silence(self) -> None:
        """The switch sends an echo when it has nothing else to say: long silence is a dead connection."""
        while True:
            await asyncio.sleep(self._silence_limit_s / 4)
            if self._loop.time() - self._heard_s > self._silence_limit_s:
                raise LinkEnded("the switch is silent")
            self._forget(self._loop.time())

    def _forget(self, now_s: float) -> None:
        while self._unanswered:
            message_id = next(iter(self._unanswered))
            if self._unanswered[message_id] > now_s:
                return
            del self._unanswered[message_id]


async def sign_on(stream: Any, issuer_id: str, credit: int) -> issuer_pb2.SignedOn:
    """The first exchange. Raises LinkEnded if the switch does not accept."""
    request = issuer_pb2.SignOn(issuer_id=issuer_id, credit=credit)
    with suppress(asyncio.InvalidStateError):  # the stream is over already: read says why
        await stream.write(issuer_pb2.ConnectRequest(sign_on=request))
    frame = await stream.read()
    if frame is END_OF_STREAM or frame.WhichOneof("frame") != "signed_on":
        raise LinkEnded("the switch did not confirm the sign-on")
    signed_on: issuer_pb2.SignedOn = frame.signed_on
    return signed_on


def _plain(message: issuer_pb2.IssuerMessage, operation: Operation) -> IssuerMessage:
    return IssuerMessage(
        message_id=message.message_id,
        operation=operation,
        authorization_id=message.authorization_id,
        money=Money(message.amount.amount_minor, message.amount.currency),
        original_message_id=message.original_message_id,
        pan=Pan(message.pan) if message.pan else None,
        expiry_yymm=message.expiry,
        card_sequence_number=message.card_sequence_number,
        pin_block=message.pin.block,
        emv=message.emv,
        entry=_ENTRIES.get(message.entry),
        acquirer_id=message.acquirer_id,
        merchant_id=message.merchant_id,
        merchant_name=message.merchant_name,
        merchant_category_code=message.merchant_category_code,
        terminal_id=message.terminal_id,
        transmission_time_ms=message.transmission_time_ms,
        budget_ms=message.budget_ms,
        repeat=message.repeat,
    )


def _answers_frame(answers: list[IssuerAnswer]) -> issuer_pb2.ConnectRequest:
    frame = issuer_pb2.ConnectRequest()
    add = frame.answers.answers.add
    for answer in answers:
        item = add(
            message_id=answer.message_id,
            response_code=answer.response_code,
            approval_code=answer.approval_code,
            emv_response=answer.emv_response,
            reason=answer.reason,
        )
        if answer.approved is not None:
            money = common_pb2.Money(amount_minor=answer.approved.amount_minor, currency=answer.approved.currency)
            item.approved.CopyFrom(money)
    return frame
