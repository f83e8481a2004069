"""A person who closes his account: what he is at merchants ends with it."""

from dataclasses import replace
from typing import Final
from uuid import UUID

from switch.domain.access import Caller, Role
from switch.domain.merchant import MerchantState
from switch.domain.refusals import NotPossible
from switch.merchants.people import check_owner_stays, withdraw_invitations
from switch.merchants.reach import WORKING, entry, fields_of
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock

S = MerchantState
_LATEST: Final = (1 << 62, "")
_PAGE: Final = 100


class Leaving:
    """Meets `switch.ports.platform.Belongings`."""

    def __init__(self, store: MerchantStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def give_up(self, who: str, user_id: UUID) -> None:
        """Every role, and applications that wait. Raises NotPossible, having changed nothing, for an only owner.

        Credentials that he made work on, as after RemoveMember; the audit trail names them.
        """
        caller = Caller(who, frozenset({Role.PAYER}), user_id)
        while memberships := await self._store.memberships(user_id):
            for record, _ in memberships:
                await self._store.read(record.id, lambda books: _check(books, user_id))
            for record, _ in memberships:
                await self._store.change(record.id, lambda books: self._leave(books, caller, user_id))
        while waiting := await self._store.applications(who, S.APPLIED, _LATEST, _PAGE):
            for record in waiting:
                await self._store.change(record.id, lambda books: _withdraw(books, caller))

    async def _leave(self, books: Books, caller: Caller, user_id: UUID) -> None:
        await _check(books, user_id)
        member = next((each for each in await books.members() if each.user_id == user_id), None)
        if member is None:
            return
        now_ms = self._clock.time_ms()
        made = [each for each in await books.credentials() if each.is_known_to(caller.name) and each.works(now_ms)]
        await books.remove_member(user_id)
        await withdraw_invitations(books, user_id)
        before, after = fields_of(member), {"working_credentials": [each.id for each in made]}
        await books.audit(entry(caller, books.record, "RemoveMember", f"user/{user_id}", before, after))


async def _check(books: Books, user_id: UUID) -> None:
    """A merchant that is closed needs no owner any more."""
    others = [each for each in await books.members() if each.user_id != user_id]
    if books.record.state in WORKING:
        try:
            check_owner_stays(others)
        except NotPossible:
            raise NotPossible(f"only owner of merchant {books.record.id}: make another one first") from None


async def _withdraw(books: Books, caller: Caller) -> None:
    """Else reviewers would make a merchant whose owner is gone."""
    before = books.record
    if before.state is not S.APPLIED:
        return
    record = replace(before, state=S.REJECTED, reason="the applicant closed the account")
    await books.keep_record(record)
    old, new = {"state": before.state.name}, {"state": record.state.name, "reason": record.reason}
    await books.audit(entry(caller, record, "Apply", f"merchant/{record.id}", old, new))
