"""Stores, and which terminal stands in which."""

from dataclasses import replace

from switch.domain.access import Caller
from switch.domain.merchant_people import Store, StoreTerminal
from switch.domain.refusals import Exists, Missing, NotPossible, TooMany
from switch.merchants.reach import check_reach, check_state, entry, fields_of
from switch.merchants.settings import MerchantSettings
from switch.merchants.store import Books, MerchantStore


class Places:
    def __init__(self, store: MerchantStore, settings: MerchantSettings) -> None:
        self._store = store
        self._settings = settings

    async def add_store(self, caller: Caller, merchant_id: str, name: str, address: str) -> Store:
        """Raises Missing, NotPossible, TooMany."""

        async def work(books: Books) -> Store:
            check_reach(caller, books.record)
            check_state(books.record)
            there = await books.stores()
            if len(there) >= self._settings.stores:
                raise TooMany(f"there are {len(there)} stores")
            # Stores are never deleted, so their number names the next one.
            store = Store(f"S{len(there) + 1:04d}", name, address)
            await books.keep_store(store)
            await books.audit(entry(caller, books.record, "AddStore", f"store/{store.id}", after=fields_of(store)))
            return store

        return await self._store.change(merchant_id, work)

    async def change_store(
        self, caller: Caller, merchant_id: str, store_id: str, name: str | None, address: str | None,
        active: bool | None,
    ) -> Store:  # fmt: skip
        """None: stays as it is. Raises Missing, NotPossible."""

        async def work(books: Books) -> Store:
            check_reach(caller, books.record)
            check_state(books.record)
            before = await _store_of(books, store_id)
            after = Store(
                store_id,
                before.name if name is None else name,
                before.address if address is None else address,
                before.active if active is None else active,
            )
            if after != before:
                await books.keep_store(after)
                old, new = fields_of(before), fields_of(after)
                await books.audit(entry(caller, books.record, "ChangeStore", f"store/{store_id}", old, new))
            return after

        return await self._store.change(merchant_id, work)

    async def stores(self, caller: Caller, merchant_id: str) -> list[Store]:
        async def work(books: Books) -> list[Store]:
            check_reach(caller, books.record)
            return await books.stores()

        return await self._store.read(merchant_id, work)

    async def add_terminal(
        self, caller: Caller, merchant_id: str, terminal_id: str, store_id: str, label: str
    ) -> StoreTerminal:
        """A repeat has no effect. Raises Missing, Exists where it stands elsewhere, NotPossible, TooMany."""

        async def work(books: Books) -> StoreTerminal:
            check_reach(caller, books.record)
            check_state(books.record)
            there = await books.terminal(terminal_id)
            if there is not None:
                if (there.store_id, there.label) != (store_id, label):
                    raise Exists("terminal_id: it is there, with another store or label")
                return there
            if await books.count_terminals() >= self._settings.terminals:
                raise TooMany(f"there are {self._settings.terminals} terminals")
            await _check_open(books, store_id)
            await books.keep_terminal(StoreTerminal(terminal_id, store_id, label))
            return await _told(books, caller, "AddTerminal", terminal_id)

        return await self._store.change(merchant_id, work)

    async def change_terminal(
        self, caller: Caller, merchant_id: str, terminal_id: str, store_id: str | None, label: str | None,
        active: bool | None,
    ) -> StoreTerminal:  # fmt: skip
        """None: stays as it is. Raises Missing, NotPossible."""

        async def work(books: Books) -> StoreTerminal:
            check_reach(caller, books.record)
            check_state(books.record)
            before = await books.terminal(terminal_id)
            if before is None:
                raise Missing("terminal_id: there is no such terminal")
            after = replace(
                before,
                store_id=before.store_id if store_id is None else store_id,
                label=before.label if label is None else label,
                active=before.active if active is None else active,
            )
            if after == before:
                return before
            if after.store_id != before.store_id:
                await _check_open(books, after.store_id)
            await books.keep_terminal(after)
            return await _told(books, caller, "ChangeTerminal", terminal_id, before)

        return await self._store.change(merchant_id, work)

    async def terminals(self, caller: Caller, merchant_id: str, after: str, limit: int) -> list[StoreTerminal]:
        async def work(books: Books) -> None:
            check_reach(caller, books.record)

        await self._store.read(merchant_id, work)
        return await self._store.terminals(merchant_id, after, limit)


async def _store_of(books: Books, store_id: str) -> Store:
    for each in await books.stores():
        if each.id == store_id:
            return each
    raise Missing("store_id: there is no such store")


async def _check_open(books: Books, store_id: str) -> None:
    if not (await _store_of(books, store_id)).active:
        raise NotPossible("store_id: the store is not active")


async def _told(
    books: Books, caller: Caller, act: str, terminal_id: str, before: StoreTerminal | None = None
) -> StoreTerminal:
    """Into the audit trail; returns the terminal as it is now."""
    after = await books.terminal(terminal_id)
    assert after is not None  # it was just kept
    old = fields_of(before) if before is not None else {}
    await books.audit(entry(caller, books.record, act, f"terminal/{terminal_id}", old, fields_of(after)))
    return after
