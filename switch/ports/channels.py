"""Ways to an issuer, and what they say of themselves: results, notifications, bills."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

from switch.domain.authorization import Authorization, Credential, Merchant
from switch.domain.bill import Bill
from switch.domain.money import Money
from switch.domain.states import Operation


class Phase(IntEnum):
    """How far a failed message got: only NOT_SENT may be tried elsewhere."""

    NOT_SENT = 1
    SENT = 2


@dataclass(slots=True)
class Approved:
    """approved_minor: less than asked for a partial approval (code 10); None: all of it."""

    response_code: str = "00"
    approval_code: str = ""
    retrieval_reference: str = ""
    channel_reference: str = ""
    emv_response: bytes = b""
    approved_minor: int | None = None


@dataclass(slots=True)
class Declined:
    """The channel said no. response_code is DE39; reason is the channel's own code or text, free of card data."""

    response_code: str
    reason: str = ""
    channel_reference: str = ""
    emv_response: bytes = b""


@dataclass(slots=True)
class Unknown:
    """Nothing is known but how far the message got. Silence, a bad MAC or signature, HTTP 5xx, a lost link."""

    phase: Phase
    reason: str


@dataclass(slots=True)
class AwaitingPayer:
    """The payer is typing a password, or has yet to scan; the outcome is learnt by inquiry or notification.

    code: of an ORDER, what the payer's wallet scans.
    """

    channel_reference: str = ""
    code: str = ""


ChannelResult = Approved | Declined | Unknown | AwaitingPayer


@dataclass(slots=True)
class ChannelRequest:
    """One message to a channel.

    operation: what to do. authorization: the record of the authorization (for a follow-on: of its original, whose
    `trace` names the original message). credential: in the clear, in memory only; for follow-ons the PAN or code
    alone; None where it was not kept. pin_block: under the channel's own PIN key, or b"".
    money: the amount of this message. deadline_s: `loop.time()` after which the answer is of no use to the caller.
    trace: written by `Channel.prepare`, durable before `Channel.send`; given again for a repeat, where repeat ≥ 1.
    """

    operation: Operation
    authorization: Authorization
    money: Money
    credential: Credential | None
    merchant: Merchant
    deadline_s: float
    pin_block: bytes = field(default=b"", repr=False)
    trace: dict[str, str] = field(default_factory=dict)
    repeat: int = 0


@dataclass(slots=True)
class ChannelHealth:
    """ready: would a message be sent now. detail: one line for an operator."""

    ready: bool
    detail: str


class Channel(Protocol):
    """A way to an issuer. Never raises for what a peer did: that is a `ChannelResult`.

    pin_key: HSM label of the key under which the channel wants PIN blocks, "" if it takes none.
    reversal_after_s: a reversal sent sooner would be refused by the protocol.
    """

    name: str
    operations: frozenset[Operation]
    pin_key: str
    pin_format: int
    reversal_after_s: float

    def prepare(self, requests: Sequence[ChannelRequest]) -> None:
        """Fill each request's `trace` (STAN, out_trade_no …). No I/O: it runs before the intent is durable."""

    def send(self, requests: Sequence[ChannelRequest]) -> "list[asyncio.Future[ChannelResult]]":
        """Send all in as few writes as the protocol allows; one future per request, in order.

        The caller may resolve a future itself (its deadline passed); a result that arrives for a done future is a
        late reply: the channel counts it and leaves it.
        """

    def health(self) -> ChannelHealth: ...

    async def start(self) -> None:
        """Begin connecting; returns at once and reconnects with backoff for ever. A dead peer is no error here."""

    async def close(self) -> None: ...


class NotificationRefused(Exception):
    """A notification that is not believed. `cause` is one word for the metrics: forged, expired, malformed, foreign."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Notice:
    """What a channel said by itself, verified: something became of that payment, or of that refund of it.

    It is a reason to ask, never an outcome by itself: whoever is told it inquires, so that a replayed or reordered
    notification can do nothing. reference, refund_reference: our names, as in `BillLine.reference`.
    event: the channel's own name of the event, the same in a repeat. said: the state it names, for the log.
    """

    channel: str
    reference: str
    refund_reference: str = ""
    event: str = ""
    said: str = ""


@runtime_checkable
class NotifyingChannel(Protocol):
    """A channel whose peer posts notifications over HTTP. Pure: no I/O, and safe to call with anything."""

    name: str

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Verify and read one. headers: as received, names in any case. Raises NotificationRefused."""

    def notification_answer(self, accepted: bool) -> tuple[int, str, bytes]:
        """(HTTP status, content type, body) that ends the peer's retries, or makes it come again."""


class Hastened(StrEnum):
    """What a verified notification came to. The values are labels of a metric."""

    REPEATED = "repeated"  # an event that made it due before
    DUE = "hastened"  # the open inquiry of the payment, or what is open of the refund, is due now
    IN_FLIGHT = "in_flight"  # our own message has no recorded answer yet: the peer should come again
    BEING_REVERSED = "being_reversed"
    FINAL = "final"
    UNKNOWN = "unknown"  # no such payment, or no such refund of it
    MISDIRECTED = "misdirected"  # the payment is another channel's, or not the one that the notification names


class BillNotReady(Exception):
    """The channel makes that day's bill later: ask again."""


class BillRefused(Exception):
    """A bill that is not believed. `cause` is one word for the metrics: hash, totals, malformed, foreign, forged."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause


@runtime_checkable
class BilledChannel(Protocol):
    """A channel whose daily bill can be fetched."""

    name: str

    async def bill(self, day: date) -> Bill:
        """Fetched, verified and read. Raises BillNotReady, BillRefused, or ConnectionError where none can be had."""
