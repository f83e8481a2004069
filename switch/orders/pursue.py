"""What an order's payments come to: asked of the authorization, never of a wallet's word, and brought to an end.

Whoever paid too late, or lost against another payer, is given his money back, exactly once: what is asked has a name
that is durable before it is asked, and the journal refuses to give back more than was taken (invariant 9).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from switch.domain.authorization import Authorization, FollowOn, FollowOnRequest
from switch.domain.money import Money
from switch.domain.order import Order, OrderPayment, PaymentState
from switch.domain.order_rules import Outcome, outcome_of
from switch.domain.states import Operation, State
from switch.orders.settings import OrderSettings
from switch.orders.store import OrderStore, OrderWork
from switch.ports import Clock, StoreUnavailable
from switch.ports.platform import Payments

log = structlog.get_logger()

# What was asked so long ago is not asked again under its name: the road takes no older transmission times (24 h).
_NAME_GOOD_MS: Final = 20 * 3_600_000
_NOTHING_HELD: Final = frozenset({State.DECLINED, State.REVERSED, State.VOIDED})
_ATTEMPTS_BETWEEN_ALERTS: Final = 20


class Pursuit:
    """One per process; any process may take any payment."""

    def __init__(
        self, store: OrderStore, work: OrderWork, payments: Payments, clock: Clock, settings: OrderSettings
    ) -> None:
        self._store = store
        self._work = work
        self._payments = payments
        self._clock = clock
        self._settings = settings
        self._given_up: list[OrderPayment] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(turn), name=f"orders.{name}")
            for name, turn in (("payments", self.turn), ("expiry", self.expire))
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, turn: Callable[[], Awaitable[int]]) -> None:
        while True:
            busy = False
            try:
                busy = await turn() > 0
            except StoreUnavailable as error:
                log.warning("orders_wait_for_database", reason=str(error))
            except Exception:
                log.exception("orders_turn_failed")
            await asyncio.sleep(0 if busy else self._settings.poll_s)

    async def expire(self) -> int:
        """Returns how many expired."""
        return await self._store.expire(self._clock.time_ms(), self._settings.batch)

    async def turn(self) -> int:
        """Claim one batch and look at each; returns its size. Raises StoreUnavailable."""
        if self._given_up:
            await self._work.release(self._given_up)
            self._given_up = []
        claimed = await self._work.claim(self._settings.batch, self._settings.lease_s)
        results = await asyncio.gather(*(self._pursued(each) for each in claimed), return_exceptions=True)
        failures = [error for error in results if isinstance(error, BaseException)]
        if failures:
            # Nobody works on them from here on: once the database is back they need not wait for their leases to end.
            self._given_up = [
                each for each, error in zip(claimed, results, strict=True) if isinstance(error, StoreUnavailable)
            ]
            raise failures[0]
        return len(claimed)

    async def _pursued(self, payment: OrderPayment) -> None:
        try:
            record = await self._payments.find(payment.merchant_id, payment.authorization_id)
            if payment.state is PaymentState.UNDOING:
                await self._undo(payment, record)
            else:
                await self._learn(payment, record)
        except StoreUnavailable:
            raise
        except Exception as error:
            # What the road refuses now it may take later; a bug of ours is seen in the reason.
            await self._later(payment, type(error).__name__)

    # --- what it came to ----------------------------------------------------------------------------------------------

    async def _learn(self, payment: OrderPayment, record: Authorization | None) -> None:
        order = await self._store.find(payment.merchant_id, payment.order_id)
        assert order is not None  # a payment is begun under its order's lock
        outcome = self._outcome(order, payment, record)
        if record is not None:
            payment.response_code, payment.reason = record.response_code, record.reason
            payment.code = record.order_code or payment.code
        _, stored = await self._store.learn(payment, outcome, self._clock.time_ms())
        if stored.state is payment.state:
            age_s = (self._clock.time_ms() - payment.transmission_time_ms) / 1000
            await self._work.later(payment, min(self._settings.backoff_max_s, max(3.0, age_s / 10)), payment.reason)

    def _outcome(self, order: Order, payment: OrderPayment, record: Authorization | None) -> Outcome:
        """What was never recorded may still be on its way: a reversal leaves a tombstone in its place (invariant 7)."""
        age_s = (self._clock.time_ms() - payment.transmission_time_ms) / 1000
        if record is None and age_s > self._settings.begun_s:
            return Outcome.TO_BE_UNDONE
        return outcome_of(record, order.money)

    # --- given back ---------------------------------------------------------------------------------------------------

    async def _undo(self, payment: OrderPayment, record: Authorization | None) -> None:
        if record is not None and record.state in _NOTHING_HELD:
            await self._undone(payment)
        elif record is None or record.state in (State.SENT, State.AWAITING_PAYER):
            await self._ask(payment, Operation.REVERSAL, None)
        elif record.state is State.APPROVED:
            await self._refund(payment, record)
        else:
            # UNKNOWN: the road reverses it. A dead letter is a person's, and has its own alert.
            await self._later(payment, f"the authorization is {record.state.name}")

    async def _refund(self, payment: OrderPayment, record: Authorization) -> None:
        left_minor = record.captured_minor - record.refunded_minor
        if payment.refunded_minor >= record.captured_minor:
            await self._undone(payment)
        elif left_minor > 0 or self._is_named(payment):
            # Reserved already: this very refund is under way, and its repeat tells how far it is.
            await self._ask(
                payment, Operation.REFUND, Money(left_minor or record.captured_minor, record.money.currency)
            )
        else:
            await self._later(payment, "a refund of it is under way")

    def _is_named(self, payment: OrderPayment) -> bool:
        return payment.undo_time_ms > max(0, self._clock.time_ms() - _NAME_GOOD_MS)

    async def _ask(self, payment: OrderPayment, operation: Operation, money: Money | None) -> None:
        if not self._is_named(payment):
            payment.undo_number += bool(payment.undo_time_ms)
            payment.undo_time_ms = self._clock.time_ms()
            if not await self._work.name_undo(payment):
                return
        request = FollowOnRequest(
            operation, payment.acquirer_id, payment.merchant_id, payment.authorization_id,
            undo_key(payment, operation), payment.undo_time_ms, money,
        )  # fmt: skip
        follow_on: FollowOn = await self._payments.follow_on(request)
        if follow_on.state is State.APPROVED:
            await self._undone(payment)
        elif follow_on.state is State.DECLINED:
            # The next is another request: the answer to this one is known and stays as it is.
            payment.undo_number, payment.undo_time_ms = payment.undo_number + 1, 0
            await self._later(payment, f"{operation.words} declined: {follow_on.response_code}")
        else:
            await self._later(payment, f"{operation.words} is under way")

    async def _undone(self, payment: OrderPayment) -> None:
        await self._work.undone(payment)
        log.info("order_payment_undone", order=str(payment.order_id), authorization=str(payment.authorization_id))

    async def _later(self, payment: OrderPayment, reason: str) -> None:
        settings = self._settings
        if payment.state is PaymentState.UNDOING and payment.attempts % _ATTEMPTS_BETWEEN_ALERTS == 19:
            log.error(
                "order_payment_not_undone", order=str(payment.order_id), reason=reason, attempts=payment.attempts + 1,
                authorization=str(payment.authorization_id),
            )  # fmt: skip
        after_s = min(settings.backoff_max_s, settings.backoff_first_s * 2.0 ** min(payment.attempts, 20))
        await self._work.later(payment, after_s, reason)


def undo_key(payment: OrderPayment, operation: Operation) -> str:
    """The payment's own: two of a merchant that are undone in one millisecond would else be one request."""
    return f"undo-{payment.authorization_id.hex}-{payment.undo_number}-{operation.name}"
