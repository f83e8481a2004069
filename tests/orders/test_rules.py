"""The tables of orders and their payments: no cycle, ends absorb, and every outcome has its meaning."""

import itertools
from graphlib import TopologicalSorter
from uuid import UUID

import pytest

from switch.domain.authorization import Authorization, Merchant
from switch.domain.money import Money
from switch.domain.order import (
    ORDER_TRANSITIONS,
    PAYABLE,
    PAYMENT_TRANSITIONS,
    UNDER_WAY,
    Order,
    OrderPayment,
    OrderState,
    PaymentState,
)
from switch.domain.order_rules import Outcome, becomes, close_refusal, outcome_of
from switch.domain.states import EntryMode, Operation, State

MONEY = Money(1_250, "CNY")


def order(state: OrderState) -> Order:
    return Order(UUID(int=1), Merchant("m1"), "acme", "t", "", MONEY, "s", "", "k", b"", "u", 0, 1, state)


def payment(state: PaymentState) -> OrderPayment:
    return OrderPayment("m1", UUID(int=1), UUID(int=2), "acme", "", "u", "k", EntryMode.NFC, "k", 0, state)


def record(state: State, captured_minor: int = 0, refunded_minor: int = 0, currency: str = "CNY") -> Authorization:
    return Authorization(
        UUID(int=2), "acme", "m1", "t", "5411", Operation.SALE, Money(1_250, currency), EntryMode.NFC, "",
        state=state, captured_minor=captured_minor, refunded_minor=refunded_minor,
    )  # fmt: skip


@pytest.mark.parametrize("table", [ORDER_TRANSITIONS, PAYMENT_TRANSITIONS])
def test_there_is_no_cycle(table: dict[OrderState, frozenset[OrderState]]) -> None:
    assert set(TopologicalSorter(table).static_order()) == set(type(next(iter(table))))


@pytest.mark.parametrize(("of", "state", "outcome"), list(itertools.product(OrderState, PaymentState, Outcome)))
def test_a_payment_moves_only_along_the_table(of: OrderState, state: PaymentState, outcome: Outcome) -> None:
    following = becomes(order(of), payment(state), outcome)
    assert following is state or following in PAYMENT_TRANSITIONS[state]
    if following is PaymentState.WON and state is not PaymentState.WON:
        assert of in PAYABLE
        assert OrderState.PAID in ORDER_TRANSITIONS[of] or of is OrderState.OPEN
    if state in UNDER_WAY and outcome is Outcome.PAID and of not in PAYABLE:
        assert following is PaymentState.UNDOING


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (None, Outcome.UNSETTLED),
        (record(State.SENT), Outcome.UNSETTLED),
        (record(State.AWAITING_PAYER), Outcome.AWAITING),
        (record(State.APPROVED, 1_250), Outcome.PAID),
        (record(State.APPROVED, 1_249), Outcome.TO_BE_UNDONE),
        (record(State.APPROVED, 0), Outcome.TO_BE_UNDONE),
        (record(State.APPROVED, 1_250, 1), Outcome.TO_BE_UNDONE),
        (record(State.APPROVED, 1_250, currency="USD"), Outcome.TO_BE_UNDONE),
        (record(State.UNKNOWN), Outcome.TO_BE_UNDONE),
        (record(State.DEAD_LETTER), Outcome.TO_BE_UNDONE),
        (record(State.DECLINED), Outcome.NOTHING_MOVED),
        (record(State.REVERSED), Outcome.NOTHING_MOVED),
        (record(State.VOIDED), Outcome.NOTHING_MOVED),
    ],
)
def test_what_an_authorization_says(found: Authorization | None, outcome: Outcome) -> None:
    assert outcome_of(found, MONEY) is outcome


@pytest.mark.parametrize(("state", "under_way"), list(itertools.product(OrderState, PaymentState)))
def test_closing(state: OrderState, under_way: PaymentState) -> None:
    refusal = close_refusal(order(state), [payment(under_way)], OrderState.CLOSED)
    ended = state in (OrderState.CLOSED, OrderState.EXPIRED)
    assert bool(refusal) is not (ended or (state in PAYABLE and under_way is not PaymentState.BEGUN))
