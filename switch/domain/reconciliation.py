"""Breaks between a channel's bills and our records: what they are, what may become of them, what they cost."""

from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum
from uuid import UUID

from switch.domain import ledger
from switch.domain.bill import BillKind
from switch.domain.ledger import Leg, channel_account
from switch.domain.money import Money


class BreakClass(IntEnum):
    """What does not agree. The numbers are stored: they are never reused."""

    OURS_ONLY = 1  # we know it as done, and the bill has nothing
    THEIRS_ONLY = 2  # the bill has it, and we know nothing
    REFUSED_HERE = 3  # the bill has it, and our record says declined
    UNDOING_MISSING = 4  # we undid a payment, and the bill has the payment and nothing that undid it
    AMOUNT = 5
    CURRENCY = 6
    KIND = 7  # a payment here and a refund there
    FEE = 8  # on the wrong side
    DUPLICATE = 9  # a second line of the same name in one bill
    OPEN_HERE = 10  # the bill has it, and our record has not ended
    NEIGHBOUR = 11  # near midnight: the neighbouring day's bill should have it and is not compared yet


class BreakState(IntEnum):
    """The numbers are stored: they are never reused."""

    OPEN = 1
    ASSIGNED = 2
    PROPOSED = 3  # a write-off waits for its second person
    RESOLVED = 4
    WRITTEN_OFF = 5


TRANSITIONS: dict[BreakState, frozenset[BreakState]] = {
    # RESOLVED from OPEN: by a later comparison, which found it explained. A person takes it on first.
    BreakState.OPEN: frozenset({BreakState.ASSIGNED, BreakState.RESOLVED}),
    BreakState.ASSIGNED: frozenset({BreakState.ASSIGNED, BreakState.PROPOSED, BreakState.RESOLVED}),
    BreakState.PROPOSED: frozenset({BreakState.ASSIGNED, BreakState.RESOLVED, BreakState.WRITTEN_OFF}),
    # Only what a comparison had closed, when a later one finds it again.
    BreakState.RESOLVED: frozenset({BreakState.OPEN}),
    BreakState.WRITTEN_OFF: frozenset(),
}
ACTIVE = frozenset({BreakState.OPEN, BreakState.ASSIGNED, BreakState.PROPOSED})

IN_SUSPENSE = frozenset({BreakClass.THEIRS_ONLY, BreakClass.REFUSED_HERE, BreakClass.DUPLICATE})
"""Money that the channel reports and our books lack: it stands in the suspense account while the break is active."""


def may_become(current: BreakState, following: BreakState) -> bool:
    return following in TRANSITIONS[current]


@dataclass(frozen=True, slots=True)
class Found:
    """A break as one comparison sees it.

    id: computed, the same whenever this is found again. kind, reference: as in `BillLine`; names: further names.
    ours, theirs: what each side says, None where it says nothing. neighbour: the day whose bill may have it.
    difference_minor: what the channel's bill says more than our books, towards us positive; 0 where no one number says
    it. currency: of the difference.
    """

    id: UUID
    break_class: BreakClass
    kind: BillKind
    reference: str
    names: tuple[str, ...]
    detail: str
    record: str
    merchant_id: str
    authorization_id: UUID | None
    ours: Money | None
    theirs: Money | None
    time_ms: int
    difference_minor: int
    currency: str
    channel_reference: str = ""
    neighbour: date | None = None


@dataclass(frozen=True, slots=True)
class Note:
    who: str
    text: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Break:
    """A break as it is kept. Times: Unix milliseconds, 0: not yet.

    assignee, proposed_by, closed_by: `Caller.person`; closed_by "": a comparison closed it. reason: of what was done
    last. suspense_minor: what stands in the suspense account for it now.
    """

    channel: str
    day: date
    state: BreakState
    found: Found
    suspense_minor: int
    assignee: str
    proposed_by: str
    reason: str
    opened_time_ms: int
    closed_time_ms: int
    closed_by: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """What a bill comes to in one currency. settlement_minor: what the channel pays: payments less what went back and
    less its fees."""

    payments_minor: int = 0
    returned_minor: int = 0
    fees_minor: int = 0

    @property
    def settlement_minor(self) -> int:
        return self.payments_minor - self.returned_minor - self.fees_minor


@dataclass(frozen=True, slots=True)
class Run:
    """Where the reconciliation of one channel's day stands.

    bill_version: 0 while there is none; grows with every other bill of the same day. compared_time_ms: 0 while none
    has ended. counts: of verdicts and break classes, by name. sides: by currency. trouble: why the last try came to
    nothing, else "".
    """

    channel: str
    day: date
    bill_version: int
    bill_digest: bytes
    lines: int
    compared_time_ms: int
    runs: int
    counts: dict[str, int] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)
    active_breaks: int = 0
    trouble: str = ""
    next_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class AgeBucket:
    """Active breaks of so many whole days since they were found. to_days None: and more."""

    from_days: int
    to_days: int | None
    count: int = 0


AGE_LIMITS_DAYS = (0, 1, 3, 7, 14, 30)
"""A bucket begins at each of them."""

_AWAY = {BillKind.PAYMENT: 1, BillKind.REFUND: -1, BillKind.REVERSAL: -1}


def signed_minor(kind: BillKind, money: Money | None) -> int:
    """Towards us positive; nothing is 0.

    >>> signed_minor(BillKind.REFUND, Money(5, "CNY")), signed_minor(BillKind.PAYMENT, None)
    (-5, 0)
    """
    return _AWAY[kind] * money.amount_minor if money is not None else 0


def suspense_target_minor(state: BreakState, break_class: BreakClass, difference_minor: int) -> int:
    """What should stand in suspense for a break: all of what we lack while it is active, and nothing afterwards."""
    return difference_minor if state in ACTIVE and break_class in IN_SUSPENSE else 0


def suspense_legs(channel: str, delta_minor: int) -> tuple[Leg, ...]:
    """The channel owes us so much more, and nobody knows for whom."""
    return Leg(channel_account(channel), delta_minor), Leg(ledger.SUSPENSE, -delta_minor)


def write_off_legs(channel: str, difference_minor: int, suspense_minor: int) -> tuple[Leg, ...]:
    """The difference becomes our loss, or our gain: out of suspense where it stood there, else off what the channel
    owes.

    >>> write_off_legs("pay", -100, 0)
    (Leg(account='channel:pay', amount_minor=-100), Leg(account='losses', amount_minor=100))
    >>> write_off_legs("pay", 100, 100)
    (Leg(account='suspense', amount_minor=100), Leg(account='losses', amount_minor=-100))
    """
    account = ledger.SUSPENSE if suspense_minor else channel_account(channel)
    amount_minor = suspense_minor or difference_minor
    return Leg(account, amount_minor), Leg(ledger.LOSSES, -amount_minor)
