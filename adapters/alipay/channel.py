"""The Alipay channel: signs a batch in one HSM call, then one HTTP exchange per message.

Phases: until `Transport.post` is called, and where it says so, a message is NOT_SENT; from there on nothing but a
verified answer to this very question is an outcome.
"""

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

import structlog
from prometheus_client import Counter

from adapters.alipay.billing import fetch_bill
from adapters.alipay.certificate_watch import CertificateWatch
from adapters.alipay.circuit import Circuit, probe_delay_s
from adapters.alipay.codec import AlipayError, Answer, ForgedAnswer, UnknownCertificate
from adapters.alipay.gateway import ERRORS, Gateway
from adapters.alipay.notification import ANSWERS, read_notification
from adapters.alipay.operations import OPERATIONS, OUT_REQUEST_NO, OUT_TRADE_NO, PAY, Message, Terms, message_for, probe
from adapters.alipay.settings import AlipaySettings
from adapters.alipay.transport import NotSent, Unanswered
from switch.domain.bill import Bill
from switch.domain.states import Operation
from switch.ports import (
    AwaitingPayer,
    ChannelHealth,
    ChannelRequest,
    ChannelResult,
    Clock,
    Hsm,
    Notice,
    NotificationRefused,
    Phase,
    Unknown,
)

__all__ = ["AlipayChannel", "AlipaySettings"]

_LATE = Counter("payswitch_alipay_late_results_total", "Results that came after the caller had stopped waiting")
_UNVERIFIED = Counter("payswitch_alipay_unverified_answers_total", "Answers that could not be believed", ["kind"])
_NOTIFICATIONS = Counter(
    "payswitch_alipay_notifications_total", "Notifications read, by what became of them", ["outcome"]
)

_PROBE_TRADE = "payswitch_probe"
_BEGINNINGS = frozenset({Operation.SALE, Operation.ORDER})

_log = structlog.get_logger()


@dataclass(slots=True)
class _Exchange:
    request: ChannelRequest
    message: Message
    future: "asyncio.Future[ChannelResult]"
    phase: Phase = Phase.NOT_SENT
    ended: bool = False


class AlipayChannel:
    """Meets `switch.ports.Channel`, `NotifyingChannel` and `BilledChannel`.

    Authorization only in the sense of a sale or an order: no pre-authorization, no capture, no increment.

    trace: out_trade_no (the authorization's id in hex); for a refund also out_request_no, kept if the caller has set
    one. An INQUIRY whose trace names an out_request_no asks about that refund. An INQUIRY's Declined("25") is not
    final for a payment just sent: the payment may still arrive, so it is cancelled, which leaves a closed trade.
    """

    name = "alipay"
    operations = OPERATIONS
    pin_key = ""
    pin_format = 0
    reversal_after_s = 0.0

    def __init__(
        self,
        settings: AlipaySettings,
        hsm: Hsm,
        clock: Clock,
        new_request_no: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._settings = settings
        self._hsm = hsm
        self._clock = clock
        self._new_request_no = new_request_no
        self._terms = Terms(settings.timeout_express, settings.notify_url)
        self._trust = settings.trust()
        self._certificates = CertificateWatch(self._trust, clock, settings.certificate_check_s, self._probe)
        self._gateway = Gateway(settings, hsm, clock, self._trust, self._certificates.want)
        follow_on_lane = max(1, settings.max_connections // 4)
        self._sale_lane = asyncio.Semaphore(max(1, settings.max_connections - follow_on_lane))
        self._follow_on_lane = asyncio.Semaphore(follow_on_lane)
        self._circuit = Circuit(settings.failures_to_open)
        self._opened = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._watch: asyncio.Task[None] | None = None
        self._refresh: asyncio.Task[None] | None = None

    # --- the port ---------------------------------------------------------------------------------------------------

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        for request in requests:
            original = request.authorization
            request.trace.setdefault(OUT_TRADE_NO, original.trace.get(OUT_TRADE_NO) or original.id.hex)
            if request.operation is Operation.REFUND:
                request.trace.setdefault(OUT_REQUEST_NO, self._new_request_no())

    def send(self, requests: Sequence[ChannelRequest]) -> "list[asyncio.Future[ChannelResult]]":
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[ChannelResult]] = []
        exchanges: list[_Exchange] = []
        for request in requests:
            future: asyncio.Future[ChannelResult] = loop.create_future()
            futures.append(future)
            message = self._unsendable(len(exchanges)) or message_for(request, self._terms)
            if isinstance(message, Message):
                exchanges.append(_Exchange(request, message, future))
            else:
                future.set_result(message)
        if exchanges:
            self._in_flight += len(exchanges)
            self._spawn(self._sign_and_send(exchanges), exchanges)
        return futures

    def health(self) -> ChannelHealth:
        if self._watch is None:
            return ChannelHealth(False, "not started")
        if self._circuit.is_open:
            return ChannelHealth(False, f"no verified answer; {self._circuit.failures} failures in a row")
        if not self._circuit.heard:
            return ChannelHealth(False, "connecting")
        return ChannelHealth(True, f"{self._in_flight} in flight")

    async def start(self) -> None:
        if self._watch is None:
            self._gateway.transport.open()
            self._watch = asyncio.create_task(self._keep_watch(), name="alipay-watch")
            self._watch.add_done_callback(_log_death)
            if self._trust.certified:
                self._refresh = asyncio.create_task(self._certificates.run(self._gateway), name="alipay-certificates")
                self._refresh.add_done_callback(_log_death)

    async def close(self) -> None:
        """Give up what is in flight: sent messages become Unknown(SENT)."""
        tasks = [*self._tasks, *(each for each in (self._watch, self._refresh) if each is not None)]
        self._watch = self._refresh = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._gateway.transport.close()

    # --- what comes by itself, and by day ---------------------------------------------------------------------------

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notice:
        oldest_ms = self._clock.time_ms() - int(self._settings.notification_age_max_s * 1_000)
        try:
            notice = read_notification(body, self._trust, self._settings.app_id, oldest_ms)
        except NotificationRefused as refusal:
            _NOTIFICATIONS.labels(refusal.cause).inc()
            raise
        _NOTIFICATIONS.labels("believed").inc()
        return notice

    def notification_answer(self, accepted: bool) -> tuple[int, str, bytes]:
        return ANSWERS[accepted]

    async def bill(self, day: date) -> Bill:
        return await fetch_bill(self._gateway, self._settings.gateway_url, day, self._settings.seller_id)

    # --- the way out ------------------------------------------------------------------------------------------------

    def _unsendable(self, ahead: int) -> Unknown | None:
        if self._watch is None:
            return Unknown(Phase.NOT_SENT, "closed")
        if self._circuit.is_open:
            return Unknown(Phase.NOT_SENT, "circuit_open")
        if self._in_flight + ahead >= self._settings.max_in_flight:
            return Unknown(Phase.NOT_SENT, "overloaded")
        return None

    async def _sign_and_send(self, exchanges: list[_Exchange]) -> None:
        signed = await self._gateway.signed([exchange.message for exchange in exchanges])
        ready: list[tuple[_Exchange, dict[str, str]]] = []
        for exchange, parameters in zip(exchanges, signed, strict=True):
            if parameters is None:
                self._finish(exchange, Unknown(Phase.NOT_SENT, "not_signed"))
            else:
                ready.append((exchange, parameters))
        if len(ready) == 1:
            # At low load: no task of its own.
            await self._exchange(*ready[0])
            return
        for exchange, parameters in ready:
            self._spawn(self._exchange(exchange, parameters), [exchange])

    async def _exchange(self, exchange: _Exchange, parameters: dict[str, str]) -> None:
        request = exchange.request
        async with self._sale_lane if request.operation in _BEGINNINGS else self._follow_on_lane:
            if exchange.future.done() or self._clock.monotonic_s() >= request.deadline_s:
                self._finish(exchange, Unknown(Phase.NOT_SENT, "deadline_passed"))
                return
            exchange.phase = Phase.SENT
            result = await self._ask(exchange.message, parameters)
            if isinstance(result, Message):
                result = await self._confirm(result)
        self._finish(exchange, result)

    async def _confirm(self, message: Message) -> ChannelResult:
        """Ask what the first answer left open. Whatever becomes of this, the first message was sent."""
        (parameters,) = await self._gateway.signed([message])
        result = await self._ask(message, parameters) if parameters is not None else message
        if isinstance(result, Message):
            return Unknown(Phase.SENT, "not_confirmed")
        return Unknown(Phase.SENT, result.reason) if isinstance(result, Unknown) else result

    async def _ask(self, message: Message, parameters: dict[str, str]) -> ChannelResult | Message:
        try:
            answer = await self._answer(message, parameters)
            return message.read(answer)
        except NotSent as error:
            return Unknown(Phase.NOT_SENT, str(error))
        except Unanswered as error:
            return Unknown(Phase.SENT, str(error))
        except UnknownCertificate:
            # It is being fetched, and nobody waits for it: what was paid is learnt by asking again.
            _UNVERIFIED.labels("unknown_certificate").inc()
            return AwaitingPayer() if message.method == PAY else Unknown(Phase.SENT, "unknown_certificate")
        except AlipayError as error:
            kind = "forged" if isinstance(error, ForgedAnswer) else "malformed"
            _UNVERIFIED.labels(kind).inc()
            _log.warning("alipay_answer_unverified", kind=kind, method=message.method, detail=str(error))
            return Unknown(Phase.SENT, f"{kind}_answer")

    async def _answer(self, message: Message, parameters: dict[str, str]) -> Answer:
        """A verified answer. Raises NotSent, Unanswered or AlipayError; the circuit learns either way."""
        try:
            answer = await self._gateway.ask(message, parameters)
        except UnknownCertificate:
            # Alipay is there, and changes its certificate.
            raise
        except (NotSent, Unanswered, AlipayError) as error:
            if not isinstance(error, AlipayError):
                ERRORS.labels(str(error)).inc()
            if self._circuit.failed():
                _log.warning("alipay_circuit_opened", failures=self._circuit.failures)
                self._opened.set()
            raise
        self._circuit.succeeded()
        return answer

    def _finish(self, exchange: _Exchange, result: ChannelResult) -> None:
        if exchange.ended:
            return
        exchange.ended = True
        self._in_flight -= 1
        if exchange.future.done():
            _LATE.inc()
            _log.info(
                "alipay_late_result",
                out_trade_no=exchange.request.trace[OUT_TRADE_NO],
                operation=exchange.request.operation.name,
                result=type(result).__name__,
            )
        else:
            exchange.future.set_result(result)

    # --- tasks ------------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], exchanges: list[_Exchange]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, exchanges))

    def _ended(self, task: asyncio.Task[None], exchanges: list[_Exchange]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is None:
            return
        reason = "closed" if task.cancelled() else "internal_error"
        for exchange in exchanges:
            self._finish(exchange, Unknown(exchange.phase, reason))
        _log_death(task)

    # --- the watch --------------------------------------------------------------------------------------------------

    async def _keep_watch(self) -> None:
        """Asks until a verified answer comes; then sleeps until payments open the circuit. For ever."""
        while True:
            attempt = 0
            while not await self._probe():
                self._circuit.trip()
                await asyncio.sleep(probe_delay_s(attempt))
                attempt += 1
            self._opened.clear()
            await self._opened.wait()

    async def _probe(self) -> bool:
        """Whether a verified answer came. What it says, and how it failed, is told to circuit and certificates."""
        message = probe(_PROBE_TRADE)
        try:
            (parameters,) = await self._gateway.signed([message])
            if parameters is not None:
                await self._answer(message, parameters)
                return True
        except (NotSent, Unanswered, AlipayError) as error:
            _log.info("alipay_probe_failed", kind=type(error).__name__, detail=str(error))
        except Exception as error:
            # The watch outlives a failing HSM; the circuit stays open meanwhile.
            _log.error("alipay_probe_failed", kind=type(error).__name__, where=_where(error))
        return False


def _log_death(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("alipay_task_died", error=type(error).__name__, where=_where(error))


def _where(error: BaseException) -> list[str]:
    """Where it happened, without what the frames hold: a renderer that shows locals would show payment codes."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
