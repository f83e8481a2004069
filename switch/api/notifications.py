"""What channels say by themselves: `POST /notify/{channel}/{merchant_id}/{authorization_id}`, or `/notify/{channel}`.

A notification is a reason to ask, never an outcome: once the channel has verified it, the payment's open inquiry (or
the refund it is of) is due at once, and nothing else moves. Who cannot sign as the channel cannot make the switch ask,
and who repeats what the channel signed makes it ask once.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog
from aiohttp import web

from switch.api.listener import Bounds, Listener
from switch.ops.metrics import NOTIFICATIONS
from switch.ports import Clock, Hastened, Journal, NotificationRefused, NotifyingChannel, StoreUnavailable

log = structlog.get_logger()

# After these the peer need not come again. In flight: it came before our own record of the answer.
_ENDS_THE_REPEATS: Final = frozenset({Hastened.DUE, Hastened.BEING_REVERSED, Hastened.FINAL})

_REMEMBERED: Final = 10_000

_HEX_ID = r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_ID = re.compile(_HEX_ID, re.ASCII).fullmatch
_PATH = re.compile(
    rf"/notify/(?P<channel>[^/]{{1,80}})(/(?P<merchant_id>[0-9A-Za-z]{{1,15}})/(?P<id>{_HEX_ID}))?", re.ASCII
).fullmatch


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
    """channels: those that notify, by name. wake: tells the resolver that something is due."""

    def __init__(
        self,
        channels: Mapping[str, NotifyingChannel],
        journal: Journal,
        wake: Callable[[], None],
        clock: Clock,
        settings: DoorSettings,
    ) -> None:
        self._channels = channels
        self._journal = journal
        self._wake = wake
        self._clock = clock
        self._settings = settings
        self._acted_on: dict[tuple[str, str, str], None] = {}
        self._working = 0
        self._allowance = float(settings.per_second)
        self._allowance_s = 0.0
        self._listener = Listener(self._handle, settings.bounds, lambda reason: _count("", reason))

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
            _count(name, refused.outcome)
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
            return _answer(channel, refused.cause, accepted=False)
        except Exception as error:
            log.error("notification_not_read", channel=channel.name, reason=type(error).__name__)
            return _answer(channel, "failed", accepted=False)
        event = (channel.name, notice.reference, notice.event)
        if event in self._acted_on:
            return _answer(channel, "repeated", accepted=True)
        named = authorization_id or (UUID(notice.reference) if _ID(notice.reference) else None)
        try:
            hastened = Hastened.UNKNOWN if named is None else await self._journal.hasten(notice, merchant_id, named)
        except StoreUnavailable as error:
            log.warning("notification_waits_for_database", reason=str(error))
            return _answer(channel, "unavailable", accepted=False)
        if hastened is Hastened.DUE:
            self._remember(event)
            self._wake()
        log.info(
            "notification", channel=channel.name, outcome=hastened.value, authorization=str(named or ""),
            event_name=notice.event, said=notice.said,
        )  # fmt: skip
        return _answer(channel, hastened.value, accepted=hastened in _ENDS_THE_REPEATS)

    def _remember(self, event: tuple[str, str, str]) -> None:
        if event[-1]:
            self._acted_on[event] = None
        if len(self._acted_on) > _REMEMBERED:
            del self._acted_on[next(iter(self._acted_on))]

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


def _answer(channel: NotifyingChannel, outcome: str, *, accepted: bool) -> web.Response:
    _count(channel.name, outcome)
    status, content_type, body = channel.notification_answer(accepted)
    return web.Response(status=status, body=body, headers={"Content-Type": content_type} if content_type else None)


def _count(channel: str, outcome: str) -> None:
    NOTIFICATIONS.labels(channel, outcome).inc()
