"""Disputes: a payer's bank asks about a payment, or takes its money back. What may follow what, and what it books."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from switch.domain import ledger
from switch.domain.ledger import Leg, PostingKind, channel_account
from switch.domain.money import Money


class DisputeKind(IntEnum):
    """The numbers are stored: they are never reused."""

    RETRIEVAL = 1  # the bank asks for documents; no money moves
    CHARGEBACK = 2


class DisputeState(IntEnum):
    """Whose turn it is. The numbers are stored: they are never reused."""

    OPEN = 1  # the merchant's: answer the first chargeback or retrieval request
    REPRESENTED = 2  # the issuer's: the merchant has contested it
    SECOND = 3  # the merchant's: the issuer insists (pre-arbitration, second chargeback)
    ARBITRATION = 4  # the scheme's: the merchant insists, too
    WON = 5  # the merchant keeps the money; withdrawn ones are among them
    LOST = 6  # the payer keeps it; accepted ones are among them
    ANSWERED = 7  # a retrieval request, with documents
    UNANSWERED = 8  # a retrieval request whose deadline passed


TRANSITIONS: dict[tuple[DisputeKind, DisputeState], frozenset[DisputeState]] = {
    (DisputeKind.RETRIEVAL, DisputeState.OPEN): frozenset({DisputeState.ANSWERED, DisputeState.UNANSWERED}),
    (DisputeKind.CHARGEBACK, DisputeState.OPEN): frozenset(
        {DisputeState.REPRESENTED, DisputeState.LOST, DisputeState.WON}
    ),
    (DisputeKind.CHARGEBACK, DisputeState.REPRESENTED): frozenset(
        {DisputeState.SECOND, DisputeState.LOST, DisputeState.WON}
    ),
    (DisputeKind.CHARGEBACK, DisputeState.SECOND): frozenset(
        {DisputeState.ARBITRATION, DisputeState.LOST, DisputeState.WON}
    ),
    (DisputeKind.CHARGEBACK, DisputeState.ARBITRATION): frozenset({DisputeState.LOST, DisputeState.WON}),
}
"""What is not named here has ended."""

EXPIRES_AS: dict[tuple[DisputeKind, DisputeState], DisputeState] = {
    (DisputeKind.RETRIEVAL, DisputeState.OPEN): DisputeState.UNANSWERED,
    (DisputeKind.CHARGEBACK, DisputeState.OPEN): DisputeState.LOST,
    (DisputeKind.CHARGEBACK, DisputeState.REPRESENTED): DisputeState.WON,
    (DisputeKind.CHARGEBACK, DisputeState.SECOND): DisputeState.LOST,
}
"""Whoever says nothing within his time has agreed. Arbitration has no deadline of ours."""

MERCHANTS_TURN = frozenset({DisputeState.OPEN, DisputeState.SECOND})
RUNNING = frozenset({DisputeState.OPEN, DisputeState.REPRESENTED, DisputeState.SECOND, DisputeState.ARBITRATION})


class ReasonCategory(IntEnum):
    """The numbers are stored: they are never reused."""

    FRAUD = 1
    AUTHORIZATION = 2  # none, or declined
    PROCESSING = 3  # a duplicate, a wrong amount, too late
    NOT_RECEIVED = 4
    NOT_AS_DESCRIBED = 5
    CREDIT_NOT_PROCESSED = 6
    CANCELLED = 7  # a subscription, for instance
    OTHER = 8


def may_become(kind: DisputeKind, current: DisputeState, following: DisputeState) -> bool:
    return following in TRANSITIONS.get((kind, current), frozenset())


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file of the merchant's. sha256: of its content. id: computed from the dispute and the content."""

    id: UUID
    name: str
    content_type: str
    size_bytes: int
    sha256: bytes
    who: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """case: the scheme's or issuer's own number, once per channel. reason_code: the scheme's text. due_time_ms: of
    whose turn it is, 0: no deadline. statement: the merchant's last words. version: grows with every change.
    """

    merchant_id: str
    id: UUID
    authorization_id: UUID
    channel: str
    kind: DisputeKind
    state: DisputeState
    case: str
    money: Money
    reason_code: str
    category: ReasonCategory
    text: str
    statement: str
    outcome: str
    opened_by: str
    opened_time_ms: int
    due_time_ms: int
    ended_time_ms: int
    version: int


@dataclass(frozen=True, slots=True)
class Payment:
    """What a dispute needs to know of the payment, read under its row lock. held_minor: by other disputes."""

    channel: str
    currency: str
    captured_minor: int
    refunded_minor: int
    held_minor: int
    undone: bool

    @property
    def open_minor(self) -> int:
        return 0 if self.undone else self.captured_minor - self.refunded_minor - self.held_minor


def opening_legs(dispute: Dispute) -> tuple[Leg, ...]:
    """What the merchant is owed less, and is held until it ends."""
    amount = dispute.money.amount_minor
    return Leg(ledger.MERCHANT, amount), Leg(ledger.DISPUTED, -amount)


def closing_entry(dispute: Dispute) -> tuple[PostingKind, tuple[Leg, ...]] | None:
    """Of a chargeback that has ended: back to the merchant, or off what the channel owes us."""
    if dispute.kind is not DisputeKind.CHARGEBACK:
        return None
    amount = dispute.money.amount_minor
    if dispute.state is DisputeState.WON:
        return PostingKind.DISPUTE_WON, (Leg(ledger.DISPUTED, amount), Leg(ledger.MERCHANT, -amount))
    if dispute.state is DisputeState.LOST:
        return PostingKind.DISPUTE_LOST, (Leg(ledger.DISPUTED, amount), Leg(channel_account(dispute.channel), -amount))
    return None


def fee_legs(fee_minor: int) -> tuple[Leg, ...]:
    return Leg(ledger.MERCHANT, fee_minor), Leg(ledger.FEES, -fee_minor)
