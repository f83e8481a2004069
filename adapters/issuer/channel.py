"""The channel to one direct issuer: messages out through its links, answers matched by message id."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog
from prometheus_client import Counter

from adapters.issuer import codec
from adapters.issuer.hub import IssuerHub, IssuerLink
from adapters.issuer.messages import IssuerAnswer, IssuerMessage
from switch.domain.money import Money
from switch.domain.states import Operation
from switch.ports import ChannelHealth, ChannelRequest, ChannelResult, Phase, Unknown

_MESSAGES = Counter("payswitch_issuer_messages_total", "Messages handed to a link of the issuer", ["issuer"])
_ANSWERS = Counter(
    "payswitch_issuer_answers_total",
    "Answers of the issuer: in time, late (the caller had its answer), unmatched (no such message is open)",
    ["issuer", "kind"],
)

log = structlog.get_logger()

# A message that nobody answers gives its credit back after this long past its deadline: a silent issuer must not
# use up a link for good. An answer after that is counted as unmatched.
FORGET_AFTER_S = 30.0


@dataclass(slots=True)
class _Open:
    future: "asyncio.Future[ChannelResult]"
    link: IssuerLink
    operation: Operation
    money: Money
    forget_s: float


class IssuerChannel:
    """Meets `switch.ports.Channel` for one issuer; registers itself with the hub.

    new_id: names captures, voids and refunds; injected for tests.
    """

    operations = codec.OPERATIONS
    pin_format = 0
    reversal_after_s = 0.0

    def __init__(self, issuer_id: str, hub: IssuerHub, new_id: Callable[[], UUID] = uuid4) -> None:
        self.issuer_id = issuer_id
        self.name = f"issuer:{issuer_id}"
        self.pin_key = f"issuer/{issuer_id}/zpk"
        self._hub = hub
        self._new_id = new_id
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
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._forget(now_s)
        futures: list[asyncio.Future[ChannelResult]] = []
        messages: list[IssuerMessage] = []
        sendable: list[tuple[ChannelRequest, asyncio.Future[ChannelResult]]] = []
        for request in requests:
            future: asyncio.Future[ChannelResult] = loop.create_future()
            futures.append(future)
            refusal = self._refusal(request, now_s)
            if refusal:
                future.set_result(Unknown(Phase.NOT_SENT, refusal))
                continue
            messages.append(codec.message_of(request, max(1, int((request.deadline_s - now_s) * 1000))))
            sendable.append((request, future))
        links = self._hub.deliver(self.issuer_id, messages)
        for (request, future), link in zip(sendable, links, strict=True):
            if link is None:
                future.set_result(Unknown(Phase.NOT_SENT, self._why_not_taken()))
            else:
                self._keep(request, future, link)
        self._sent.inc(len(links) - links.count(None))
        return futures

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
            pending.future.set_result(codec.result_of(pending.operation, pending.money, answer))
        self._in_time.inc(len(answers) - late - unmatched)
        if late or unmatched:
            self._late.inc(late)
            self._unmatched.inc(unmatched)
            log.warning("issuer_answers_left", issuer=self.issuer_id, late=late, unmatched=unmatched)

    def link_lost(self, link: IssuerLink, unsent_message_ids: Collection[str]) -> None:
        """Messages of a lost link may have arrived, except those that were never begun."""
        lost = [message_id for message_id, pending in self._open.items() if pending.link is link]
        for message_id in lost:
            phase = Phase.NOT_SENT if message_id in unsent_message_ids else Phase.SENT
            _resolve(self._open.pop(message_id), Unknown(phase, "link lost"))
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
