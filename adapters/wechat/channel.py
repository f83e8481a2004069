"""The way to WeChat Pay: a request becomes calls, and only what the platform signed is believed."""

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import aiohttp
import structlog

from adapters.wechat import codec, notification
from adapters.wechat.bill import Flow
from adapters.wechat.billing import Billing
from adapters.wechat.calls import Call
from adapters.wechat.certificate_keeper import CertificateKeeper
from adapters.wechat.conversation import Conversation, Dialect
from adapters.wechat.metrics import LATE_ANSWERS, REFUSED_NOTIFICATIONS, UNVERIFIED_ANSWERS
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.transport import Answer, NoAnswer, NotConnected, Transport
from adapters.wechat.v2.dialect import V2
from adapters.wechat.v3 import V3
from switch.domain.bill import Bill
from switch.domain.states import Operation
from switch.ports import (
    ChannelHealth,
    ChannelRequest,
    ChannelResult,
    Clock,
    Declined,
    Hsm,
    Notice,
    NotificationRefused,
    Phase,
    Unknown,
)

log = structlog.get_logger()

_BEGINS = frozenset({Operation.SALE, Operation.ORDER})


@dataclass(slots=True)
class _Lane:
    """Connections of their own for one kind of request. As many exchanges are open as there are connections."""

    session: aiohttp.ClientSession
    most: int
    open: "set[_Exchange]"


@dataclass(slots=True, eq=False)
class _Exchange:
    """One request under way. leaving: bytes may have left; answered: the peer's answer arrived whole."""

    lane: _Lane
    request: ChannelRequest
    future: "asyncio.Future[ChannelResult]"
    conversation: Conversation
    deadline: asyncio.TimerHandle | None = None
    leaving: bool = False
    answered: bool = False

    @property
    def phase(self) -> Phase:
        return Phase.SENT if self.leaving else Phase.NOT_SENT


class WeChatChannel:
    """Meets `switch.ports.Channel`, `NotifyingChannel` and `BilledChannel`.

    trace: `out_trade_no`, the authorization's id in hex (32 characters), and for a refund `out_refund_no`. An INQUIRY
    whose trace carries an `out_refund_no` asks after that refund instead of the order. There is no PRE_AUTHORIZATION,
    CAPTURE or INCREMENT at WeChat Pay; an ORDER needs a `notify_url`, and API v3.
    VOID and REVERSAL are the same: a payment by code is reversed, which gives back a paid one and closes an unpaid one
    for ever; an order is closed, or refunded whole if it turns out paid.
    A refund that is PROCESSING comes out as AwaitingPayer: it is asked again, by the same number.
    Phases: no connection, none free, failed signing, verified 429: NOT_SENT. All else that fails: SENT.
    Raises ValueError at construction for a platform key or root that is not RSA.
    """

    pin_key = ""
    pin_format = 0

    def __init__(self, settings: WeChatSettings, hsm: Hsm, clock: Clock) -> None:
        self.name = "wechat"
        self.reversal_after_s = settings.reversal_after_s
        self._settings = settings
        self._clock = clock
        self._keys = codec.PlatformKeys(settings.platform_public_key_pem, settings.platform_public_key_id)
        self._dialect: Dialect = V2(settings) if settings.v2_key else V3(settings, self._keys)
        self.operations = self._dialect.operations - (frozenset() if settings.notify_url else {Operation.ORDER})
        self._transport = Transport(settings, hsm, clock, self._run)
        self._billing = Billing(settings, self._keys, self._transport.fetch, clock)
        self._keeper: CertificateKeeper | None = None
        if settings.platform_root_pem and not settings.v2_key:
            self._keeper = CertificateKeeper(settings, self._keys, self._transport.fetch, clock)
        self._lanes: dict[bool, _Lane] = {}  # by whether it begins a payment; empty while stopped
        self._tasks: set[asyncio.Task[None]] = set()

    # --- Channel ----------------------------------------------------------------------------------------------------

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        """Name the order, and a refund by a random number that the caller makes durable before it is sent."""
        for request in requests:
            original = request.authorization.trace.get("out_trade_no", request.authorization.id.hex)
            request.trace.setdefault("out_trade_no", original)
            if request.operation is Operation.REFUND:
                request.trace.setdefault("out_refund_no", secrets.token_hex(16))

    def send(self, requests: Sequence[ChannelRequest]) -> "list[asyncio.Future[ChannelResult]]":
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[ChannelResult]] = []
        batch: list[_Exchange] = []
        for request in requests:
            future: asyncio.Future[ChannelResult] = loop.create_future()
            futures.append(future)
            exchange = self._admit(request, future, loop.time())
            if isinstance(exchange, _Exchange):
                exchange.deadline = loop.call_at(request.deadline_s, _expire, exchange)
                batch.append(exchange)
            else:
                future.set_result(exchange)
        if batch:
            self._run(self._send_batch(batch), "wechat_batch")
        return futures

    def health(self) -> ChannelHealth:
        health = self._transport.health()
        if health.ready and self._keeper is not None and not self._keeper.ready:
            return ChannelHealth(False, "the platform certificates are not there yet")
        return health

    async def start(self) -> None:
        most = self._settings.max_connections
        self._transport.start()
        self._lanes = {begins: self._lane(each) for begins, each in ((True, most), (False, max(1, most // 4)))}
        if self._keeper is not None:
            self._run(self._keeper.run(), "wechat_certificates")

    async def close(self) -> None:
        """What is in flight ends as Unknown: SENT if bytes may have left."""
        lanes, self._lanes = list(self._lanes.values()), {}
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._keeper is not None:
            await self._keeper.close()
        for lane in lanes:
            for exchange in list(lane.open):
                self._settle(exchange, Unknown(exchange.phase, "the channel was closed"))
            await lane.session.close()
        await self._transport.close()

    # --- notifications and bills ------------------------------------------------------------------------------------

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Verify and read one. Raises NotificationRefused: forged, expired, malformed, foreign."""
        settings, now_s = self._settings, self._clock.time_ms() / 1000
        try:
            if not settings.apiv3_key or settings.v2_key:
                raise NotificationRefused("foreign", "there is no APIv3 key to open it with")
            return notification.read(self._keys, settings.apiv3_key, settings.mchid, headers, body, now_s)
        except NotificationRefused as refusal:
            REFUSED_NOTIFICATIONS.labels(refusal.cause).inc()
            raise

    def notification_answer(self, accepted: bool) -> tuple[int, str, bytes]:
        return notification.ACCEPTED if accepted else notification.REFUSED

    async def bill(self, day: date) -> Bill:
        """The trade bill of a day of Asia/Shanghai, ready after 10:00 of the next one.

        Raises BillNotReady, BillRefused (hash, totals, malformed, foreign), or ConnectionError where none can be had.
        """
        return await self._billing.bill(day)

    async def fund_flow(self, day: date) -> tuple[Flow, ...]:
        """What moved on the merchant's basic account that day. Raises as `bill`."""
        return await self._billing.fund_flow(day)

    # --- from a request to its result -------------------------------------------------------------------------------

    def _admit(
        self, request: ChannelRequest, future: "asyncio.Future[ChannelResult]", now_s: float
    ) -> "_Exchange | Declined | Unknown":
        """An open exchange, or why there is none."""
        if request.operation not in self.operations:
            return _refused(request, "40", f"WeChat Pay has no {request.operation.name} here")
        if request.money.currency != "CNY":
            return _refused(request, "40", f"WeChat Pay has no {request.money.currency}")
        lane = self._lanes.get(request.operation in _BEGINS)
        if lane is None:
            return Unknown(Phase.NOT_SENT, "the channel is not started")
        if len(lane.open) >= lane.most:
            return Unknown(Phase.NOT_SENT, "all connections are busy")
        if request.deadline_s <= now_s:
            return Unknown(Phase.NOT_SENT, "the deadline has passed")
        try:
            conversation = self._dialect.begin(request)
        except codec.InvalidAuthCode as error:
            return _refused(request, "14", str(error))
        except codec.InvalidField as error:
            return _refused(request, "30", str(error))
        exchange = _Exchange(lane, request, future, conversation)
        lane.open.add(exchange)
        return exchange

    async def _send_batch(self, batch: list[_Exchange]) -> None:
        """One HSM call for all; then a task per exchange, since each needs a connection to itself."""
        signed = await self._headers([exchange.conversation.call for exchange in batch])
        for exchange, headers in zip(batch, signed, strict=True):
            if headers is None:
                self._settle(exchange, Unknown(Phase.NOT_SENT, "signing failed"))
            elif len(batch) > 1:
                self._run(self._exchange(exchange, headers), "wechat_exchange")
            else:
                await self._exchange(exchange, headers)

    async def _headers(self, calls: Sequence[Call]) -> Sequence[Mapping[str, str] | None]:
        if self._dialect.signed:
            return await self._transport.signed(calls)
        return [{"Content-Type": "text/xml; charset=utf-8", "User-Agent": "payswitch"}] * len(calls)

    async def _exchange(self, exchange: _Exchange, headers: Mapping[str, str]) -> None:
        result: ChannelResult = Unknown(Phase.SENT, "the exchange was abandoned")
        try:
            if exchange.future.done():  # given up while it was being signed
                return
            exchange.leaving = True
            result = await self._result(exchange, headers)
        finally:
            self._settle(exchange, result)

    async def _result(self, exchange: _Exchange, headers: Mapping[str, str]) -> ChannelResult:
        """Call after call, until it has come to something. Only before the first one was nothing sent."""
        call, first = exchange.conversation.call, True
        while True:
            try:
                answer = await self._transport.send(exchange.lane.session, call, headers)
            except NotConnected as error:
                return Unknown(Phase.NOT_SENT if first else Phase.SENT, str(error))
            except NoAnswer as error:
                return Unknown(Phase.SENT, str(error))
            exchange.answered = True
            outcome = await self._heard(exchange, answer)
            if not isinstance(outcome, Call):
                return outcome
            call, first = outcome, False
            [signed] = await self._headers([call])
            if signed is None:
                return Unknown(Phase.SENT, "signing failed")
            headers = signed

    async def _heard(self, exchange: _Exchange, answer: Answer) -> "Call | ChannelResult":
        """An answer under a certificate that is not known yet waits for it: unverified it is worth nothing."""
        try:
            try:
                return exchange.conversation.heard(answer, self._clock.time_ms() / 1000)
            except codec.UnverifiedAnswer as error:
                if error.cause != "unknown_key" or self._keeper is None:
                    raise
                await self._keeper.learn()
                return exchange.conversation.heard(answer, self._clock.time_ms() / 1000)
        except codec.UnverifiedAnswer as error:
            operation = exchange.request.operation.name.lower()
            UNVERIFIED_ANSWERS.labels(operation, error.cause).inc()
            log.warning("wechat_answer_unverified", operation=operation, status=answer.status, error=str(error))
            return Unknown(Phase.SENT, f"unverified answer: {error}")

    def _settle(self, exchange: _Exchange, result: ChannelResult) -> None:
        exchange.lane.open.discard(exchange)
        if exchange.deadline is not None:
            exchange.deadline.cancel()
        if not exchange.future.done():
            exchange.future.set_result(result)
        elif exchange.answered:
            LATE_ANSWERS.labels(exchange.request.operation.name.lower()).inc()

    # --- lanes and tasks --------------------------------------------------------------------------------------------

    def _lane(self, most: int) -> _Lane:
        return _Lane(self._transport.session(most), most, set())

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("wechat_task_died", task=task.get_name(), exc_info=task.exception())


def _refused(request: ChannelRequest, response_code: str, reason: str) -> Declined | Unknown:
    """What WeChat Pay could only refuse is declined unasked; but that says nothing of an order already there."""
    if request.operation in (Operation.INQUIRY, Operation.REVERSAL):
        return Unknown(Phase.NOT_SENT, reason)
    return Declined(response_code, reason)


def _expire(exchange: _Exchange) -> None:
    """Bound the wait. The exchange goes on, so that its late answer is counted."""
    if not exchange.future.done():
        exchange.future.set_result(Unknown(exchange.phase, "no answer before the deadline"))
