"""What becomes of an order's payments: decided over facts that were read under the order's row lock. Pure."""

from dataclasses import dataclass
from enum import IntEnum

from switch.domain.authorization import Authorization
from switch.domain.money import Money
from switch.domain.order import PAYABLE, UNDER_WAY, Order, OrderPayment, OrderState, PaymentState
from switch.domain.states import State

# A wallet's code is good for two hours; one that is older than this is called off and another one made.
CODE_GOOD_MS = 100 * 60_000

# For so long counts what a payer paid without a second factor.
UNPROVED_MS = 86_400_000


class Outcome(IntEnum):
    """What an authorization says of the payment that it is."""

    UNSETTLED = 1
    AWAITING = 2
    PAID = 3
    NOTHING_MOVED = 4
    TO_BE_UNDONE = 5  # in doubt, being reversed, or of another amount than the order's


_OUTCOMES = {
    State.SENT: Outcome.UNSETTLED,
    State.AWAITING_PAYER: Outcome.AWAITING,
    State.DECLINED: Outcome.NOTHING_MOVED,
    State.REVERSED: Outcome.NOTHING_MOVED,
    State.VOIDED: Outcome.NOTHING_MOVED,
    State.UNKNOWN: Outcome.TO_BE_UNDONE,
    State.DEAD_LETTER: Outcome.TO_BE_UNDONE,
}


def outcome_of(record: Authorization | None, money: Money) -> Outcome:
    """A part of the amount does not pay an order. None: nothing of it was ever recorded."""
    if record is None:
        return Outcome.UNSETTLED
    if record.state is not State.APPROVED:
        return _OUTCOMES[record.state]
    whole = record.money.currency == money.currency and record.captured_minor == money.amount_minor
    return Outcome.PAID if whole and record.refunded_minor == 0 else Outcome.TO_BE_UNDONE


def becomes(order: Order, payment: OrderPayment, outcome: Outcome) -> PaymentState:
    """The payment's next state. The first that is PAID while the order can be paid wins it; every other goes back."""
    if payment.state not in UNDER_WAY:
        return payment.state
    match outcome:
        case Outcome.UNSETTLED:
            return payment.state
        case Outcome.AWAITING:
            return PaymentState.AWAITING if order.state in PAYABLE else PaymentState.UNDOING
        case Outcome.NOTHING_MOVED:
            return PaymentState.FAILED
        case Outcome.TO_BE_UNDONE:
            return PaymentState.UNDOING
        case Outcome.PAID:
            return PaymentState.WON if order.state in PAYABLE else PaymentState.UNDOING


@dataclass(frozen=True, slots=True)
class Beginning:
    """repeated: the payment that is there already, and answers this. stale: one whose code is too old; it is undone.

    refusal: why none may begin now, "" if one may. needs_step_up: none but with a second factor of late.
    """

    repeated: OrderPayment | None = None
    stale: OrderPayment | None = None
    refusal: str = ""
    needs_step_up: bool = False


def beginning(
    order: Order, payments: list[OrderPayment], wanted: OrderPayment, now_ms: int, refusal: str = "",
    unproved_left_minor: int | None = None,
) -> Beginning:  # fmt: skip
    """One card at a time, so that two payers need not both pay; one code of a wallet at a time.

    refusal: what speaks against every new payment; a repeat is answered all the same. unproved_left_minor: what the
    payer may still pay without a second factor, of the order's currency; None: as much as he likes.
    """
    for each in payments:
        if wanted.payer and (each.payer, each.payer_key) == (wanted.payer, wanted.payer_key):
            return Beginning(repeated=each)
    if refusal:
        return Beginning(refusal=refusal)
    if order.state not in PAYABLE:
        return Beginning(refusal=f"the order is {order.state.name}")
    if now_ms >= order.expires_time_ms:
        return Beginning(refusal="the order is EXPIRED")
    if unproved_left_minor is not None and order.money.amount_minor > unproved_left_minor:
        return Beginning(needs_step_up=True)
    if not wanted.scheme:
        busy = any(each.state in UNDER_WAY and not each.scheme for each in payments)
        return Beginning(refusal="somebody is paying it just now" if busy else "")
    stale = None
    for each in payments:
        if each.scheme == wanted.scheme and each.state in UNDER_WAY:
            if now_ms - each.transmission_time_ms < CODE_GOOD_MS:
                return Beginning(repeated=each)
            stale = each
    return Beginning(stale=stale)


def scanned_refusal(
    order: Order | None, payments: list[OrderPayment], wanted: OrderPayment, money: Money, now_ms: int
) -> tuple[str, str] | None:
    """Why an order is not paid by what its QR's payer has his acquirer ask for: (DE39, reason); None if it is.

    A right CRC proves nothing of the amount that a QR shows.
    """
    if order is None:
        return "25", "there is no such order"
    if money != order.money:
        return "13", "is not the order's amount"
    refusal = beginning(order, payments, wanted, now_ms).refusal
    return ("12", refusal) if refusal else None


def close_refusal(order: Order, payments: list[OrderPayment], to: OrderState) -> str:
    """Why an order cannot be closed or expire now; "" if it can. Closed or expired it stays as it is."""
    if order.state not in PAYABLE:
        return "" if order.state in (OrderState.CLOSED, OrderState.EXPIRED) else f"the order is {order.state.name}"
    if any(each.state is PaymentState.BEGUN for each in payments):
        return f"a payment is under way; {to.name} only once it is known"
    return ""
