"""What channels say by themselves: `POST /notify/{channel}/{merchant_id}/{authorization_id}`, or `/notify/{channel}`.

A notification is a reason to ask, never an outcome: once the channel has verified it, the payment's open inquiry (or
the refund it is of) is due at once, and nothing else moves. Who cannot sign as the channel cannot make the switch ask,
and who repeats what the channel signed makes it ask once.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog
from aiohttp import web

from switch.api.listener import Bounds, Listener
from switch.api.notices import ID, SETTLED, Notices, count
from switch.ports import Clock, NotificationRefused, NotifyingChannel, StoreUnavailable
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals

log = structlog.get_logger()

_PATH = re.compile(
    rf"/notify/(?P<channel>[^/]{{1,80}})(/(?P<merchant_id>[0-9A-Za-z]{{1,15}})/(?P<id>{ID}))?", re.ASCII
).fullmatch


_SIGNALS: Final = {
    "unsigned": SignalKind.BAD_SIGNATURE,
    "forged": SignalKind.BAD_SIGNATURE,
    "malformed": SignalKind.MALFORMED,
}


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """concurrency: notifications worked on at once. per_second: read at all; what is more is told to come again."""

    concurrency: int = 64
    per_second: int = 200
    bounds: Bounds = field(default_factory=Bounds)


class _Refused(Exception):
    """outcome: for the metrics. status: HTTP."""

    def __init__(self, outcome: str, status: int) -> None:
        super().__init__(outcome)
        self.outcome, self.status = outcome, status


class NotificationDoor:
    """channels: those that notify, by name."""

    def __init__(
        self,
        channels: Mapping[str, NotifyingChannel],
        notices: Notices,
        clock: Clock,
        settings: DoorSettings,
        signals: Signals = UNHEARD,
    ) -> None:
        self._signals = signals
        self._channels = channels
        self._notices = notices
        self._clock = clock
        self._settings = settings
        self._working = 0
        self._allowance = float(settings.per_second)
        self._allowance_s = 0.0
        self._listener = Listener(self._handle, settings.bounds, lambda reason: count("", reason))

    async def start(self, host: str, port: int) -> int:
        """Returns the port; 0 takes a free one. Raises OSError if the address is taken."""
        await self._listener.start(host, port)
        return self._listener.port

    async def stop_accepting(self) -> None:
        self._listener.stop_accepting()

    async def close(self) -> None:
        await self._listener.close()

    # --- one request --------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        name = ""
        try:
            channel, merchant_id, authorization_id = self._addressed(request)
            name = channel.name
            with self._place():
                body = await self._body(request)
                return await self._read(channel, request, body, merchant_id, authorization_id)
        except _Refused as refused:
            if refused.outcome == "not_found":
                self._report(SignalKind.UNKNOWN_PATH, request, name)
            count(name, refused.outcome)
            return web.Response(status=refused.status)

    def _addressed(self, request: web.BaseRequest) -> tuple[NotifyingChannel, str | None, UUID | None]:
        """The channel, and the merchant's and authorization's ids where the path names them."""
        found = _PATH(request.path)
        channel = self._channels.get(found["channel"]) if found is not None else None
        if found is None or channel is None:
            raise _Refused("not_found", 404)
        if request.method != "POST":
            raise _Refused("not_found", 405)
        if found["merchant_id"] is None:
            return channel, None, None
        return channel, found["merchant_id"], UUID(found["id"])

    async def _body(self, request: web.BaseRequest) -> bytes:
        most = self._settings.bounds.body_bytes
        if request.content_length is not None and request.content_length > most:
            raise _Refused("too_large", 413)
        body = bytearray()
        try:
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > most:
                    raise _Refused("too_large", 413)
        except (web.RequestPayloadError, ConnectionError):
            raise _Refused("cut_short", 400) from None
        return bytes(body)

    async def _read(
        self, channel: NotifyingChannel, request: web.BaseRequest, body: bytes, merchant_id: str | None,
        authorization_id: UUID | None,
    ) -> web.Response:  # fmt: skip
        try:
            notice = channel.read_notification(_headers(request), body)
        except NotificationRefused as refused:
            if refused.cause in _SIGNALS:
                self._report(_SIGNALS[refused.cause], request, channel.name)
            count(channel.name, refused.cause)
            return _answer(channel, accepted=False)
        except Exception as error:
            log.error("notification_not_read", channel=channel.name, reason=type(error).__name__)
            count(channel.name, "failed")
            return _answer(channel, accepted=False)
        try:
            hastened = await self._notices.take(notice, merchant_id, authorization_id)
        except StoreUnavailable:
            return _answer(channel, accepted=False)
        return _answer(channel, accepted=hastened in SETTLED)

    def _report(self, kind: SignalKind, request: web.BaseRequest, channel: str) -> None:
        """The address is a proxy's, and what comes claims to be a wallet's: neither is ever turned away for it."""
        participant = f"channel/{channel}" if channel else "channel"
        self._signals.report(Signal(kind, address=request.remote or "", participant=participant))

    # --- bounds -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the door's places. Raises _Refused when too much is going on."""
        now_s, most = self._clock.monotonic_s(), float(self._settings.per_second)
        self._allowance = min(most, self._allowance + (now_s - self._allowance_s) * most)
        self._allowance_s = now_s
        if self._working >= self._settings.concurrency or self._allowance < 1:
            raise _Refused("too_busy", 503)
        self._allowance -= 1
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """A name that came twice has its values joined (RFC 9110 5.2), so that no second one hides behind the first."""
    return {name: ", ".join(request.headers.getall(name)) for name in request.headers}


def _answer(channel: NotifyingChannel, *, accepted: bool) -> web.Response:
    status, content_type, body = channel.notification_answer(accepted)
    return web.Response(status=status, body=body, headers={"Content-Type": content_type} if content_type else None)
