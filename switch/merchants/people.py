"""A merchant's people: invited by a code, with a role that nobody raises for himself. One owner stays."""

from collections.abc import Callable
from dataclasses import replace
from hmac import compare_digest
from typing import Final
from uuid import UUID

from switch.domain.access import Caller, Role
from switch.domain.merchant_people import (
    INVITATION_PREFIX,
    RANK,
    Invitation,
    Member,
    hash_of,
    parse_secret,
    secret_text,
)
from switch.domain.merchant_record import MerchantRecord
from switch.domain.refusals import Missing, NotPermitted, NotPossible, NotProved, TooMany
from switch.merchants.alerts import Alert
from switch.merchants.reach import WORKING, check_reach, check_state, entry, fields_of
from switch.merchants.settings import MerchantSettings
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock

_WRONG: Final = "the code is not valid"


class People:
    """entropy: number of bytes -> random bytes."""

    def __init__(
        self, store: MerchantStore, clock: Clock, entropy: Callable[[int], bytes], settings: MerchantSettings,
        alert: Alert,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._settings = settings
        self._alert = alert

    # --- invitations --------------------------------------------------------------------------------------------------

    async def invite(self, caller: Caller, merchant_id: str, role: Role, label: str) -> tuple[Invitation, str]:
        """The invitation and its code. Raises Missing, NotPermitted, NotPossible, TooMany."""
        now_ms = self._clock.time_ms()
        identity, code = _named(merchant_id, self._entropy)
        expires_ms = now_ms + self._settings.invitation_ms
        fresh = Invitation(identity, role, label, hash_of(code), caller.name, expires_ms)

        async def work(books: Books) -> None:
            check_reach(caller, books.record)
            check_state(books.record)
            check_may_give(await rank_in(books, caller), role)
            open_ones = 0
            for each in await books.invitations():
                if each.expires_time_ms <= now_ms:
                    await books.remove_invitation(each.id)
                else:
                    open_ones += 1
            if open_ones >= self._settings.invitations:
                raise TooMany(f"{open_ones} invitations are open")
            await books.keep_invitation(fresh)
            await books.audit(entry(caller, books.record, "Invite", f"invitation/{identity}", after=fields_of(fresh)))

        await self._store.change(merchant_id, work)
        return fresh, code

    async def revoke_invitation(self, caller: Caller, merchant_id: str, invitation_id: str) -> None:
        """Raises Missing, NotPermitted."""

        async def work(books: Books) -> None:
            check_reach(caller, books.record)
            found = next((each for each in await books.invitations() if each.id == invitation_id), None)
            if found is None:
                raise Missing("invitation_id: there is no such invitation")
            check_may_give(await rank_in(books, caller), found.role)
            await books.remove_invitation(invitation_id)
            subject = f"invitation/{invitation_id}"
            await books.audit(entry(caller, books.record, "RevokeInvitation", subject, fields_of(found)))

        await self._store.change(merchant_id, work)

    async def redeem(self, caller: Caller, code: str) -> tuple[str, Role]:
        """(merchant, role). Raises NotProved for whatever is wrong with the code, NotPossible, TooMany."""
        named, now_ms, user_id = parse_secret(INVITATION_PREFIX, code), self._clock.time_ms(), caller.user_id
        if named is None:
            raise NotProved(_WRONG)
        if user_id is None:
            raise NotPermitted("a person must do this")
        merchant_id, identity = named

        async def work(books: Books) -> Member:
            found = next((each for each in await books.invitations() if each.id == identity), None)
            proved = found is not None and compare_digest(found.code_hash, hash_of(code))
            if found is None or not proved or found.expires_time_ms <= now_ms or books.record.state not in WORKING:
                raise NotProved(_WRONG)
            members = await books.members()
            if any(each.user_id == user_id for each in members):
                raise NotPossible("the caller has a role at this merchant already")
            if len(members) >= self._settings.members:
                raise TooMany(f"the merchant has {len(members)} people")
            member = Member(user_id, found.role, found.invited_by, now_ms)
            await books.remove_invitation(identity)
            await books.keep_member(member)
            after = fields_of(member) | {"invitation": identity}
            await books.audit(entry(caller, books.record, "RedeemInvitation", _subject(user_id), after=after))
            return member

        try:
            member = await self._store.change(merchant_id, work)
        except Missing:
            raise NotProved(_WRONG) from None
        if member.role is Role.MERCHANT_OWNER:
            self._alert(merchant_id, "owner", f"{caller.name} is an owner, invited by {member.added_by}")
        return merchant_id, member.role

    # --- roles --------------------------------------------------------------------------------------------------------

    async def change_role(self, caller: Caller, merchant_id: str, user_id: UUID, role: Role) -> Member:
        """Raises Missing, NotPermitted, NotPossible for the last owner."""

        async def work(books: Books) -> Member:
            check_reach(caller, books.record)
            check_state(books.record)
            rank = await rank_in(books, caller)
            before, others = await _member_of(books, user_id)
            if user_id != caller.user_id:
                check_may_give(rank, before.role)
                check_may_give(rank, role)
            elif RANK[role] > rank:
                raise NotPermitted("nobody raises himself")
            after = replace(before, role=role)
            if after == before:
                return before
            check_owner_stays([*others, after])
            await books.keep_member(after)
            await withdraw_invitations(books, user_id)
            old, new = fields_of(before), fields_of(after)
            await books.audit(entry(caller, books.record, "ChangeRole", _subject(user_id), old, new))
            return after

        member = await self._store.change(merchant_id, work)
        if role is Role.MERCHANT_OWNER:
            self._alert(merchant_id, "owner", f"user/{user_id} is an owner, by {caller.name}")
        return member

    async def remove(self, caller: Caller, merchant_id: str, user_id: UUID) -> list[str]:
        """The working credentials that this person made or rotated.

        Raises Missing, NotPermitted, NotPossible: the last owner.
        """
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> list[str]:
            check_reach(caller, books.record)
            rank = await rank_in(books, caller)
            before, others = await _member_of(books, user_id)
            if user_id != caller.user_id:
                check_may_give(rank, before.role)
            check_owner_stays(others)
            await books.remove_member(user_id)
            await withdraw_invitations(books, user_id)
            await books.audit(entry(caller, books.record, "RemoveMember", _subject(user_id), fields_of(before)))
            made = [each for each in await books.credentials() if each.is_known_to(f"user/{user_id}")]
            return [each.id for each in made if each.works(now_ms)]

        return await self._store.change(merchant_id, work)

    async def of(self, caller: Caller, merchant_id: str) -> tuple[list[Member], list[Invitation]]:
        """People and open invitations. Raises Missing."""
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> tuple[list[Member], list[Invitation]]:
            check_reach(caller, books.record)
            open_ones = [each for each in await books.invitations() if now_ms < each.expires_time_ms]
            return await books.members(), open_ones

        return await self._store.read(merchant_id, work)

    async def memberships(self, caller: Caller) -> list[tuple[MerchantRecord, Member]]:
        return await self._store.memberships(caller.user_id) if caller.user_id is not None else []


async def rank_in(books: Books, caller: Caller) -> int:
    """As it is now, not as it was when the call came in. An acquirer stands above its merchant's people.

    Raises NotPermitted for a credential: people and secrets are changed by people.
    """
    if Role.ACQUIRER in caller.roles:
        return RANK[Role.MERCHANT_OWNER]
    if caller.user_id is None:
        raise NotPermitted("a person must do this")
    for each in await books.members():
        if each.user_id == caller.user_id:
            return RANK[each.role]
    raise NotPermitted("not open to the caller's role")


def check_may_give(rank: int, role: Role) -> None:
    """An owner gives and takes every role; anybody else those below his own."""
    if rank != RANK[Role.MERCHANT_OWNER] and RANK[role] >= rank:
        raise NotPermitted("the role is not below the caller's own")


def check_owner_stays(members: list[Member]) -> None:
    if all(each.role is not Role.MERCHANT_OWNER for each in members):
        raise NotPossible("one owner must stay")


async def _member_of(books: Books, user_id: UUID) -> tuple[Member, list[Member]]:
    """(this one, all others)"""
    members = await books.members()
    found = next((each for each in members if each.user_id == user_id), None)
    if found is None:
        raise Missing("user_id: this user has no role at the merchant")
    return found, [each for each in members if each is not found]


async def withdraw_invitations(books: Books, user_id: UUID) -> None:
    """Who loses a role has given none that still wait."""
    for each in await books.invitations():
        if each.invited_by == f"user/{user_id}":
            await books.remove_invitation(each.id)


def _named(merchant_id: str, entropy: Callable[[int], bytes]) -> tuple[str, str]:
    """(id, code)"""
    identity = f"{merchant_id}-{entropy(6).hex()}"
    return identity, secret_text(INVITATION_PREFIX, identity, entropy(32))


def _subject(user_id: UUID) -> str:
    return f"user/{user_id}"
