"""A channel's daily bill: what it says it did for us on one business day, in the house's own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from switch.domain.money import Money


class BillKind(StrEnum):
    """Which way the money of a line went: PAYMENT towards the merchant, REFUND and REVERSAL back to the payer."""

    PAYMENT = "payment"
    REFUND = "refund"
    REVERSAL = "reversal"


@dataclass(frozen=True, slots=True)
class BillLine:
    """One movement. No card data.

    reference: our own name for it, as the channel was told it (out_trade_no, out_refund_no, message id; UnionPay: DE7
    and DE11 joined by `-`). original_reference: of a refund or reversal, the name of its payment, or "" where the bill
    does not say. money: always positive; `kind` says which way. fee_minor: what the channel keeps, in the same
    currency; negative where it gives a fee back. time_ms: Unix time of the channel's own booking.
    """

    kind: BillKind
    reference: str
    money: Money
    time_ms: int
    original_reference: str = ""
    channel_reference: str = ""
    fee_minor: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """day: the business day, Asia/Shanghai. lines: in the channel's order; its own totals have been checked."""

    channel: str
    day: date
    lines: Sequence[BillLine]
