"""From the journal's events to the ledger's postings. Pure: the facts are given.

A payment's fee is that of the contract on the business day of the payment; each capture is a payment of its own.

What of the fee goes back with a refund, where the contract in force on the day on which the payment was begun says so:
of the fee F taken for A captured, after R in all has been refunded, F·R/A shall have been returned, half a minor unit
and more rounded up; each refund returns what is missing to that. So a payment refunded whole, in whichever parts, has
returned F to the minor unit, and never more. An undone payment returns what of F has not been returned yet.

A payment that no contract told a fee for is entered without one and priced later (`switch.domain.pricing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol
from uuid import UUID

from switch.domain.business_day import day_at, month_before
from switch.domain.contract import Contract, fee_minor, rate_for
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.ledger import FEES, MERCHANT, Leg, Posting, PostingKind, channel_account
from switch.domain.money import Money
from switch.domain.states import Operation

_LOW_62: Final = (1 << 62) - 1
_VARIANT: Final = 0b10 << 62
_HIGH_64: Final = ~((1 << 64) - 1)

_KINDS: Final = {
    EventKind.APPROVED: PostingKind.PAYMENT,
    EventKind.CAPTURED: PostingKind.PAYMENT,
    EventKind.REFUNDED: PostingKind.REFUND,
    EventKind.UNDONE: PostingKind.UNDOING,
}


@dataclass(slots=True)
class PaymentBooks:
    """What has been entered of one payment so far, minor units, all positive. undone: refunded_minor has all of it."""

    captured_minor: int = 0
    fee_minor: int = 0
    refunded_minor: int = 0
    returned_minor: int = 0
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Entered:
    """An event's posting. unpriced: it is a payment that no contract told a fee for."""

    posting: Posting
    unpriced: bool = False


def enters(event: JournalEvent) -> bool:
    """Whether it is the ledger's at all. A pre-authorization that holds moves nothing."""
    if event.kind is EventKind.APPROVED:
        return event.operation is not Operation.PRE_AUTHORIZATION and event.money.amount_minor > 0
    return event.kind in _KINDS


def is_payment(event: JournalEvent) -> bool:
    return event.kind in (EventKind.APPROVED, EventKind.CAPTURED)


def contract_day(event: JournalEvent) -> str:
    """On which day the contract that decides must have been in force."""
    return day_at(event.time_ms if is_payment(event) else event.created_time_ms)


def posting_id(authorization_id: UUID, kind: EventKind, follow_on_id: UUID) -> UUID:
    """The first 64 bits are the payment's: its postings stand side by side, and `postings_of` finds them.

    >>> posting_id(UUID(int=1 << 64), EventKind.APPROVED, UUID(int=0)).int >> 64
    1
    """
    return id_beside(authorization_id, authorization_id.bytes + follow_on_id.bytes + bytes((kind,)))


def id_beside(authorization_id: UUID, name: bytes) -> UUID:
    """Of a posting of the payment: the payment's first 64 bits, and a hash of name."""
    digest = blake2b(name, digest_size=8).digest()
    return UUID(int=authorization_id.int & _HIGH_64 | _VARIANT | int.from_bytes(digest, "big") & _LOW_62)


def postings_of(authorization_id: UUID) -> tuple[UUID, UUID]:
    """The lowest and the highest id that a posting of the payment can have. Others may lie between them."""
    low = authorization_id.int & _HIGH_64
    return UUID(int=low), UUID(int=low | (1 << 64) - 1)


class Priced(Protocol):
    """What a fee is told of: a payment's event, or what is kept of one that waits for its price."""

    @property
    def merchant_id(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def money(self) -> Money: ...
    @property
    def time_ms(self) -> int: ...


def volume_key(payment: Priced) -> tuple[str, str, str]:
    """Which month's volume decides its tier: (merchant_id, currency, YYYY-MM)."""
    return payment.merchant_id, payment.money.currency, month_before(day_at(payment.time_ms))


def fee_of(
    contract: Contract | None, payment: Priced, card_type: str, volumes: Mapping[tuple[str, str, str], int]
) -> int | None:
    """The fee of a payment in minor units; None where no line of the contract tells it.

    card_type: "" where nobody knows it. volumes: by `volume_key`. A contract is for its own currency.
    """
    if contract is None or contract.currency != payment.money.currency:
        return None
    volume_minor = volumes.get(volume_key(payment), 0) if has_tiers(contract) else 0
    rate = rate_for(contract, payment.channel, card_type, volume_minor)
    return None if rate is None else fee_minor(rate, payment.money.amount_minor)


def has_tiers(contract: Contract) -> bool:
    return any(each.from_minor for each in contract.rates)


def returned_fee(books: PaymentBooks, refund_minor: int) -> int:
    """What of the fee goes back with a refund of so much more.

    >>> returned_fee(PaymentBooks(300, 5), 100), returned_fee(PaymentBooks(300, 5, 100, 2), 200)
    (2, 3)
    """
    if not books.captured_minor:
        return 0
    refunded = min(books.refunded_minor + refund_minor, books.captured_minor)
    whole = (2 * books.fee_minor * refunded + books.captured_minor) // (2 * books.captured_minor)
    return max(whole - books.returned_minor, 0)


def enter(
    event: JournalEvent,
    contract: Contract | None,
    books: PaymentBooks | None,
    card_type: str,
    volumes: Mapping[tuple[str, str, str], int],
) -> Entered | None:
    """None where nothing moves: an undone payment of which nothing was left.

    books: of the payment so far; needed for refunds and undoings, and brought up to date in any case.
    """
    amount = event.money.amount_minor
    if is_payment(event):
        fee = fee_of(contract, event, card_type, volumes)
        if books is not None:
            books.captured_minor += amount
            books.fee_minor += fee or 0
        return _entered(event, amount, fee or 0, unpriced=fee is None)
    if books is None:
        raise ValueError("a refund needs what was entered of its payment")
    if event.kind is EventKind.UNDONE:
        fee, books.undone = books.fee_minor - books.returned_minor, True
    else:
        fee = returned_fee(books, amount) if contract is not None and contract.refunds_return_fee else 0
    books.refunded_minor += amount
    books.returned_minor += fee
    return _entered(event, -amount, -fee)


def _entered(event: JournalEvent, gross: int, fee: int, unpriced: bool = False) -> Entered | None:
    """gross, fee: towards the merchant and from it, negative for what goes back."""
    amounts = ((_channel(event.channel), gross), (MERCHANT, fee - gross), (FEES, -fee))
    legs = tuple(Leg(account, amount) for account, amount in amounts if amount)
    if not legs:
        return None
    kind = _KINDS[event.kind]
    of_follow_on = event.follow_on_id.int != 0
    posting = Posting(
        event.merchant_id,
        posting_id(event.authorization_id, event.kind, event.follow_on_id),
        kind,
        day_at(event.time_ms),
        event.money.currency,
        legs,
        f"{event.kind.name.lower()}/{event.follow_on_id if of_follow_on else event.authorization_id}",
        event.time_ms,
        event.authorization_id,
    )
    return Entered(posting, unpriced)


_channel = lru_cache(maxsize=1024)(channel_account)
