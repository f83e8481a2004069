"""A user who has lost every factor: one person asks, another approves, and it is done after a wait; he is told of each.

Afterwards the account is as one without a password and a second factor: whoever reads what is sent to its login sets a
new password. So whoever has that mailbox or number, and two reviewers, has the account: the wait is for its owner.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.account import Account, AlertKind, Rescue, RescueState
from switch.domain.audit import AuditEntry
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible
from switch.users.messages import Alerts
from switch.users.passwords import Passwords
from switch.users.registration import login_from
from switch.users.session_book import SessionBook
from switch.users.world import World, parsed_id

_WEEK_MS: Final = 7 * 86_400_000
_LONGEST_REASON: Final = 200


class RescueDesk:
    def __init__(self, world: World, book: SessionBook, alerts: Alerts, passwords: Passwords) -> None:
        self._world = world
        self._book = book
        self._alerts = alerts
        self._passwords = passwords
        self._store = world.stores.rescues

    async def request(self, caller: Caller, login_text: str, reason: str) -> Rescue:
        """The user is told before it is written. Raises Invalid, Missing, NotPossible."""
        why = reason.strip()
        if not 0 < len(why) <= _LONGEST_REASON or not why.isprintable():
            raise Invalid("reason", f"must have 1 to {_LONGEST_REASON} characters that show")
        world = self._world
        account = await world.stores.accounts.by_login(await world.seals.login_hash(login_from(login_text)))
        if account is None:
            raise Missing("no such user")
        if not account.has_second_factor:
            raise NotPossible("there is no second factor: a new password is enough")
        now_ms = world.now_ms()
        if await self._store.open_of(account.id, now_ms) is not None:
            raise NotPossible("one is under way")
        await self._alerts.tell(account, AlertKind.RESCUE_REQUESTED, "")
        rescue = Rescue(
            world.new_id(),
            account.id,
            RescueState.REQUESTED,
            why,
            caller.name,
            now_ms,
            expires_time_ms=now_ms + _WEEK_MS,
        )
        entry = _act(caller, "RequestRescue", rescue, {}, {"state": "requested", "reason": why})
        if not await self._store.add(rescue, entry):
            raise NotPossible("one is under way")
        return rescue

    async def approve(self, caller: Caller, rescue_id: str) -> Rescue:
        """By another person; the wait begins. Raises Missing, NotPermitted, NotPossible."""
        rescue, account = await self._open(rescue_id, RescueState.REQUESTED)
        if rescue.requested_by.partition("/")[2] == caller.person:
            raise NotPermitted("another person than asked for it must approve it")
        from_ms = self._world.now_ms() + self._world.settings.rescue_wait_ms
        approved = replace(
            rescue, state=RescueState.APPROVED, approved_by=caller.name, from_time_ms=from_ms,
            expires_time_ms=from_ms + _WEEK_MS,
        )  # fmt: skip
        await self._alerts.tell(account, AlertKind.RESCUE_APPROVED, "")
        entry = _act(caller, "ApproveRescue", rescue, {"state": "requested"}, {"state": "approved"})
        if not await self._store.approve(approved, entry):
            raise NotPossible("it is not open any more")
        return approved

    async def complete(self, caller: Caller, rescue_id: str) -> None:
        """Raises Missing, NotPossible: not yet, not any more, or he has shown a second factor since."""
        rescue, account = await self._open(rescue_id, RescueState.APPROVED)
        now_ms = self._world.now_ms()
        if now_ms < rescue.from_time_ms:
            raise NotPossible("the wait is not over")
        after = {"state": "completed", "password": "void", "second_factors": "removed", "sessions": "ended"}
        entry = _act(caller, "CompleteRescue", rescue, {"state": "approved"}, after | {"devices": "revoked"})
        if not await self._store.complete(rescue, caller.name, self._passwords.nobody, now_ms, entry):
            raise NotPossible("it is not open any more, or the user has shown a second factor since")
        await self._alerts.tell(account, AlertKind.RESCUED, "")

    async def stop(self, caller: Caller, rescue_id: str) -> None:
        """Of a user: his own, whatever it is called. Raises Missing, NotProved, NotPossible."""
        if caller.session_id is not None:
            account, _ = await self._book.own(caller)
            rescue = await self._store.open_of(account.id, self._world.now_ms())
            if rescue is None:
                raise Missing("there is no rescue")
        else:
            rescue = await self._named(rescue_id)
        entry = _act(caller, "StopRescue", rescue, {"state": rescue.state.name.lower()}, {"state": "stopped"})
        if not await self._store.stop(rescue.id, caller.name, self._world.now_ms(), entry):
            raise NotPossible("it is not open any more")

    async def _open(self, rescue_id: str, state: RescueState) -> tuple[Rescue, Account]:
        rescue = await self._named(rescue_id)
        if rescue.state is not state or self._world.now_ms() >= rescue.expires_time_ms:
            raise NotPossible(f"it is not {state.name.lower()}, or not any more")
        account = await self._world.stores.accounts.get(rescue.user_id)
        if account is None:
            raise NotPossible("the account is closed")
        return rescue, account

    async def _named(self, rescue_id: str) -> Rescue:
        identity: UUID | None = parsed_id(rescue_id)
        rescue = await self._store.get(identity) if identity is not None else None
        if rescue is None:
            raise Missing("there is no such rescue")
        return rescue


def _act(
    caller: Caller, act: str, rescue: Rescue, before: Mapping[str, object], after: Mapping[str, object]
) -> AuditEntry:  # fmt: skip
    return AuditEntry(
        "", caller.name, f"UserService.{act}", f"user/{rescue.user_id}", before, {**after, "rescue": str(rescue.id)}
    )
