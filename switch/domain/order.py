"""An order: what a payer is asked for. And the payments made for it, of which at most one pays it."""

from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID

from switch.domain.authorization import Merchant
from switch.domain.money import Money
from switch.domain.states import EntryMode

SHORTEST_S = 60
LONGEST_S = 86_400


class OrderState(IntEnum):
    """The numbers are stored: they are never reused."""

    OPEN = 1  # nobody has begun to pay
    PAYING = 2  # somebody has; others may still
    PAID = 3
    EXPIRED = 4
    CLOSED = 5
    PARTLY_REFUNDED = 6
    REFUNDED = 7


ORDER_TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    OrderState.OPEN: frozenset({OrderState.PAYING, OrderState.EXPIRED, OrderState.CLOSED}),
    OrderState.PAYING: frozenset({OrderState.PAID, OrderState.EXPIRED, OrderState.CLOSED}),
    OrderState.PAID: frozenset({OrderState.PARTLY_REFUNDED, OrderState.REFUNDED}),
    OrderState.PARTLY_REFUNDED: frozenset({OrderState.REFUNDED}),
    OrderState.EXPIRED: frozenset(),
    OrderState.CLOSED: frozenset(),
    OrderState.REFUNDED: frozenset(),
}
PAYABLE = frozenset(each for each, following in ORDER_TRANSITIONS.items() if OrderState.CLOSED in following)


class PaymentState(IntEnum):
    """What a payment is to its order. The numbers are stored: they are never reused."""

    BEGUN = 1  # the authorization is on its way; its outcome is not known here
    AWAITING = 2  # the payer has yet to scan or to confirm
    WON = 3  # it paid the order
    FAILED = 4  # no money moved
    UNDOING = 5  # it must be given back: the order is paid, closed or expired, or it was not of the whole amount
    UNDONE = 6  # nothing of it is held any more


PAYMENT_TRANSITIONS: dict[PaymentState, frozenset[PaymentState]] = {
    PaymentState.BEGUN: frozenset({PaymentState.AWAITING, PaymentState.WON, PaymentState.FAILED, PaymentState.UNDOING}),
    PaymentState.AWAITING: frozenset({PaymentState.WON, PaymentState.FAILED, PaymentState.UNDOING}),
    PaymentState.UNDOING: frozenset({PaymentState.UNDONE}),
    PaymentState.WON: frozenset(),
    PaymentState.FAILED: frozenset(),
    PaymentState.UNDONE: frozenset(),
}
UNDER_WAY = frozenset({PaymentState.BEGUN, PaymentState.AWAITING})


@dataclass(slots=True)
class Order:
    """id: UUIDv7-shaped, 74 random bits, so that nobody guesses it. merchant: as it was when the order was made.

    number: the merchant's own, or "". key: the idempotency key; content: a hash of what was asked under it.
    shop_code: the static code that it was made from, or None. paid_by: the authorization that won.
    refunded_minor: of what was paid, as far as the journal's events were read.
    """

    id: UUID
    merchant: Merchant
    acquirer_id: str
    terminal_id: str
    store_id: str
    money: Money
    subject: str
    number: str
    key: str
    content: bytes
    created_by: str
    created_time_ms: int
    expires_time_ms: int
    state: OrderState = OrderState.OPEN
    shop_code: UUID | None = None
    paid_by: UUID | None = None
    paid_scheme: str = ""
    refunded_minor: int = 0
    changed_time_ms: int = 0


@dataclass(slots=True)
class OrderPayment:
    """One try to pay an order; it is the authorization of that id.

    scheme: of a channel's order, "alipay" or "wechat"; "" for a card. payer, payer_key: the user and his idempotency
    key, "" for a channel's order and for whoever an acquirer speaks for. stepped_up: he had shown a second factor of
    late. code: what the channel gave to scan.
    undo_number, undo_time_ms: name the request that gives it back, the same in its repeats; 0 ms: none was asked yet.
    refunded_minor: what the journal's events say was given back. fence: of the claim under which it is worked on.
    """

    merchant_id: str
    order_id: UUID
    authorization_id: UUID
    acquirer_id: str
    scheme: str
    payer: str
    payer_key: str
    entry: EntryMode
    key: str
    transmission_time_ms: int
    state: PaymentState = PaymentState.BEGUN
    code: str = field(default="", repr=False)
    response_code: str = ""
    reason: str = ""
    undo_number: int = 0
    undo_time_ms: int = 0
    refunded_minor: int = 0
    attempts: int = 0
    fence: int = 0
    stepped_up: bool = False


@dataclass(slots=True)
class ShopCode:
    """A printed code of a shop: the payer enters the amount. version: counts the codes of one store and terminal.

    revoked_time_ms: 0 while it is good.
    """

    id: UUID
    merchant_id: str
    store_id: str
    terminal_id: str
    label: str
    currency: str
    version: int
    created_by: str
    created_time_ms: int
    revoked_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """states: empty for all. number: "" for any. from_ms, to_ms: when it was made; 0: no bound."""

    states: frozenset[OrderState] = frozenset()
    number: str = ""
    from_ms: int = 0
    to_ms: int = 0
