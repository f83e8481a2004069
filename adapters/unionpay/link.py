"""One TCP connection to the network: frames in and out, and who waits for which reply. Knows nothing of MACs."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import structlog

from adapters.unionpay import metrics
from adapters.unionpay._codec import Header, decode, encode_frame
from adapters.unionpay.format import Fields, MalformedMessage
from adapters.unionpay.frame import KEEP_ALIVE, Framer, Remedy
from adapters.unionpay.messages import REPLY_MTI
from adapters.unionpay.replies import Expected
from adapters.unionpay.settings import UnionPaySettings
from switch.ports import ChannelResult, Phase, Unknown

log = structlog.get_logger()

_ACCEPTED_IN_HEADER = "00000"
_NETWORK_REQUESTS = frozenset({"0800", "0820", "0620"})
_NETWORK_REPLIES = frozenset({"0810", "0830"})
_FINANCIAL_REPLIES = frozenset(REPLY_MTI.values()) - _NETWORK_REPLIES
_REJECT_CODE = slice(41, 46)  # of the header


@dataclass(slots=True)
class Waiting:
    """A message that was sent. Holds nothing of the payer's."""

    future: "asyncio.Future[ChannelResult]"
    expected: Expected
    sent_s: float


@dataclass(slots=True)
class Reply:
    """A financial reply with the message it answers."""

    waiting: Waiting
    mti: str
    fields: Fields = field(repr=False)


@dataclass(slots=True)
class LinkEvents:
    """What a link tells its owner. Each is called inside the loop and must not block."""

    replies: Callable[["Link", list[Reply]], None]
    network_request: Callable[["Link", Header, str, Fields], None]


class Link(asyncio.Protocol):
    """Multiplexed by DE11 + DE37 (financial) and DE11 + DE70 (network management).

    ready: signed on, working keys at hand; set by the owner. closed: done once the connection is gone.
    """

    def __init__(self, settings: UnionPaySettings, events: LinkEvents) -> None:
        self._settings = settings
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._framer = Framer()
        self._garbage_counted = 0
        self._header = Header(settings.network, settings.source or settings.forwarder)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self._answered: dict[tuple[str, str], None] = {}  # the last ones: a second reply to them is a duplicate
        self._asked: dict[tuple[str, str], asyncio.Future[Fields]] = {}
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.ready = False
        self.last_received_s = self._loop.time()
        self.last_sent_s = self.last_received_s

    @property
    def pending(self) -> int:
        """How many messages still wait for their reply."""
        return len(self._waiting)

    @property
    def obstacle(self) -> str:
        """Why nothing may be sent now, in a word; "" if it may."""
        if self._transport is None or self._transport.is_closing():
            return "link_down"
        if not self.ready:
            return "not_signed_on"
        if self._paused:
            return "link_congested"
        return "too_many_pending" if len(self._waiting) >= self._settings.pending_limit else ""

    # --- sending ----------------------------------------------------------------------------------------------------

    def register(
        self, mti: str, fields: Fields, expected: Expected, future: "asyncio.Future[ChannelResult]"
    ) -> bytes | None:
        """Expect the reply and return the frame to write; None if a message of that name still waits (invariant 14).

        Raises MalformedMessage.
        """
        frame = encode_frame(self._header, mti, fields)
        name = (str(fields[11]), str(fields[37]))
        before = self._waiting.get(name)
        if before is not None and not before.future.done():
            return None
        self._waiting[name] = Waiting(future, expected, self._loop.time())
        return frame

    def write(self, frames: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the link is down")
        self._transport.write(frames)
        self.last_sent_s = self._loop.time()

    def keep_alive(self) -> None:
        self.write(KEEP_ALIVE)

    def respond(self, header: Header, mti: str, fields: Fields) -> None:
        """Answer a request of the network."""
        self.write(encode_frame(header.reply(), REPLY_MTI[mti], fields))

    async def ask(self, fields: Fields) -> Fields:
        """An 0820 and its reply. Raises TimeoutError or ConnectionError; a duplicate name is a bug."""
        name = (str(fields[11]), str(fields[70]))
        if name in self._asked:
            raise ValueError("a network message of this name is pending")
        future: asyncio.Future[Fields] = self._loop.create_future()
        self._asked[name] = future
        try:
            self.write(encode_frame(self._header, "0820", fields))
            async with asyncio.timeout(self._settings.reply_timeout_s):
                return await future
        finally:
            self._asked.pop(name, None)

    def sweep(self) -> None:
        """Forget what has waited longer than the late window; the dictionary is in order of sending."""
        horizon_s = self._loop.time() - self._settings.late_window_s
        while self._waiting:
            name, oldest = next(iter(self._waiting.items()))
            if oldest.sent_s > horizon_s:
                return
            del self._waiting[name]
            resolve(oldest.future, Unknown(Phase.SENT, "no reply"))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape but not the type.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._settings.write_buffer_limit_bytes)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def data_received(self, data: bytes) -> None:
        self.last_received_s = self._loop.time()
        messages = self._framer.feed(data)
        if self._framer.error is not None or self._framer.skipped_ever != self._garbage_counted:
            messages += self._deal_with_garbage()
        replies: list[Reply] = []
        for message in messages:
            self._route(message, replies)
        if replies:
            self._events.replies(self, replies)

    def _deal_with_garbage(self) -> list[bytes]:
        """Messages found behind garbage; the link is dropped when there is too much of it."""
        messages: list[bytes] = []
        while self._framer.error is not None:
            if self._framer.error.remedy is Remedy.DROP:
                log.warning("unionpay_link_dropped", reason="garbage without end")
                self.abort()
                break
            metrics.REFUSED.labels("garbage").inc()
            log.warning("unionpay_garbage", reason=str(self._framer.error))
            messages += self._framer.resynchronise()
        metrics.GARBAGE_BYTES.inc(self._framer.skipped_ever - self._garbage_counted)
        self._garbage_counted = self._framer.skipped_ever
        return messages

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready = False
        for waiting in self._waiting.values():
            resolve(waiting.future, Unknown(Phase.SENT, "link lost"))
        self._waiting.clear()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ConnectionError("link lost"))
        if not self.closed.done():
            self.closed.set_result(None)

    # --- routing ----------------------------------------------------------------------------------------------------

    def _route(self, message: bytes, replies: list[Reply]) -> None:
        try:
            header, mti, fields = decode(message)
        except MalformedMessage as error:
            self._unreadable(message, error)
            return
        if header.reject_code != _ACCEPTED_IN_HEADER:
            self._rejected(header, fields)
        elif mti in _NETWORK_REQUESTS:
            self._events.network_request(self, header, mti, fields)
        elif mti in _NETWORK_REPLIES:
            self._asked_reply(fields)
        elif mti in _FINANCIAL_REPLIES:
            self._match(mti, fields, replies)
        else:
            metrics.REFUSED.labels("unknown_mti").inc()

    def _unreadable(self, message: bytes, error: MalformedMessage) -> None:
        sent_back = error.field is not None and message[_REJECT_CODE] != _ACCEPTED_IN_HEADER.encode()
        cause = "header" if error.field is None else "mti" if error.field == 0 else "field"
        metrics.REFUSED.labels("rejected" if sent_back else f"malformed_{cause}").inc()
        log.warning("unionpay_malformed", field=error.field, reason=error.reason, sent_back=sent_back)

    def _asked_reply(self, fields: Fields) -> None:
        asked = self._asked.get((str(fields.get(11)), str(fields.get(70))))
        if asked is None or asked.done():
            metrics.REFUSED.labels("unasked").inc()
        else:
            asked.set_result(fields)

    def _match(self, mti: str, fields: Fields, replies: list[Reply]) -> None:
        """A reply that is not in every name its message's leaves that message waiting."""
        name = (str(fields.get(11)), str(fields.get(37)))
        waiting = self._waiting.get(name)
        if waiting is None:
            metrics.REFUSED.labels("duplicate" if name in self._answered else "unmatched").inc()
        elif waiting.expected.mti != mti:
            metrics.REFUSED.labels("wrong_mti").inc()
        elif waiting.expected.transmission != fields.get(7) or fields.get(32) != self._settings.acquirer:
            metrics.REFUSED.labels("foreign").inc()
        else:
            del self._waiting[name]
            self._remember(name)
            if waiting.future.done():
                metrics.REPLIES.labels("late").inc()
            else:
                replies.append(Reply(waiting, mti, fields))

    def _remember(self, name: tuple[str, str]) -> None:
        self._answered[name] = None
        if len(self._answered) > self._settings.pending_limit:
            del self._answered[next(iter(self._answered))]

    def _rejected(self, header: Header, fields: Fields) -> None:
        """The network sends a message back that it could not read, its reason in the header."""
        metrics.REFUSED.labels("rejected").inc()
        log.warning("unionpay_rejected", reject_code=header.reject_code)
        waiting = self._waiting.pop((str(fields.get(11)), str(fields.get(37))), None)
        if waiting is not None:
            resolve(waiting.future, Unknown(Phase.SENT, f"rejected in the header: {header.reject_code}"))


def resolve(future: "asyncio.Future[ChannelResult]", result: ChannelResult) -> None:
    """The caller may have resolved it already, at its deadline."""
    if not future.done():
        future.set_result(result)
