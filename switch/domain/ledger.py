"""Double entry: every transaction sums to zero, and nothing that was entered is ever changed (invariant 10)."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

# Accounts. Debits are positive. Each merchant has its own set; of the platform's own doings merchant_id is PLATFORM.
PLATFORM = ""
MERCHANT = "merchant"  # liability: what we owe the merchant and may settle
RESERVE = "reserve"  # liability: what is held back from its settlements
DISPUTED = "disputed"  # liability: what is held back while a dispute runs
IN_TRANSIT = "in_transit"  # liability: in a settlement batch that is not paid yet
FEES = "fees"  # income: merchant discount
CHANNEL_FEES = "channel_fees"  # expense: what a channel keeps
BANK = "bank"  # asset
LOSSES = "losses"  # expense
SUSPENSE = "suspense"  # what a channel's bill says and nobody can explain yet


def channel_account(channel: str) -> str:
    """Asset: what a channel owes us for the payments it took.

    >>> channel_account("alipay")
    'channel:alipay'
    """
    return f"channel:{channel}"


class PostingKind(IntEnum):
    """Why a transaction was entered. The numbers are stored: they are never reused."""

    PAYMENT = 1  # a sale, order or capture
    REFUND = 2
    UNDOING = 3  # a void or reversal of what was captured
    SETTLEMENT = 4  # from the merchant's account to in transit and reserve
    RESERVE_RELEASE = 5
    PAYOUT = 6
    PAYOUT_RETURNED = 7
    CHARGEBACK = 8
    DISPUTE_WON = 9
    DISPUTE_LOST = 10
    CHANNEL_FEE = 11
    CORRECTION = 12  # by a person, or by the automatic repair of a break
    CHANNEL_SETTLED = 13  # the channel paid us
    DISPUTE_FEE = 14
    PRICING = 15  # the fee of a payment that was entered without one


@dataclass(frozen=True, slots=True)
class Leg:
    """amount_minor: debit positive, credit negative, never 0."""

    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Posting:
    """One ledger transaction. (merchant_id, id) makes it exactly once: id is computed from what it is of.

    day: business day (ISO date, Asia/Shanghai). source: what it is of, for a person: `<kind>/<id>`.
    authorization_id: of the payment it belongs to, or None.
    """

    merchant_id: str
    id: UUID
    kind: PostingKind
    day: str
    currency: str
    legs: tuple[Leg, ...]
    source: str
    time_ms: int
    authorization_id: UUID | None = None

    def __post_init__(self) -> None:
        if sum(each.amount_minor for each in self.legs) != 0:
            raise ValueError(f"posting {self.kind.name} of {self.source} does not balance")
        if len(self.legs) < 2 or any(each.amount_minor == 0 for each in self.legs):
            raise ValueError(f"posting {self.kind.name} of {self.source} has an empty leg")
