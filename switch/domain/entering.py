"""From the journal's events to the ledger's postings. Pure: the facts are given.

A payment's fee is that of the contract on the business day of the payment; each capture is a payment of its own.

What of the fee goes back with a refund, where the contract in force on the day on which the payment was begun says so:
of the fee F taken for A captured, after R in all has been refunded, F·R/A shall have been returned, half a minor unit
and more rounded up; each refund returns what is missing to that. So a payment refunded whole, in whichever parts, has
returned F to the minor unit, and never more. An undone payment returns what of F has not been returned yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from uuid import UUID

from switch.domain.business_day import day_at, month_before
from switch.domain.contract import Contract, fee_minor, rate_for
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.ledger import FEES, MERCHANT, Leg, Posting, PostingKind, channel_account
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
    """What has been entered of one payment so far, minor units, all positive."""

    captured_minor: int = 0
    fee_minor: int = 0
    refunded_minor: int = 0
    returned_minor: int = 0


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
    digest = blake2b(authorization_id.bytes + follow_on_id.bytes + bytes((kind,)), digest_size=8).digest()
    return UUID(int=authorization_id.int & _HIGH_64 | _VARIANT | int.from_bytes(digest, "big") & _LOW_62)


def postings_of(authorization_id: UUID) -> tuple[UUID, UUID]:
    """The lowest and the highest id that a posting of the payment can have. Others may lie between them."""
    low = authorization_id.int & _HIGH_64
    return UUID(int=low), UUID(int=low | (1 << 64) - 1)


def fee_of(contract: Contract | None, event: JournalEvent, volumes: Mapping[tuple[str, str, str], int]) -> int | None:
    """The fee of a payment in minor units; None where no line of the contract tells it.

    volumes: by (merchant_id, currency, month YYYY-MM). A contract is for its own currency.
    """
    if contract is None or contract.currency != event.money.currency:
        return None
    volume_minor = 0
    if any(each.from_minor for each in contract.rates):
        before = month_before(day_at(event.time_ms))
        volume_minor = volumes.get((event.merchant_id, contract.currency, before), 0)
    rate = rate_for(contract, event.channel, "", volume_minor)
    return None if rate is None else fee_minor(rate, event.money.amount_minor)


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
    volumes: Mapping[tuple[str, str, str], int],
) -> Entered | None:
    """None where nothing moves: an undone payment of which nothing was left.

    books: of the payment so far; needed for refunds and undoings, and brought up to date in any case.
    """
    amount = event.money.amount_minor
    if is_payment(event):
        fee = fee_of(contract, event, volumes)
        if books is not None:
            books.captured_minor += amount
            books.fee_minor += fee or 0
        return _entered(event, amount, fee or 0, unpriced=fee is None)
    if books is None:
        raise ValueError("a refund needs what was entered of its payment")
    if event.kind is EventKind.UNDONE:
        fee = books.fee_minor - books.returned_minor
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
