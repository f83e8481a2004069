"""The simulated issuer's accounts, and the lines of its book."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adapters.issuer.messages import Outcome, OutcomeState
from switch.domain.money import Money
from switch.domain.sensitive import Pan, luhn_valid
from switch.domain.states import Operation

PIN_TRIES = 3


@dataclass(slots=True)
class Account:
    """One card. balance_minor: what is on the account, holds included; held_minor: what of it is held.

    service_code: ISO/IEC 7813, as on the track. counters: the chip's transaction counters that have been used.
    """

    pan: Pan
    expiry_yymm: str
    pin: str = field(repr=False)
    balance_minor: int
    currency: str = "CNY"
    held_minor: int = 0
    pin_tries_left: int = PIN_TRIES
    service_code: str = "201"
    counters: set[int] = field(default_factory=set, repr=False)

    @property
    def available_minor(self) -> int:
        return self.balance_minor - self.held_minor


def default_accounts() -> list[Account]:
    """Twenty cards with PIN 1234: the second has 50.00 yuan, the third expired in December 2020.

    The others have ten million yuan and expire in December 2049.

    >>> accounts = default_accounts()
    >>> accounts[0].pan.reveal(), luhn_valid(accounts[0].pan.reveal()), accounts[1].balance_minor
    ('6259000000000005', True, 5000)
    """
    accounts = [Account(Pan(_with_check_digit(f"6259{n:011d}")), "4912", "1234", 1_000_000_000) for n in range(20)]
    accounts[1].balance_minor = 5_000
    accounts[2].expiry_yymm = "2012"
    return accounts


def _with_check_digit(digits: str) -> str:
    return next(digits + str(digit) for digit in range(10) if luhn_valid(digits + str(digit)))


class EntryState(StrEnum):
    APPROVED = "approved"
    HELD = "held"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    REVERSED = "reversed"
    TOMBSTONE = "tombstone"  # reversed before it came
    ANSWERED = "answered"  # an inquiry: nothing was done


_UNDONE = frozenset({EntryState.VOIDED, EntryState.REVERSED})


@dataclass(slots=True)
class Entry:
    """One line of the book.

    amount_minor: what was asked; approved_minor: of a sale or pre-authorization, what of it was approved, increments
    included. Captures and refunds are added up on their original's line. stood_in: it came as an advice.
    """

    message_id: str
    operation: Operation
    authorization_id: str
    masked_pan: str
    amount_minor: int
    currency: str
    state: EntryState
    response_code: str = ""
    approval_code: str = ""
    stood_in: bool = False
    approved_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    times_seen: int = 1
    account: Account | None = field(default=None, repr=False)

    def line(self) -> dict[str, Any]:
        return {
            "message_id": self.message_id,
            "operation": self.operation.name.lower(),
            "authorization_id": self.authorization_id,
            "masked_pan": self.masked_pan,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "state": self.state.value,
            "response_code": self.response_code,
            "stood_in": self.stood_in,
            "approved_minor": self.approved_minor,
            "captured_minor": self.captured_minor,
            "refunded_minor": self.refunded_minor,
            "times_seen": self.times_seen,
        }

    def outcome(self) -> Outcome:
        """What became of a sale or pre-authorization."""
        if self.state in _UNDONE:
            return Outcome(OutcomeState.UNDONE, self.response_code)
        if self.state is EntryState.DECLINED:
            return Outcome(OutcomeState.DECLINED, self.response_code)
        part = Money(self.approved_minor, self.currency) if self.response_code == "10" else None
        return Outcome(OutcomeState.APPROVED, self.response_code, self.approval_code, part)
