"""A merchant that was onboarded: suspended by one person, resumed and closed by two; its contact, its audit trail."""

from dataclasses import replace
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.merchant import MerchantState
from switch.domain.merchant_record import MERCHANT_TRANSITIONS, NONE_ASKED, AskedMove, Contact, MerchantRecord
from switch.domain.refusals import NotPossible
from switch.merchants.reach import check_another, check_reach, check_state, entry, fields_of
from switch.merchants.settings import MerchantSettings
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock

S = MerchantState


class Keeping:
    def __init__(self, store: MerchantStore, clock: Clock, settings: MerchantSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings

    async def suspend(self, caller: Caller, merchant_id: str, reason: str) -> MerchantRecord:
        """By one person, at once. Raises Missing, NotPossible."""

        async def work(books: Books) -> MerchantRecord:
            check_state(books.record, frozenset({S.ACTIVE}))
            return await _move(books, caller, "SuspendMerchant", S.SUSPENDED, reason)

        return await self._store.change(merchant_id, work)

    async def resume(self, caller: Caller, merchant_id: str, reason: str) -> MerchantRecord:
        """By two people: still SUSPENDED after the first. Raises Missing, NotPossible, NotPermitted."""
        return await self._by_two(caller, merchant_id, "ResumeMerchant", S.ACTIVE, reason)

    async def close(self, caller: Caller, merchant_id: str, reason: str) -> MerchantRecord:
        """By two people: not CLOSED after the first. Raises Missing, NotPossible, NotPermitted."""
        return await self._by_two(caller, merchant_id, "CloseMerchant", S.CLOSED, reason)

    async def _by_two(
        self, caller: Caller, merchant_id: str, act: str, target: MerchantState, reason: str
    ) -> MerchantRecord:
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> MerchantRecord:
            before = books.record
            check_state(before)
            if target not in MERCHANT_TRANSITIONS[before.state]:
                raise NotPossible(f"the merchant is {before.state.name}")
            asked = before.asked
            if asked.state is target and now_ms - asked.time_ms <= self._settings.second_person_ms:
                check_another(caller, asked.who)
                return await _move(books, caller, act, target, reason)
            record = replace(before, asked=AskedMove(target, caller.name, reason, now_ms))
            await books.keep_record(record)
            after = {"asked_state": target.name, "reason": reason}
            await books.audit(entry(caller, record, act, f"merchant/{record.id}", after=after))
            return record

        return await self._store.change(merchant_id, work)

    async def change_contact(self, caller: Caller, merchant_id: str, contact: Contact) -> MerchantRecord:
        """Raises Missing, NotPossible."""

        async def work(books: Books) -> MerchantRecord:
            before = books.record
            check_reach(caller, before)
            check_state(before)
            record = replace(before, business=replace(before.business, contact=contact))
            await books.keep_record(record)
            old, new = fields_of(before.business.contact), fields_of(contact)
            await books.audit(entry(caller, record, "ChangeContact", f"merchant/{record.id}", old, new))
            return record

        return await self._store.change(merchant_id, work)

    async def changes(
        self, caller: Caller, merchant_id: str, before: UUID, limit: int
    ) -> list[tuple[UUID, int, AuditEntry]]:
        """(id, Unix milliseconds, entry), newest first. Raises Missing."""

        async def work(books: Books) -> None:
            check_reach(caller, books.record)

        await self._store.read(merchant_id, work)
        return await self._store.changes(merchant_id, before, limit)


async def _move(books: Books, caller: Caller, act: str, target: MerchantState, reason: str) -> MerchantRecord:
    before = books.record
    record = replace(before, state=target, reason=reason, asked=NONE_ASKED)
    await books.keep_record(record)
    if target is S.CLOSED:
        for each in await books.invitations():
            await books.remove_invitation(each.id)
    old = {"state": before.state.name, "reason": before.reason, "asked_by": before.asked.who}
    new = {"state": target.name, "reason": reason, "asked_by": ""}
    await books.audit(entry(caller, record, act, f"merchant/{record.id}", old, new))
    return record
