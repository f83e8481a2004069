"""A merchant's payments for its people: who sees which, and how a list goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from switch.domain.access import MERCHANT_ROLES, Caller, Role
from switch.domain.authorization import Authorization, FollowOn
from switch.domain.identity import transmission_time_ms_of
from switch.domain.refusals import Missing, TooMany
from switch.domain.transaction import Page, Transaction, TransactionFilter
from switch.merchants.page_tokens import PageTokens
from switch.ports import Clock
from switch.ports.platform import Merchants

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
# Searches share the database's connections with the road: so many at once, so many waiting.
_AT_ONCE: Final = 2
_WAITING: Final = 32

# (merchant_id, the merchant's number of an order) -> the payments that were tried for it.
PaymentsOfOrder = Callable[[str, str], Awaitable[Sequence[UUID]]]


class TransactionStore(Protocol):
    """Met by `switch.store.transactions.PostgresTransactions`."""

    async def search(self, merchant_id: str, wanted: TransactionFilter, before: UUID | None, size: int) -> Page: ...

    async def find(
        self, merchant_id: str, authorization_id: UUID
    ) -> tuple[Authorization, list[FollowOn], str] | None: ...

    async def payer_key(self, merchant_id: str, authorization_id: UUID) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for, as it was asked: a filter, and what must be looked up to become part of one."""

    filter: TransactionFilter
    store_id: str = ""
    same_payer_as: UUID | None = None
    order_number: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """stores: terminal_id -> store_id."""

    rows: list[Transaction]
    next_page_token: str
    stores: dict[str, str]


class Transactions:
    """payments_of_order: None where orders are not known."""

    def __init__(
        self,
        store: TransactionStore,
        merchants: Merchants,
        tokens: PageTokens,
        clock: Clock,
        payments_of_order: PaymentsOfOrder | None = None,
    ) -> None:
        self._store = store
        self._merchants = merchants
        self._tokens = tokens
        self._clock = clock
        self._payments_of_order = payments_of_order
        self._searching = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def query(self, caller: Caller, merchant_id: str, selection: Selection, size: int, token: str) -> Listed:
        """Raises Invalid for a token of another question, TooMany."""
        question = f"transactions\x1f{merchant_id}\x1f{selection!r}"
        before = await self._tokens.read(question, token)
        stores = await self._merchants.stores_of_terminals(merchant_id)
        wanted = await self._resolved(caller, merchant_id, selection, stores)
        if wanted is None:
            return Listed([], "", stores)
        async with self._turn():
            page = await self._store.search(merchant_id, wanted, before, size)
        return Listed(page.rows, await self._tokens.issue(question, page.resume), stores)

    async def pages(
        self, caller: Caller, merchant_id: str, selection: Selection, store: TransactionStore, size: int
    ) -> AsyncIterator[Listed]:
        """All of the selection, from a store that may take longer; a page may be empty."""
        stores = await self._merchants.stores_of_terminals(merchant_id)
        wanted = await self._resolved(caller, merchant_id, selection, stores)
        before: UUID | None = None
        while wanted is not None:
            async with self._turn():
                page = await store.search(merchant_id, wanted, before, size)
            yield Listed(page.rows, "", stores)
            if page.resume is None:
                return
            before = page.resume

    async def get(
        self, caller: Caller, merchant_id: str, authorization_id: UUID
    ) -> tuple[Authorization, list[FollowOn], str, str]:
        """As the journal has it now; our reference; the store. Raises Missing."""
        found = await self._store.find(merchant_id, authorization_id)
        if found is None or transmission_time_ms_of(authorization_id) < self._first_ms(caller):
            raise Missing("no such payment")
        stores = await self._merchants.stores_of_terminals(merchant_id)
        return *found, stores.get(found[0].terminal_id, "")

    async def _resolved(
        self, caller: Caller, merchant_id: str, selection: Selection, stores: dict[str, str]
    ) -> TransactionFilter | None:
        """None: nothing can fit."""
        wanted = selection.filter
        wanted = replace(wanted, from_ms=max(wanted.from_ms, self._first_ms(caller)))
        if selection.store_id:
            standing = {terminal for terminal, store in stores.items() if store == selection.store_id}
            chosen = standing if wanted.terminal_ids is None else standing & set(wanted.terminal_ids)
            if not chosen:
                return None
            wanted = replace(wanted, terminal_ids=tuple(sorted(chosen)))
        if selection.same_payer_as is not None:
            key = await self._store.payer_key(merchant_id, selection.same_payer_as)
            if key is None:
                raise Missing("same_payer_as: no such payment")
            if not key:
                return None
            wanted = replace(wanted, payer_key=key)
        if selection.order_number:
            tried = (
                await self._payments_of_order(merchant_id, selection.order_number) if self._payments_of_order else []
            )
            ids = tried if wanted.authorization_ids is None else set(tried) & set(wanted.authorization_ids)
            if not ids:
                return None
            wanted = replace(wanted, authorization_ids=tuple(sorted(ids, key=lambda each: each.int)))
        return wanted

    def _first_ms(self, caller: Caller) -> int:
        """A cashier sees the business day's payments, everybody else all."""
        if caller.roles & (MERCHANT_ROLES | {Role.OPERATOR, Role.FINANCE}) != {Role.MERCHANT_CASHIER}:
            return 0
        now = datetime.fromtimestamp(self._clock.time_ms() / 1000, _SHANGHAI)
        return int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= _WAITING:
            raise TooMany("too many searches at once; try again")
        self._waiting += 1
        try:
            await self._searching.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._searching.release()
