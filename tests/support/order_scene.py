"""Orders on a real database and a real road; only the channel behind it is scripted, and keeps a book."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from trade_told import put_at

from switch.domain.authorization import Authorization, AuthorizationRequest, CardCredential
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.money import Money
from switch.domain.order import Order, OrderPayment
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation
from switch.orders.desk import Draft, OrderDesk, Paying
from switch.orders.pursue import Pursuit
from switch.orders.retention import Retention
from switch.orders.settings import OrderSettings
from switch.orders.shop import ShopCodes
from switch.payments.follow_on import FollowOns
from switch.payments.local import LocalPayments
from switch.payments.ownership import Ownership
from switch.payments.resolve import Resolver, ResolveSettings
from switch.payments.road import Road
from switch.ports import Approved, AwaitingPayer, ChannelRequest, ChannelResult, Declined
from switch.store.feed_consumer import FeedConsumer, Span
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.order_rows import payment_from
from switch.store.order_work import PostgresOrderWork, apply_events
from switch.store.orders import PostgresOrders
from switch.store.scanned_orders import PostgresScannedOrders
from switch.store.shop_codes import PostgresShopCodes

PAN = "6225880000000005"
# Above what the feed gives in a test.
_positions = itertools.count(1_000_000)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


class TheClock:
    """The time of day, and ahead of it where a test says so."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.ahead_ms = 0

    def time_ms(self) -> int:
        return int(self._clock.time_ms()) + self.ahead_ms

    def monotonic_s(self) -> float:
        return float(self._clock.monotonic_s())


class Wallet:
    """A channel's book: what is held of each authorization, in fen. `paid`: orders whose payer has scanned."""

    def __init__(self) -> None:
        self.held: dict[UUID, int] = {}
        self.closed: set[UUID] = set()
        self.asked: list[tuple[Operation, UUID]] = []
        self.refuses_refunds = 0
        self.sale: ChannelResult = Approved("00", "123456")

    def answer(self, request: ChannelRequest) -> ChannelResult:
        identity, operation = request.authorization.id, request.operation
        self.asked.append((operation, identity))
        match operation:
            case Operation.SALE:
                if isinstance(self.sale, Approved):
                    self.held[identity] = request.money.amount_minor
                return self.sale
            case Operation.ORDER:
                return AwaitingPayer(code=f"https://qr.alipay.com/{identity.hex}")
            case Operation.INQUIRY:
                return Approved(channel_reference="t") if identity in self.held else AwaitingPayer()
            case Operation.REFUND:
                if self.refuses_refunds:
                    self.refuses_refunds -= 1
                    return Declined("51")
                self.held[identity] -= request.money.amount_minor
                return Approved()
            case _:
                self.closed.add(identity)
                self.held.pop(identity, None)
                return Approved()

    def scan(self, payment: OrderPayment, amount_minor: int) -> None:
        """A payer pays the code; not one that was closed."""
        if payment.authorization_id not in self.closed:
            self.held[payment.authorization_id] = amount_minor

    def count(self, operation: Operation) -> int:
        return sum(each is operation for each, _ in self.asked)


@dataclass
class People:
    """Meets `Merchants` and `Cards`."""

    profiles: dict[str, MerchantProfile]
    cards: dict[tuple[UUID, UUID], CardCredential]

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        return self.profiles.get(merchant_id)

    async def credential(self, user_id: UUID, card_id: UUID) -> CardCredential | None:
        return self.cards.get((user_id, card_id))

    async def contracts(self, merchant_ids: Any, day: str) -> dict[str, Any]:
        return {}

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        return {}

    def payer(self) -> tuple[UUID, UUID]:
        """(user, card)."""
        names = uuid4(), uuid4()
        self.cards[names] = CardCredential(Pan(PAN), "4912")
        return names


class Scene(SimpleNamespace):
    """Everything by name; see `order_scene`."""

    async def create(self, amount_minor: int = 1_250, **changes: Any) -> Order:
        values: dict[str, Any] = {
            "merchant_id": self.merchant_id, "key": uuid4().hex, "money": Money(amount_minor, "CNY"),
            "subject": "Tea 茶", "lives_s": 900,
        }  # fmt: skip
        return await self.desk.create(Draft(**(values | changes)), "user/ann")

    def paying(self, **changes: Any) -> Paying:
        user_id, card_id = self.people.payer()
        return replace(Paying(user_id, card_id, uuid4().hex, False, EntryMode.MERCHANT_QR), **changes)

    def scanned(self, order: Order, **changes: Any) -> AuthorizationRequest:
        """As another acquirer asks whose payer has scanned the order's QR."""
        values: dict[str, Any] = {
            "acquirer_id": "bank", "merchant": order.merchant, "terminal_id": "T9", "idempotency_key": uuid4().hex,
            "transmission_time_ms": self.clock.time_ms(), "operation": Operation.SALE, "money": order.money,
            "entry": EntryMode.MERCHANT_QR, "credential": CardCredential(Pan(PAN), "4912"), "scanned_order": order.id,
        }  # fmt: skip
        return AuthorizationRequest(**(values | changes))

    async def ask(self, request: AuthorizationRequest) -> Authorization:
        record: Authorization = await self.road.enter(request, 20.0)
        return record

    async def payments_of(self, order: Order) -> list[OrderPayment]:
        rows = await self.database.fetch("SELECT * FROM order_payments WHERE order_id = $1", order.id)
        return [payment_from(row) for row in rows]

    async def now(self, order: Order) -> Order:
        found = await self.store.find(order.merchant.id, order.id)
        assert found is not None
        return found

    async def payment(self, payment: OrderPayment) -> OrderPayment:
        found = await self.store.payment(payment.merchant_id, payment.authorization_id)
        assert found is not None
        return found

    async def work(self, turns: int = 6) -> None:
        """Everything that is open is due, and worked on: the orders' payments and the road's follow-ups."""
        for _ in range(turns):
            await self.database.execute("UPDATE order_payments SET due_time_ms = 0, lease_until_ms = 0")
            await self.database.execute("UPDATE follow_ups SET due_time_ms = 0 WHERE state = 1")
            await self.pursuit.turn()
            await self.resolver.turn()

    async def event(self, kind: EventKind, payment: OrderPayment, amount_minor: int) -> None:
        """As the journal's feed would tell it."""
        position = next(_positions)
        event = JournalEvent(
            position, payment.merchant_id, payment.authorization_id, uuid4(), kind, Operation.SALE,
            Money(amount_minor, "CNY"), 1, 1, "acme", "t", "first", EntryMode.NFC, "00", "", b"", "",
        )  # fmt: skip
        async with self.database.acquire() as connection, connection.transaction():
            await put_at(connection, event)
            await apply_events(connection, Span(position - 1, position, 1))


@pytest.fixture
async def scene(town: Any, database: Any) -> AsyncIterator[Scene]:
    for table in ("order_payments", "orders", "shop_codes", "order_payers"):
        await database.execute(f"DELETE FROM {table}")
    ownership = Ownership(PostgresLeases(database, lease_s=600), "test", 600.0, lambda: 0, lambda reason: None)
    await ownership.join()
    clock, journal = TheClock(town.world.clock), PostgresJournal(database, reversal_after_s=0)
    orders = PostgresScannedOrders(database)
    world = replace(town.world, journal=journal, ownership=ownership, clock=clock, orders=orders)
    # No machine is too slow for it.
    road_settings = replace(town.settings, answer_budget_ms=20_000)
    road, follow_ons = Road(world, road_settings), FollowOns(world, road_settings)
    resolver = Resolver(world, ResolveSettings(message_timeout_s=20.0))
    wallet = Wallet()
    town.first.script = wallet.answer
    merchant_id = f"m{secrets.token_hex(7)}"
    profile = MerchantProfile(merchant_id, "Corner Shop", "Shanghai", "CN", "5411", "acme", MerchantState.ACTIVE)
    people = People({merchant_id: profile}, {})
    store, work = PostgresOrders(database), PostgresOrderWork(database)
    payments = LocalPayments(road, follow_ons, journal)
    settings = OrderSettings(budget_s=20.0)
    desk = OrderDesk(store, payments, people, people, clock, secrets.token_bytes, settings)
    yield Scene(
        desk=desk, store=store, work_store=work, payments=payments, people=people, clock=clock, wallet=wallet,
        merchant_id=merchant_id, database=database, resolver=resolver, journal=journal, town=town, settings=settings,
        shop=ShopCodes(PostgresShopCodes(database), people, clock, secrets.token_bytes),
        pursuit=Pursuit(store, work, payments, clock, settings),
        road=road, world=world, scanned_orders=orders, retention=Retention(store, settings),
        feed=FeedConsumer(database, f"orders {merchant_id}", apply_events),
    )  # fmt: skip
    await road.close()
