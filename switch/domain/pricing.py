"""The fee of a payment that was entered before any contract told one. Pure: the facts are given.

Nothing that was entered is changed: the fee is a posting of its own, of the day on which it is found. Of what had been
refunded by then the fee is given back as if it had been there (`switch.domain.entering`), by another posting; what was
undone costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from switch.domain.business_day import day_at
from switch.domain.contract import Contract
from switch.domain.entering import PaymentBooks, fee_of, id_beside, returned_fee
from switch.domain.ledger import FEES, MERCHANT, Leg, Posting, PostingKind
from switch.domain.money import Money


@dataclass(frozen=True, slots=True)
class UnpricedPayment:
    """One that was entered without a fee. posting_id: of its PAYMENT; source: that one's. begun_day: the payment's,
    whose contract decides of refunds. time_ms: of the payment, whose day's contract decides of the fee."""

    merchant_id: str
    posting_id: UUID
    authorization_id: UUID
    channel: str
    card_prefix: str
    money: Money
    time_ms: int
    begun_day: str
    source: str

    @property
    def day(self) -> str:
        return day_at(self.time_ms)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A merchant's payments of one day that were entered without a fee, for want of a contract."""

    merchant_id: str
    day: str
    currency: str
    payments: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LateFees:
    """What was priced of them. fee_minor: less what went back of refunds. contract_version: of the fees."""

    merchant_id: str
    day: str
    currency: str
    payments: int
    fee_minor: int
    contract_version: int


def late_fee(
    payment: UnpricedPayment,
    contracts: Mapping[str, Contract | None],
    books: PaymentBooks,
    card_type: str,
    volumes: Mapping[tuple[str, str, str], int],
    now_ms: int,
) -> list[Posting] | None:
    """None where it stays without a price. contracts: by day, of the payment's day and of the day on which it was
    begun. books: of the payment, brought up to date."""
    fee = fee_of(contracts[payment.day], payment, card_type, volumes)
    begun_under = contracts[payment.begun_day]
    if fee is None:
        return None
    if books.undone:
        return []
    books.fee_minor += fee
    back = returned_fee(books, 0) if begun_under is not None and begun_under.refunds_return_fee else 0
    books.returned_minor += back
    named = (("priced", fee), ("returned", -back))
    return [_posting(payment, name, amount, now_ms) for name, amount in named if amount]


def _posting(payment: UnpricedPayment, name: str, fee_minor: int, now_ms: int) -> Posting:
    """fee_minor: negative for what goes back."""
    legs = (Leg(MERCHANT, fee_minor), Leg(FEES, -fee_minor))
    identity = id_beside(payment.authorization_id, payment.posting_id.bytes + name.encode())
    source = f"{name}/{payment.source.partition('/')[2]}"
    return Posting(
        payment.merchant_id, identity, PostingKind.PRICING, day_at(now_ms), payment.money.currency, legs, source,
        now_ms, payment.authorization_id,
    )  # fmt: skip
