"""What a merchant is told of its payments, where, and how it went."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final
from uuid import UUID

from switch.domain.dispute import RUNNING, Dispute
from switch.domain.identity import computed_id
from switch.domain.journal_event import EventKind, JournalEvent

EVENT_TYPES: Final[Mapping[EventKind, str]] = {
    EventKind.APPROVED: "payment.approved",
    EventKind.DECLINED: "payment.declined",
    EventKind.UNANSWERED: "payment.unanswered",
    EventKind.CAPTURED: "payment.captured",
    EventKind.REFUNDED: "payment.refunded",
    EventKind.UNDONE: "payment.undone",
    EventKind.INCREMENTED: "payment.incremented",
}
DISPUTE_OPENED: Final = "dispute.opened"
DISPUTE_UPDATED: Final = "dispute.updated"
DISPUTE_CLOSED: Final = "dispute.closed"
PING: Final = "ping"
EVERY_TYPE: Final = "*"
WANTED_TYPES: Final = frozenset({*EVENT_TYPES.values(), DISPUTE_OPENED, DISPUTE_UPDATED, DISPUTE_CLOSED, EVERY_TYPE})
"""What an endpoint may ask for."""


class EndpointState(IntEnum):
    """The numbers are stored: they are never reused."""

    ACTIVE = 1
    PAUSED = 2  # by the merchant
    DISABLED = 3  # by the switch: nothing was taken for a day
    REMOVED = 4


class DeliveryState(IntEnum):
    """The numbers are stored: they are never reused."""

    WAITING = 1
    DELIVERED = 2
    DEAD = 3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """secret, previous_secret: sealed. failures: in a row, since failing_since_ms; 0: the last attempt was taken."""

    merchant_id: str
    id: UUID
    url: str
    description: str
    event_types: tuple[str, ...]
    state: EndpointState
    secret: bytes = field(repr=False)
    previous_secret: bytes = field(default=b"", repr=False)
    previous_until_ms: int = 0
    failures: int = 0
    failing_since_ms: int = 0
    circuit_until_ms: int = 0
    created_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one endpoint. payload: the very text that is signed and sent. attempts: all that were made;
    tries: since it was last begun anew. fence: counts who has had it."""

    merchant_id: str
    id: UUID
    endpoint_id: UUID
    event_type: str
    payload: str
    state: DeliveryState
    attempts: int
    tries: int
    due_time_ms: int
    expires_time_ms: int
    fence: int
    created_time_ms: int
    ended_time_ms: int = 0

    @property
    def webhook_id(self) -> str:
        return f"msg_{self.id}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """status: HTTP's, 0 without an answer. failure: "" if it was taken, else its class. answer: at most 1 KB."""

    number: int
    time_ms: int
    latency_ms: int
    status: int
    failure: str
    answer: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a merchant is told, whichever endpoint takes it. key: names it among the merchant's messages of that time,
    the same however often it is made."""

    merchant_id: str
    event_type: str
    time_ms: int
    key: str
    payload: str


def delivery_id(told: Message, endpoint_id: UUID) -> UUID:
    """The same for the same message and endpoint, however often it is made; begins with the message's time."""
    return computed_id(str(endpoint_id), told.merchant_id, told.time_ms, told.key)


def told_of_payment(event: JournalEvent) -> Message:
    """The type, the time and what the merchant may know; nothing of the card."""
    data: dict[str, object] = {
        "merchant_id": event.merchant_id,
        "authorization_id": str(event.authorization_id),
        "operation": event.operation.words,
        "amount_minor": event.money.amount_minor,
        "currency": event.money.currency,
        "response_code": event.response_code,
        "channel": event.channel,
        "entry": event.entry.name.lower(),
        "terminal_id": event.terminal_id,
        "reference": event.reference,
        "time_ms": event.time_ms,
        "created_time_ms": event.created_time_ms,
    }
    if event.follow_on_id.int:
        data["operation_id"] = str(event.follow_on_id)
    event_type, key = EVENT_TYPES[event.kind], f"{event.authorization_id}/{event.kind.value}/{event.follow_on_id}"
    payload = message(event_type, event.time_ms, data)
    return Message(event.merchant_id, event_type, event.time_ms, key, payload)


def told_of_dispute(dispute: Dispute, time_ms: int) -> Message:
    """What it is now, one message for each version. time_ms: of the change. Without anybody's free text: `GetDispute`
    has that."""
    event_type = DISPUTE_OPENED if dispute.version == 1 else DISPUTE_UPDATED
    if dispute.state not in RUNNING:
        event_type = DISPUTE_CLOSED
    data: dict[str, object] = {
        "merchant_id": dispute.merchant_id,
        "dispute_id": str(dispute.id),
        "authorization_id": str(dispute.authorization_id),
        "channel": dispute.channel,
        "kind": dispute.kind.name.lower(),
        "state": dispute.state.name.lower(),
        "case_number": dispute.case,
        "amount_minor": dispute.money.amount_minor,
        "currency": dispute.money.currency,
        "reason_code": dispute.reason_code,
        "category": dispute.category.name.lower(),
        "version": dispute.version,
        "opened_time_ms": dispute.opened_time_ms,
        "due_time_ms": dispute.due_time_ms,
        "time_ms": time_ms,
    }
    payload = message(event_type, time_ms, data)
    return Message(dispute.merchant_id, event_type, time_ms, f"dispute/{dispute.id}/{dispute.version}", payload)


def message(event_type: str, time_ms: int, data: Mapping[str, object]) -> str:
    """
    >>> message("ping", 0, {})
    '{"type":"ping","timestamp":"1970-01-01T00:00:00.000Z","data":{}}'
    """
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    timestamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"
    whole = {"type": event_type, "timestamp": timestamp, "data": dict(data)}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


# Seconds after a failed try until the next; the last one is repeated until the message expires.
RETRY_AFTER_S: Final = (5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400)


def retry_after_ms(tries: int, jitter: float) -> int:
    """tries: made so far, from 1. jitter: 0 to 1, spreads it over ±20 %.

    >>> retry_after_ms(1, 0.5), retry_after_ms(1, 0.0), retry_after_ms(99, 1.0)
    (5000, 4000, 17280000)
    """
    base_s = RETRY_AFTER_S[min(tries, len(RETRY_AFTER_S)) - 1]
    return int(base_s * 1000 * (0.8 + 0.4 * jitter))
