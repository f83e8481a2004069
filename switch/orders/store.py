"""What the order service keeps. Every method raises StoreUnavailable unless its effect is sure."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from switch.domain.order import Order, OrderFilter, OrderPayment, ShopCode
from switch.domain.order_rules import Beginning, Outcome


class OrderStore(Protocol):
    async def create(self, order: Order, most_open: int = 0) -> Order:
        """What is stored under its key: this one if there was none.

        most_open: of a printed code, orders that its maker may have open at once. Raises TooMany.
        """

    async def find(self, merchant_id: str, order_id: UUID) -> Order | None: ...

    async def made_under(self, merchant_id: str, key: str) -> Order | None:
        """The order of that idempotency key."""

    async def list(self, merchant_id: str, wanted: OrderFilter, before: UUID, limit: int) -> list[Order]:
        """Newest first, of those whose id is below `before`."""

    async def payment(self, merchant_id: str, authorization_id: UUID) -> OrderPayment | None: ...

    async def begin(
        self, wanted: OrderPayment, now_ms: int, refusal: str = "", unproved_limit_minor: int | None = None
    ) -> Beginning:
        """Durable on return, unless it repeats another or is refused. Raises Missing.

        refusal: what speaks against every new payment of the order. unproved_limit_minor: what the payer may pay in a
        day, of the order's currency, without a second factor; of two payments at once one sees the other.
        """

    async def unproved_minor(self, payer: str, currency: str, now_ms: int) -> int:
        """What he paid, or may still be charged, in the day before now without a second factor."""

    async def learn(self, payment: OrderPayment, outcome: Outcome, now_ms: int) -> tuple[Order, OrderPayment]:
        """Under the order's lock: at most one wins. The results say what is stored now."""

    async def close(self, merchant_id: str, order_id: UUID, who: str, now_ms: int) -> tuple[Order, str]:
        """The order now, and why it could not be closed ("" if it is). Raises Missing."""

    async def expire(self, now_ms: int, limit: int) -> int: ...

    async def drop(self, paid: bool, age_ms: int, limit: int) -> int:
        """Of the orders that ended so long ago by the database's clock, paid or never paid, at most `limit`, with their
        payments; those that still owe something stay. Returns how many."""


class OrderWork(Protocol):
    """Payments that have not ended, as work: whoever claims one has it until its lease runs out."""

    async def claim(self, limit: int, lease_s: float) -> list[OrderPayment]: ...

    async def name_undo(self, payment: OrderPayment) -> bool:
        """undo_number and undo_time_ms, durable before anything is asked. False: the claim is over."""

    async def later(self, payment: OrderPayment, after_s: float, reason: str) -> None: ...

    async def release(self, payments: Sequence[OrderPayment]) -> None:
        """Claimed, and given up unfinished: due at once, for anybody."""

    async def undone(self, payment: OrderPayment) -> None: ...


class ShopCodeStore(Protocol):
    async def add(self, code: ShopCode) -> ShopCode:
        """With the next version of its store and terminal."""

    async def find(self, merchant_id: str, code_id: UUID) -> ShopCode | None: ...

    async def list(self, merchant_id: str, before: UUID, limit: int) -> list[ShopCode]: ...

    async def revoke(self, merchant_id: str, code_id: UUID, who: str, now_ms: int) -> ShopCode:
        """Raises Missing."""
