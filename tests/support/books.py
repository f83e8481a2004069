"""The ledger and settlement on a real database: merchants by hand, a clock by hand, events as the feed writes them."""

import itertools
from dataclasses import dataclass, field, replace
from datetime import date
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from paper_hsm import PaperHsm

from switch.domain.business_day import begins_ms
from switch.domain.contract import Contract, Rate
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.money import Money
from switch.domain.settlement import Debtor
from switch.domain.states import EntryMode, Operation
from switch.settlement.batches import SettlementRules, Settlements
from switch.settlement.close import DayClose
from switch.settlement.pricing import LatePricing
from switch.store.accounts import PostgresAccounts
from switch.store.heavy import HeavyConnections
from switch.store.ledger_check import LedgerChecker
from switch.store.ledger_days import PostgresDays
from switch.store.ledger_follower import LedgerFollower
from switch.store.settlement import PostgresBatches
from switch.store.unpriced import PostgresUnpriced

DAY, NEXT_DAY = "2026-03-02", "2026-03-03"
NIL = UUID(int=0)
SHOP = "104110053110001"

EMPTY = """
DELETE FROM ledger_entries; DELETE FROM ledger_closings; DELETE FROM ledger_days; DELETE FROM ledger_balances;
DELETE FROM ledger_volumes; DELETE FROM ledger_unpriced; DELETE FROM ledger_unpriced_payments;
DELETE FROM journal_events; DELETE FROM feed_cursors;
DELETE FROM settlement_batches; DELETE FROM settlement_payouts; DELETE FROM settlement_left_out;
DELETE FROM settlement_reserves; DELETE FROM audit_trail; UPDATE ledger_followed SET position = 0;
UPDATE ledger_books SET sealed_through = NULL, closed_through = NULL
"""
_EVENT = """
INSERT INTO journal_events (
    merchant_id, authorization_id, kind, follow_on_id, position, operation, amount_minor, currency, time_ms,
    created_time_ms, acquirer_id, terminal_id, channel, entry, response_code, reference, payer_key, card_prefix)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
"""


class HandClock:
    """now_ms is set by the test."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


@dataclass
class ShopRegister:
    """Meets `switch.ports.platform.Merchants`. by_merchant: in order of from_day. asked: (merchants, day)."""

    by_merchant: dict[str, list[Contract]] = field(default_factory=dict)
    states: dict[str, MerchantState] = field(default_factory=dict)
    asked: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def sign(self, merchant_id: str = SHOP, **fields: Any) -> Contract:
        values: dict[str, Any] = {
            "from_day": "2020-01-01", "currency": "CNY", "rates": (Rate("", "", 0, 60),),
            "account_name": "Corner Shop", "account_number": "6222021001234567890", "bank_code": "102290020018",
        } | fields  # fmt: skip
        versions = self.by_merchant.setdefault(merchant_id, [])
        versions.append(Contract(merchant_id, len(versions) + 1, **values))
        self.states.setdefault(merchant_id, MerchantState.ACTIVE)
        return versions[-1]

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        state = self.states.get(merchant_id)
        return state and MerchantProfile(merchant_id, "Shop", "Shanghai", "CN", "5411", "bank-1", state)

    async def contracts(self, merchant_ids: Any, day: str) -> dict[str, Contract]:
        self.asked.append((tuple(merchant_ids), day))
        found = {}
        for each in merchant_ids:
            in_force = [one for one in self.by_merchant.get(each, []) if one.from_day <= day]
            if in_force:
                found[each] = in_force[-1]
        return found

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        return {}


@dataclass
class KnownCards:
    """Meets `switch.ports.platform.CardTypes`."""

    types: dict[str, str] = field(default_factory=dict)

    def of(self, card_prefix: str) -> str:
        return self.types.get(card_prefix, "")


class WholeFeed:
    """A feed that has found everything, or lets `found` happen when a day is completed."""

    def __init__(self) -> None:
        self.completed: list[date] = []
        self.found: Any = None

    async def complete_day(self, day: date) -> int:
        self.completed.append(day)
        if self.found is not None:
            await self.found()
        return 0


class Books:
    def __init__(self, pool: asyncpg.Pool, dsn: str) -> None:
        self.pool = pool
        self.clock = HandClock(begins_ms(DAY) + 30 * 3_600_000)
        self.merchants, self.feed, self.card_types = ShopRegister(), WholeFeed(), KnownCards()
        self.heavy = HeavyConnections(dsn)
        self.follower = LedgerFollower(pool, self.merchants, self.card_types, self.clock, batch=50)
        self.pricing = LatePricing(PostgresUnpriced(pool, self.card_types), self.merchants, self.clock)
        self.days = PostgresDays(pool, self.heavy)
        self.hsm = PaperHsm()
        self.batches = PostgresBatches(pool, self.heavy, self.hsm)
        self.accounts = PostgresAccounts(pool, self.heavy, HeavyConnections(dsn, 2, waits=False))
        self.checker = LedgerChecker(self.heavy)
        self.close = DayClose(self.days, self.batches, self.feed, self.follower, self.clock, grace_s=300, patience_s=5)
        debtor = Debtor("Payswitch Ltd", "GB82WEST12345698765432", "BKCHCNBJ")
        self.settlements = Settlements(self.batches, self.merchants, self.clock, SettlementRules(debtor))
        self._numbers = itertools.count(1)

    async def empty(self) -> None:
        await self.pool.execute(EMPTY)

    def event(self, kind: EventKind = EventKind.APPROVED, amount: int = 10_000, **fields: Any) -> JournalEvent:
        """Another payment of DAY at noon unless the fields say otherwise; `of`: the event of the payment it is of."""
        number = next(self._numbers)
        time_ms = fields.pop("time_ms", begins_ms(fields.pop("day", DAY)) + 12 * 3_600_000 + number)
        of: JournalEvent | None = fields.pop("of", None)
        values: dict[str, Any] = {
            "position": number,
            "merchant_id": of.merchant_id if of else SHOP,
            "authorization_id": of.authorization_id if of else UUID(int=time_ms << 80 | 7 << 76 | 1 << 63 | number),
            "follow_on_id": UUID(int=number) if kind in (EventKind.CAPTURED, EventKind.REFUNDED) else NIL,
            "kind": kind,
            "operation": of.operation if of else Operation.SALE,
            "money": Money(amount, of.money.currency if of else fields.pop("currency", "CNY")),
            "time_ms": time_ms,
            "created_time_ms": of.created_time_ms if of else time_ms - 20,
            "acquirer_id": "bank-1", "terminal_id": "T1", "channel": of.channel if of else "unionpay",
            "entry": EntryMode.NFC, "response_code": "00", "reference": f"r{number}", "payer_key": b"k",
            "card_prefix": "622588",
        }  # fmt: skip
        return JournalEvent(**(values | fields))

    async def feed_in(self, *events: JournalEvent) -> None:
        await self.pool.executemany(_EVENT, [_row(each) for each in events])

    async def enter(self, *events: JournalEvent) -> None:
        await self.feed_in(*events)
        await self.follower.catch_up()

    async def sale(self, amount: int = 10_000, **fields: Any) -> JournalEvent:
        event = self.event(amount=amount, **fields)
        await self.enter(event)
        return event

    async def balance(self, account: str = "merchant", merchant_id: str = SHOP, currency: str = "CNY") -> int:
        """Of all entries, debits positive."""
        return await self.pool.fetchval(
            "SELECT COALESCE(sum(amount_minor), 0)::bigint FROM ledger_entries"
            " WHERE merchant_id = $1 AND account = $2 AND currency = $3",
            merchant_id, account, currency,
        )  # fmt: skip

    async def close_day(self, day: str = DAY) -> Any:
        self.clock.now_ms = max(self.clock.now_ms, begins_ms(day) + 30 * 3_600_000)
        return await self.close.close(day, "finance/ann")


def _row(event: JournalEvent) -> tuple[Any, ...]:
    return (
        event.merchant_id, event.authorization_id, event.kind.value, event.follow_on_id, event.position,
        event.operation.value, event.money.amount_minor, event.money.currency, event.time_ms, event.created_time_ms,
        event.acquirer_id, event.terminal_id, event.channel, event.entry.value, event.response_code, event.reference,
        event.payer_key, event.card_prefix,
    )  # fmt: skip


def life(books: Books, random: Random, **fields: Any) -> list[JournalEvent]:
    """A payment from its approval to its end, whichever."""
    amount = random.randint(1, 100_000)
    if random.random() < 0.3:
        first = books.event(amount=amount, operation=Operation.PRE_AUTHORIZATION, **fields)
        told, captured = [first], 0
        for _ in range(random.randint(0, 3)):
            part = random.randint(0, amount - captured)
            if part:
                told.append(books.event(EventKind.CAPTURED, part, of=first))
                captured += part
    else:
        first = books.event(amount=amount, operation=random.choice((Operation.SALE, Operation.ORDER)), **fields)
        told, captured = [first], amount
    return told + _back(books, random, first, captured)


def _back(books: Books, random: Random, first: JournalEvent, captured: int) -> list[JournalEvent]:
    told, refunded = [], 0
    while captured - refunded and random.random() < 0.4:
        part = random.choice((captured - refunded, random.randint(1, captured - refunded)))
        told.append(books.event(EventKind.REFUNDED, part, of=first))
        refunded += part
    if random.random() < 0.15:
        told.append(books.event(EventKind.UNDONE, captured - refunded, of=first))
    return told


def moved(event: JournalEvent, **fields: Any) -> JournalEvent:
    return replace(event, **fields)
