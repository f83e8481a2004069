"""The way to WeChat Pay: signs, sends over kept-alive HTTPS, believes only what the platform signed."""

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from prometheus_client import Counter
from yarl import URL

from adapters.wechat import codec
from adapters.wechat.codes import Asked, result_of
from switch.domain.authorization import CodeCredential
from switch.domain.states import Operation
from switch.ports import ChannelHealth, ChannelRequest, ChannelResult, Clock, Declined, Hsm, Phase, Unknown

log = structlog.get_logger()

LATE_ANSWERS = Counter(
    "payswitch_wechat_late_answers", "Answers that came after their request had been given up", ["operation"]
)
UNVERIFIED_ANSWERS = Counter(
    "payswitch_wechat_unverified_answers", "Answers without a valid signature of the platform", ["operation"]
)

# An answer is a few kilobytes; promotion_detail can make it tens.
_LARGEST_ANSWER_BYTES = 256 * 1024
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CONNECT_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True)
class WeChatSettings:
    """One merchant account at WeChat Pay, in public-key mode.

    base_url: scheme, host and port, no path. platform_public_key_pem: PEM text; platform_public_key_id:
    `PUB_KEY_ID_…`. signing_key: HSM label of the merchant's RSA-2048 key. device_ip: told as the terminal's address.
    reversal_after_s: WeChat Pay refuses a reversal sooner than 15 s after its payment.
    answer_timeout_s: how long an answer is listened for, past the caller's deadline, so that it is at least counted.
    max_connections: sales at once, and a quarter as many for all else on top, so that silent sales cannot hold up
    their own reversals. There is no queue: a request beyond the bound is not sent.
    """

    base_url: str
    appid: str
    mchid: str
    merchant_serial_no: str
    platform_public_key_pem: str
    platform_public_key_id: str
    signing_key: str = "wechat/merchant"
    device_ip: str = "127.0.0.1"
    reversal_after_s: float = 15.0
    connect_timeout_s: float = 1.0
    answer_timeout_s: float = 10.0
    max_connections: int = 512


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
    call: codec.Call
    nonce: str
    deadline: asyncio.TimerHandle | None = None
    leaving: bool = False
    answered: bool = False

    @property
    def phase(self) -> Phase:
        return Phase.SENT if self.leaving else Phase.NOT_SENT


class WeChatChannel:
    """Meets `switch.ports.Channel`.

    trace: `out_trade_no`, the authorization's id in hex (32 characters), and for a refund `out_refund_no`. An INQUIRY
    whose trace carries an `out_refund_no` asks after that refund instead of the order.
    VOID and REVERSAL are the same call: WeChat Pay gives back a paid order and closes an unpaid one for ever.
    Phases: no connection, none free, failed signing, verified 429: NOT_SENT. All else that fails: SENT.
    Raises ValueError at construction for a platform key that is not RSA.
    """

    operations = frozenset({Operation.SALE, Operation.INQUIRY, Operation.REVERSAL, Operation.VOID, Operation.REFUND})
    pin_key = ""
    pin_format = 0

    def __init__(self, settings: WeChatSettings, hsm: Hsm, clock: Clock) -> None:
        self.name = "wechat"
        self.reversal_after_s = settings.reversal_after_s
        self._settings = settings
        self._hsm = hsm
        self._clock = clock
        self._origin = URL(settings.base_url).origin()
        self._platform_key = codec.PlatformKey(settings.platform_public_key_pem, settings.platform_public_key_id)
        self._lanes: dict[bool, _Lane] = {}  # by whether it is a sale; empty while stopped
        self._tasks: set[asyncio.Task[None]] = set()
        self._reconnecting = False
        self._reachable = False
        self._detail = "not started"

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
        return ChannelHealth(self._reachable, self._detail)

    async def start(self) -> None:
        most = self._settings.max_connections
        self._lanes = {True: self._lane(most), False: self._lane(max(1, most // 4))}
        self._lost("connecting")

    async def close(self) -> None:
        """What is in flight ends as Unknown: SENT if bytes may have left."""
        lanes, self._lanes = list(self._lanes.values()), {}
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in lanes:
            for exchange in list(lane.open):
                self._settle(exchange, Unknown(exchange.phase, "the channel was closed"))
            await lane.session.close()
        self._reachable, self._detail = False, "closed"

    # --- from a request to its result -------------------------------------------------------------------------------

    def _admit(
        self, request: ChannelRequest, future: "asyncio.Future[ChannelResult]", now_s: float
    ) -> "_Exchange | Declined | Unknown":
        """An open exchange, or why there is none."""
        if request.operation not in self.operations or request.money.currency != "CNY":
            return _refused(request, "40", "WeChat Pay has no such operation or currency")
        lane = self._lanes.get(request.operation is Operation.SALE)
        if lane is None:
            return Unknown(Phase.NOT_SENT, "the channel is not started")
        if len(lane.open) >= lane.most:
            return Unknown(Phase.NOT_SENT, "all connections are busy")
        if request.deadline_s <= now_s:
            return Unknown(Phase.NOT_SENT, "the deadline has passed")
        try:
            call = self._call(request)
        except codec.InvalidAuthCode as error:
            return _refused(request, "14", str(error))
        except codec.InvalidField as error:
            return _refused(request, "30", str(error))
        exchange = _Exchange(lane, request, future, call, secrets.token_hex(16))
        lane.open.add(exchange)
        return exchange

    def _call(self, request: ChannelRequest) -> codec.Call:
        settings, trace = self._settings, request.trace
        out_trade_no = trace["out_trade_no"]
        match request.operation:
            case Operation.SALE:
                return self._codepay(request, out_trade_no)
            case Operation.INQUIRY if "out_refund_no" in trace:
                return codec.query_refund(trace["out_refund_no"])
            case Operation.INQUIRY:
                return codec.query_order(settings.mchid, out_trade_no)
            case Operation.REFUND:
                total_fen = request.authorization.money.amount_minor
                return codec.refund(out_trade_no, trace["out_refund_no"], request.money.amount_minor, total_fen)
            case _:
                return codec.reverse(settings.appid, settings.mchid, out_trade_no)

    def _codepay(self, request: ChannelRequest, out_trade_no: str) -> codec.Call:
        settings, merchant = self._settings, request.merchant
        if not isinstance(request.credential, CodeCredential):
            raise codec.InvalidAuthCode("a sale needs a payment code")
        scene = codec.Scene(merchant.id, request.authorization.terminal_id, settings.device_ip)
        code = request.credential.code.reveal()
        amount_fen, description = request.money.amount_minor, merchant.name or merchant.id
        return codec.codepay(settings.appid, settings.mchid, out_trade_no, code, amount_fen, description, scene)

    def _asked(self, request: ChannelRequest) -> Asked:
        """The order's amount is the sale's own, and for what follows that of the original."""
        sale = request.operation is Operation.SALE
        return Asked(
            operation=request.operation,
            mchid=self._settings.mchid,
            out_trade_no=request.trace["out_trade_no"],
            total_fen=request.money.amount_minor if sale else request.authorization.money.amount_minor,
            out_refund_no=request.trace.get("out_refund_no", ""),
            refund_fen=request.money.amount_minor if request.operation is Operation.REFUND else 0,
        )

    async def _send_batch(self, batch: list[_Exchange]) -> None:
        """One HSM call for all; then a task per exchange, since each needs a connection to itself."""
        timestamp_s = self._clock.time_ms() // 1000
        texts = [codec.request_text(e.call.method, e.call.target, timestamp_s, e.nonce, e.call.body) for e in batch]
        for exchange, signature in zip(batch, await self._signatures(texts), strict=True):
            if isinstance(signature, bytes):
                headers = self._headers(exchange, timestamp_s, signature)
                self._run(self._exchange(exchange, headers), "wechat_exchange")
            else:
                self._settle(exchange, Unknown(Phase.NOT_SENT, "signing failed"))

    async def _signatures(self, texts: Sequence[bytes]) -> Sequence[bytes | Exception]:
        key = self._settings.signing_key
        try:
            signatures: Sequence[bytes | Exception] = await self._hsm.sign([(key, text) for text in texts])
            if len(signatures) != len(texts):
                raise ValueError("as many signatures as texts were expected")
        except Exception as error:  # the HSM as a whole is sick; without a signature nothing leaves
            signatures = [error] * len(texts)
        failures = [each for each in signatures if isinstance(each, Exception)]
        if failures:
            log.error("wechat_signing_failed", count=len(failures), error=type(failures[0]).__name__)
        return signatures

    def _headers(self, exchange: _Exchange, timestamp_s: int, signature: bytes) -> dict[str, str]:
        settings = self._settings
        headers = {
            "Authorization": codec.authorization_header(
                settings.mchid, settings.merchant_serial_no, timestamp_s, exchange.nonce, signature
            ),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "payswitch",
            "Wechatpay-Serial": settings.platform_public_key_id,
        }
        if exchange.call.body:
            headers["Content-Type"] = "application/json"
        return headers

    async def _exchange(self, exchange: _Exchange, headers: dict[str, str]) -> None:
        result: ChannelResult = Unknown(Phase.SENT, "the exchange was abandoned")
        try:
            if exchange.future.done():  # given up while it was being signed
                return
            exchange.leaving = True
            result = await self._result(exchange, headers)
        finally:
            self._settle(exchange, result)

    async def _result(self, exchange: _Exchange, headers: dict[str, str]) -> ChannelResult:
        try:
            status, answer_headers, body = await self._answer(exchange, headers)
        except _CONNECT_ERRORS as error:
            self._lost(f"no connection: {type(error).__name__}")
            return Unknown(Phase.NOT_SENT, f"no connection: {type(error).__name__}")
        except (aiohttp.ClientError, OSError, codec.InvalidAnswer) as error:  # TimeoutError is an OSError
            return Unknown(Phase.SENT, f"no answer: {type(error).__name__}")
        exchange.answered = True
        self._reachable, self._detail = True, "connected"
        if status < 500:
            try:
                self._platform_key.verify(answer_headers, body, self._clock.time_ms() / 1000)
            except codec.UnverifiedAnswer as error:
                operation = exchange.request.operation.name.lower()
                UNVERIFIED_ANSWERS.labels(operation).inc()
                log.warning("wechat_answer_unverified", operation=operation, status=status, error=str(error))
                return Unknown(Phase.SENT, f"unverified answer: {error}")
        return result_of(self._asked(exchange.request), status, body)

    async def _answer(self, exchange: _Exchange, headers: dict[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        call = exchange.call
        url = URL(f"{self._origin}{call.target}", encoded=True)  # what is sent is exactly what was signed
        async with exchange.lane.session.request(
            call.method, url, data=call.body or None, headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _LARGEST_ANSWER_BYTES:
                    raise codec.InvalidAnswer("the answer is too large")
            return response.status, response.headers, bytes(body)

    def _settle(self, exchange: _Exchange, result: ChannelResult) -> None:
        exchange.lane.open.discard(exchange)
        if exchange.deadline is not None:
            exchange.deadline.cancel()
        if not exchange.future.done():
            exchange.future.set_result(result)
        elif exchange.answered:
            LATE_ANSWERS.labels(exchange.request.operation.name.lower()).inc()

    # --- tasks and the link -----------------------------------------------------------------------------------------

    def _lane(self, most: int) -> _Lane:
        settings = self._settings
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=most),
            timeout=aiohttp.ClientTimeout(total=settings.answer_timeout_s, connect=settings.connect_timeout_s),
            auto_decompress=False,  # a signature covers the bytes as they came; none are asked for compressed
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return _Lane(session, most, set())

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("wechat_task_died", task=task.get_name(), exc_info=task.exception())

    def _lost(self, detail: str) -> None:
        self._reachable, self._detail = False, detail
        if not self._reconnecting and self._lanes:
            self._reconnecting = True
            self._run(self._reconnect(), "wechat_reconnect")

    async def _reconnect(self) -> None:
        """HTTP keeps no link, so that only a trial connection can tell when the peer is back."""
        pause_s = _FIRST_PAUSE_S
        try:
            while not self._reachable:
                try:
                    async with asyncio.timeout(self._settings.connect_timeout_s):
                        _, writer = await asyncio.open_connection(self._origin.host, self._origin.port)
                except OSError as error:  # TimeoutError is one
                    self._detail = f"cannot connect: {type(error).__name__}"
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                writer.close()
                self._reachable, self._detail = True, "connected"
        finally:
            self._reconnecting = False


def _refused(request: ChannelRequest, response_code: str, reason: str) -> Declined | Unknown:
    """What WeChat Pay could only refuse is declined unasked; but that says nothing of an order already there."""
    if request.operation in (Operation.INQUIRY, Operation.REVERSAL):
        return Unknown(Phase.NOT_SENT, reason)
    return Declined(response_code, reason)


def _expire(exchange: _Exchange) -> None:
    """Bound the wait. The exchange goes on, so that its late answer is counted."""
    if not exchange.future.done():
        exchange.future.set_result(Unknown(exchange.phase, "no answer before the deadline"))
