"""The channel to one direct issuer: messages out through its links, answers matched by message id."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID, uuid4

import structlog
from prometheus_client import Counter

from adapters.issuer import codec
from adapters.issuer.billing import Bills
from adapters.issuer.hub import IssuerHub, IssuerLink
from adapters.issuer.messages import BillChunk, IssuerAnswer, IssuerMessage, IssuerNotice, StandInApproval
from adapters.issuer.metrics import REFUSED
from switch.domain.bill import Bill
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import (
    Approved,
    ChannelHealth,
    ChannelRequest,
    ChannelResult,
    Notice,
    Phase,
    StandIn,
    StoreUnavailable,
    Unknown,
)

_MESSAGES = Counter("payswitch_issuer_messages_total", "Messages handed to a link of the issuer", ["issuer"])
_ANSWERS = Counter(
    "payswitch_issuer_answers_total",
    "Answers of the issuer: in time, late (the caller had its answer), unmatched (no such message is open)",
    ["issuer", "kind"],
)

log = structlog.get_logger()

# The channel reference of what was approved in the issuer's place.
STAND_IN = "stand-in"

# A message that nobody answers gives its credit back after this long past its deadline: a silent issuer must not
# use up a link for good. An answer after that is counted as unmatched.
FORGET_AFTER_S = 30.0

# Between two parts of a bill.
_BILL_SILENCE_S = 30.0


@dataclass(slots=True)
class _Open:
    future: "asyncio.Future[ChannelResult]"
    link: IssuerLink
    operation: Operation
    money: Money
    forget_s: float


class IssuerChannel:
    """Meets `switch.ports.Channel`, `BilledChannel` and `AdvisedChannel` for one issuer; registers with the hub.

    new_id: names captures, increments, voids, refunds and inquiries; injected for tests. stand_in: who may approve
    while the issuer has no link here at all; None: nobody.
    """

    operations = codec.OPERATIONS
    pin_format = 0
    reversal_after_s = 0.0

    def __init__(
        self,
        issuer_id: str,
        hub: IssuerHub,
        new_id: Callable[[], UUID] = uuid4,
        stand_in: StandIn | None = None,
        bill_silence_s: float = _BILL_SILENCE_S,
    ) -> None:
        self.issuer_id = issuer_id
        self.name = f"issuer:{issuer_id}"
        self.pin_key = f"issuer/{issuer_id}/zpk"
        self._hub = hub
        self._new_id = new_id
        self._stand_in = stand_in
        self._standing_in: set[asyncio.Task[None]] = set()
        self._bills = Bills(issuer_id, self.name, hub, bill_silence_s)
        self._open: dict[str, _Open] = {}
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sent = _MESSAGES.labels(issuer_id)
        self._in_time, self._late, self._unmatched = (
            _ANSWERS.labels(issuer_id, kind) for kind in ("in_time", "late", "unmatched")
        )
        hub.register(issuer_id, self)

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        for request in requests:
            request.trace = codec.trace_of(request, self._new_id())

    def send(self, requests: Sequence[ChannelRequest]) -> "list[asyncio.Future[ChannelResult]]":
        return self._send([(request, None) for request in requests])

    def advise(self, advices: Sequence[tuple[ChannelRequest, str, int]]) -> "list[asyncio.Future[ChannelResult]]":
        """Tell the issuer what was approved in its place: (request, approval code, Unix time of the approval in ms).

        The requests' traces name the messages that they stand for.
        """
        return self._send([(request, StandInApproval(code, time_ms)) for request, code, time_ms in advices])

    def _send(
        self, items: "Sequence[tuple[ChannelRequest, StandInApproval | None]]"
    ) -> "list[asyncio.Future[ChannelResult]]":
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._forget(now_s)
        futures: list[asyncio.Future[ChannelResult]] = []
        messages: list[IssuerMessage] = []
        sendable: list[tuple[ChannelRequest, asyncio.Future[ChannelResult]]] = []
        for request, approval in items:
            future: asyncio.Future[ChannelResult] = loop.create_future()
            futures.append(future)
            refusal = self._refusal(request, now_s)
            if refusal:
                future.set_result(Unknown(Phase.NOT_SENT, refusal))
                continue
            messages.append(codec.message_of(request, max(1, int((request.deadline_s - now_s) * 1000)), approval))
            sendable.append((request, future))
        links = self._hub.deliver(self.issuer_id, messages)
        untaken: list[tuple[ChannelRequest, asyncio.Future[ChannelResult]]] = []
        for message, (request, future), link in zip(messages, sendable, links, strict=True):
            if link is not None:
                self._keep(request, future, link)
            elif message.stand_in is None and self._may_stand_in(request):
                untaken.append((request, future))
            else:
                future.set_result(Unknown(Phase.NOT_SENT, self._why_not_taken()))
        if untaken:
            task = loop.create_task(self._ask_stand_in(untaken), name=f"stand-in {self.issuer_id}")
            self._standing_in.add(task)
            task.add_done_callback(self._standing_in.discard)
        self._sent.inc(len(links) - links.count(None))
        return futures

    def _may_stand_in(self, request: ChannelRequest) -> bool:
        """An issuer that is there and busy answers for itself; what follows a payment waits for it."""
        wanted = self._stand_in is not None and request.operation in codec.ORIGINALS
        return wanted and self._hub.link_count(self.issuer_id) == 0

    async def _ask_stand_in(self, untaken: "list[tuple[ChannelRequest, asyncio.Future[ChannelResult]]]") -> None:
        """Nothing was sent, so a refusal to stand in lets the payment be tried elsewhere.

        An approval whose commit was not confirmed may be durable, with its advice: that is reversed.
        """
        assert self._stand_in is not None
        try:
            codes = await self._stand_in.approve(self.issuer_id, [request for request, _ in untaken])
        except StoreUnavailable:
            for _, future in untaken:
                if not future.done():
                    future.set_result(Unknown(Phase.SENT, "whether it was stood in for is not known"))
            return
        for (_, future), code in zip(untaken, codes, strict=True):
            if not future.done():
                future.set_result(
                    Unknown(Phase.NOT_SENT, "no link")
                    if code is None
                    else Approved("00", approval_code=code, channel_reference=STAND_IN)
                )

    async def bill(self, day: date) -> Bill:
        """The issuer's bill of a business day. Raises BillNotReady, BillRefused, or ConnectionError."""
        return await self._bills.fetch(day)

    def read_notice(self, notice: IssuerNotice) -> Notice:
        """Raises NotificationRefused."""
        return codec.notice_of(self.name, notice)

    def health(self) -> ChannelHealth:
        if self._loop is not None:
            # A channel out of credit is sent nothing, so sending alone would never give the credit back.
            self._forget(self._loop.time())
        free, granted = self._hub.credit(self.issuer_id)
        links = self._hub.link_count(self.issuer_id)
        if links == 0:
            return ChannelHealth(False, "the issuer is not signed on")
        return ChannelHealth(free > 0, f"{links} links, {granted - free} of {granted} messages unanswered")

    async def start(self) -> None:
        """Nothing to dial: the issuer does."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """What is open stays unknown. The links belong to the gRPC door, which drains them first."""
        self._closed = True
        for pending in self._open.values():
            _resolve(pending, Unknown(Phase.SENT, "the switch is closing"))
        self._open.clear()
        self._bills.close()
        if self._standing_in:
            await asyncio.wait(list(self._standing_in))

    def take_answers(self, answers: Sequence[IssuerAnswer]) -> None:
        """Answers from any of the issuer's links."""
        late = unmatched = 0
        for answer in answers:
            pending = self._open.pop(answer.message_id, None)
            if pending is None:
                unmatched += 1
                continue
            self._hub.settle(pending.link)
            if pending.future.done():
                late += 1
                continue
            result, fault = codec.judged(pending.operation, pending.money, answer)
            if fault:
                REFUSED.labels(self.issuer_id, f"answer_{fault}").inc()
            pending.future.set_result(result)
        self._in_time.inc(len(answers) - late - unmatched)
        if late or unmatched:
            self._late.inc(late)
            self._unmatched.inc(unmatched)
            log.warning("issuer_answers_left", issuer=self.issuer_id, late=late, unmatched=unmatched)

    def take_bill_chunk(self, chunk: BillChunk) -> None:
        """A part of a bill from any of the issuer's links."""
        self._bills.take(chunk)

    def link_lost(self, link: IssuerLink, unsent_message_ids: Collection[str]) -> None:
        """Messages of a lost link may have arrived, except those that were never begun."""
        lost = [message_id for message_id, pending in self._open.items() if pending.link is link]
        for message_id in lost:
            phase = Phase.NOT_SENT if message_id in unsent_message_ids else Phase.SENT
            _resolve(self._open.pop(message_id), Unknown(phase, "link lost"))
        self._bills.link_lost(link)
        if lost:
            log.warning("issuer_link_lost", issuer=self.issuer_id, unanswered=len(lost), unsent=len(unsent_message_ids))

    def _refusal(self, request: ChannelRequest, now_s: float) -> str:
        if self._closed:
            return "the switch is closing"
        if request.deadline_s <= now_s:
            return "deadline passed"
        if request.operation not in codec.OPERATIONS:
            return "an issuer link has no such operation"
        if not codec.card_only(request):
            return "an issuer takes cards only"
        return ""

    def _why_not_taken(self) -> str:
        return "no credit" if self._hub.link_count(self.issuer_id) else "no link"

    def _keep(self, request: ChannelRequest, future: "asyncio.Future[ChannelResult]", link: IssuerLink) -> None:
        message_id = request.trace["message_id"]
        previous = self._open.pop(message_id, None)
        if previous is not None:
            # One answer is expected for a message and its repeats: the repeat waits for it from here on.
            self._hub.settle(previous.link)
            _resolve(previous, Unknown(Phase.SENT, "repeated before it was answered"))
        forget_s = request.deadline_s + FORGET_AFTER_S
        self._open[message_id] = _Open(future, link, request.operation, request.money, forget_s)

    def _forget(self, now_s: float) -> None:
        # In order of sending, which is all but the order of forgetting: stopping at the first that stays is enough.
        while self._open:
            message_id = next(iter(self._open))
            pending = self._open[message_id]
            if pending.forget_s > now_s:
                return
            del self._open[message_id]
            self._hub.settle(pending.link)
            _resolve(pending, Unknown(Phase.SENT, "never answered"))


def _resolve(pending: _Open, result: ChannelResult) -> None:
    if not pending.future.done():
        pending.future.set_result(result)
