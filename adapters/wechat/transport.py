"""HTTPS to WeChat Pay: kept-alive connections in lanes, signatures by the HSM, and whether the peer is there."""

import asyncio
import secrets
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from yarl import URL

from adapters.wechat import codec
from adapters.wechat.calls import Call
from adapters.wechat.settings import WeChatSettings
from switch.ports import ChannelHealth, Clock, Hsm

log = structlog.get_logger()

# An answer is a few kilobytes; promotion_detail can make it tens.
_LARGEST_ANSWER_BYTES = 256 * 1024
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CONNECT_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_BACKGROUND_CONNECTIONS = 2


@dataclass(slots=True, frozen=True)
class Answer:
    """headers: names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotConnected(ConnectionError):
    """Nothing was sent."""


class NoAnswer(ConnectionError):
    """It was sent, or part of it, and no whole answer came."""


async def _bounded(response: aiohttp.ClientResponse, largest: int) -> bytes:
    """The body; one that says how long it is was judged by that, and aiohttp reads no more than it said."""
    length = response.content_length
    if length is not None and length <= largest:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > largest:
            raise codec.InvalidAnswer("the answer is too large")
    return bytes(body)


class Transport:
    """run: starts a task that lives no longer than the channel."""

    def __init__(
        self,
        settings: WeChatSettings,
        hsm: Hsm,
        clock: Clock,
        run: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        self._settings = settings
        self._hsm = hsm
        self._clock = clock
        self._run = run
        self._origin = URL(settings.base_url).origin()
        self._background: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._open = False
        self._reconnecting = False
        self._reachable = False
        self._detail = "not started"
        self._signed_headers = self._fixed_headers()

    def _fixed_headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "payswitch"}
        if self._settings.platform_public_key_id:
            headers["Wechatpay-Serial"] = self._settings.platform_public_key_id
        return headers

    def health(self) -> ChannelHealth:
        return ChannelHealth(self._reachable, self._detail)

    def start(self) -> None:
        settings = self._settings
        self._open = True
        if settings.client_certificate:
            self._tls = ssl.create_default_context()
            self._tls.load_cert_chain(settings.client_certificate, settings.client_private_key or None)
        self._background = self.session(_BACKGROUND_CONNECTIONS)
        self._lost("connecting")

    async def close(self) -> None:
        self._open = False
        self._reachable, self._detail = False, "closed"
        if self._background is not None:
            await self._background.close()

    def session(self, most: int) -> aiohttp.ClientSession:
        """A lane of connections of its own."""
        settings = self._settings
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=most, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=settings.answer_timeout_s, connect=settings.connect_timeout_s),
            auto_decompress=False,  # a signature covers the bytes as they came; none are asked for compressed
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    # --- signing ----------------------------------------------------------------------------------------------------

    async def signed(self, calls: Sequence[Call]) -> list[dict[str, str] | None]:
        """The headers of each call, by one HSM call for all; None where signing failed."""
        timestamp_s = self._clock.time_ms() // 1000
        nonces = [secrets.token_hex(16) for _ in calls]
        texts = [
            codec.request_text(call.method, call.target, timestamp_s, nonce, call.body)
            for call, nonce in zip(calls, nonces, strict=True)
        ]
        return [
            self._headers(call, timestamp_s, nonce, signature) if isinstance(signature, bytes) else None
            for call, nonce, signature in zip(calls, nonces, await self._signatures(texts), strict=True)
        ]

    def _headers(self, call: Call, timestamp_s: int, nonce: str, signature: bytes) -> dict[str, str]:
        settings = self._settings
        headers = self._signed_headers | {
            "Authorization": codec.authorization_header(
                settings.mchid, settings.merchant_serial_no, timestamp_s, nonce, signature
            )
        }
        if call.body:
            headers["Content-Type"] = "application/json"
        return headers

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

    # --- one exchange -----------------------------------------------------------------------------------------------

    async def send(
        self,
        session: aiohttp.ClientSession,
        call: Call,
        headers: Mapping[str, str],
        largest: int = _LARGEST_ANSWER_BYTES,
    ) -> Answer:
        """Raises NotConnected or NoAnswer."""
        try:
            answer = await self._answer(session, call, headers, largest)
        except _CONNECT_ERRORS as error:
            self._lost(f"no connection: {type(error).__name__}")
            raise NotConnected(f"no connection: {type(error).__name__}") from None
        except (aiohttp.ClientError, OSError, codec.InvalidAnswer) as error:  # TimeoutError is an OSError
            raise NoAnswer(f"no answer: {type(error).__name__}") from None
        self._reachable, self._detail = True, "connected"
        return answer

    async def fetch(self, call: Call, largest: int = _LARGEST_ANSWER_BYTES) -> Answer:
        """Outside of the payments' lanes. Raises ConnectionError."""
        [headers] = await self.signed([call])
        if headers is None or self._background is None:
            raise NotConnected("signing failed" if self._background is not None else "the channel is not started")
        if call.target.startswith("/v3/billdownload/"):
            headers["Accept"] = "*/*"
        return await self.send(self._background, call, headers, largest)

    async def _answer(
        self, session: aiohttp.ClientSession, call: Call, headers: Mapping[str, str], largest: int
    ) -> Answer:
        url = URL(f"{self._origin}{call.target}", encoded=True)  # what is sent is exactly what was signed
        async with session.request(
            call.method, url, data=call.body or None, headers=headers, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await _bounded(response, largest))

    # --- whether the peer is there ----------------------------------------------------------------------------------

    def _lost(self, detail: str) -> None:
        self._reachable, self._detail = False, detail
        if not self._reconnecting and self._open:
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
