"""One stream of an issuer to one switch process, from sign-on to its end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

import structlog

from adapters.issuer.messages import IssuerAnswer, IssuerBillLine, IssuerMessage, IssuerNotice
from payswitch.v1 import issuer_pb2
from switch.client.connection import END_OF_STREAM
from switch.client.issuer_frames import (
    answers_frame,
    bill_frames,
    bill_request,
    not_ready_frame,
    notice_frame,
    plain_message,
)

Handler = Callable[[list[IssuerMessage]], Awaitable[Sequence[IssuerAnswer]]]
# The lines of a business day's bill; None: it is made later.
BillHandler = Callable[[date], Awaitable[Sequence[IssuerBillLine] | None]]
LearnProcesses = Callable[[Mapping[str, str]], None]

log = structlog.get_logger()

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
    later through `answer`. leaving: the switch drains, or we have signed off: nothing new comes.
    """

    def __init__(
        self,
        stream: Any,
        handler: Handler,
        credit: int,
        max_frame_answers: int,
        silence_limit_s: float,
        bill: BillHandler | None = None,
        learn: LearnProcesses = lambda processes: None,
    ) -> None:
        self._stream = stream
        self._handler = handler
        self._bill = bill
        self._learn = learn
        self._most_credit = credit
        self._max_frame_answers = max_frame_answers
        self._silence_limit_s = silence_limit_s
        self._loop = asyncio.get_running_loop()
        self._unanswered: dict[str, float] = {}
        self._answers: list[IssuerAnswer] = []
        self._control: list[issuer_pb2.ConnectRequest] = []
        self._bills: list[Iterator[issuer_pb2.ConnectRequest]] = []
        self._notices: dict[str, asyncio.Future[str]] = {}
        self._wake = asyncio.Event()
        self._heard_s = self._loop.time()
        self._working: set[asyncio.Task[None]] = set()
        self.leaving = False

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
        if not self.leaving:
            self.leaving = True
            self._say(issuer_pb2.ConnectRequest(sign_off=issuer_pb2.SignOff()))

    def change_credit(self, credit: int) -> None:
        self._most_credit = max(self._most_credit, credit)
        self._say(issuer_pb2.ConnectRequest(credit_change=issuer_pb2.CreditChange(credit=credit)))

    async def notify(self, notice: IssuerNotice) -> str:
        """ "" once the switch has taken the notice, else the cause of its refusal; raises LinkEnded."""
        said = self._notices.setdefault(notice.notice_id, self._loop.create_future())
        self._say(notice_frame(notice))
        return await asyncio.shield(said)

    async def serve(self) -> None:
        """Run until the stream ends; always raises LinkEnded, or what went wrong."""
        parts = [self._loop.create_task(part) for part in (self._read(), self._write(), self._listen_for_silence())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*parts, *self._working):
                task.cancel()
            await asyncio.gather(*parts, *self._working, return_exceptions=True)
            for said in self._notices.values():
                said.set_exception(LinkEnded("the link ended before the switch answered"))
                said.exception()  # nobody may be waiting any more
        for task in done:
            task.result()

    def _say(self, frame: issuer_pb2.ConnectRequest) -> None:
        self._control.append(frame)
        self._wake.set()

    def _work(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    # --- in ---------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            frame = await self._stream.read()
            if frame is END_OF_STREAM:
                raise LinkEnded("the switch hung up", expected=True)
            if frame is None:  # what gRPC makes of bytes that cannot be parsed
                raise LinkEnded("what the switch says is no frame")
            self._heard_s = self._loop.time()
            match frame.WhichOneof("frame"):
                case "messages":
                    self._take(frame.messages.messages)
                case "echo":
                    self._say(issuer_pb2.ConnectRequest(echo=frame.echo))
                case "processes":
                    self._learn(processes_of(frame.processes))
                case "notice_answer":
                    self._take_notice_answer(frame.notice_answer)
                case "bill_request":
                    self._work(self._answer_bill(frame.bill_request))
                case "drain":
                    self.leaving = True
                    log.info("issuer_link_draining", unanswered=len(self._unanswered))
                    self._learn({})

    def _take(self, messages: Iterable[issuer_pb2.IssuerMessage]) -> None:
        now_s = self._loop.time()
        self._forget(now_s)
        batch: list[IssuerMessage] = []
        for message in messages:
            self._unanswered[message.message_id] = now_s + message.budget_ms / 1000 + _FORGET_AFTER_S
            plain = plain_message(message)
            if plain is None:
                # Newer than this SDK: refused without effect, so that the switch need not wait for nothing.
                self.answer([IssuerAnswer(message.message_id, "40", reason="operation not known")])
            else:
                batch.append(plain)
        if len(self._unanswered) > 2 * self._most_credit:
            raise LinkEnded("the switch sends more than the credit")
        if batch:
            self._work(self._handle(batch))

    async def _handle(self, batch: list[IssuerMessage]) -> None:
        try:
            answers = await self._handler(batch)
        except Exception as error:
            # Only the kind: the text may quote the message. No answer: the handler may have done half of it.
            log.error("issuer_handler_failed", error=type(error).__name__, messages=len(batch))
            return
        self.answer(answers)

    def _take_notice_answer(self, answer: issuer_pb2.NoticeAnswer) -> None:
        said = self._notices.pop(answer.notice_id, None)
        if said is not None:
            said.set_result("" if answer.accepted else answer.cause or "refused")

    async def _answer_bill(self, asked: issuer_pb2.BillRequest) -> None:
        request = bill_request(asked)
        lines: Sequence[IssuerBillLine] | None = None
        try:
            if request is not None and self._bill is not None:
                lines = await self._bill(request.day)
        except Exception as error:
            log.error("issuer_bill_failed", error=type(error).__name__)
        if lines is None:
            self._say(not_ready_frame(asked.request_id))
        else:
            self._bills.append(bill_frames(asked.request_id, lines))
            self._wake.set()

    # --- out --------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Payments come before bills, of which a part is made only when it is sent."""
        while True:
            if self._control:
                await self._stream.write(self._control.pop(0))
            elif self._answers:
                answers = self._answers[: self._max_frame_answers]
                del self._answers[: self._max_frame_answers]
                await self._stream.write(answers_frame(answers))
            elif self._bills:
                part = next(self._bills[0], None)
                if part is None:
                    del self._bills[0]
                else:
                    await self._stream.write(part)
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


def processes_of(processes: issuer_pb2.Processes) -> dict[str, str]:
    """Addresses by the processes' names."""
    return {each.name: each.address for each in processes.processes if each.name and each.address}


async def sign_on(stream: Any, issuer_id: str, credit: int, held: Sequence[str] = ()) -> issuer_pb2.SignedOn:
    """The first exchange. held: processes that shall not take it. Raises LinkEnded if the switch does not accept."""
    request = issuer_pb2.SignOn(issuer_id=issuer_id, credit=credit, switch_processes_held=held)
    with suppress(asyncio.InvalidStateError):  # the stream is over already: read says why
        await stream.write(issuer_pb2.ConnectRequest(sign_on=request))
    frame = await stream.read()
    if frame is END_OF_STREAM or frame is None or frame.WhichOneof("frame") != "signed_on":
        raise LinkEnded("the switch did not confirm the sign-on")
    signed_on: issuer_pb2.SignedOn = frame.signed_on
    return signed_on
