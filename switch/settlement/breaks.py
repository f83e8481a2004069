"""What people do with breaks: take on, note, resolve, and write off by two of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Final, Protocol
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.reconciliation import ACTIVE, AgeBucket, Break, BreakState, Note
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible
from switch.ports import Clock
from switch.settlement.reconcile import business_day
from switch.store.breaks import Act, Wanted

LONGEST_TEXT: Final = 2_000
_SERVICE: Final = "ReconciliationService"

Decide = Callable[[Break], Break]


class Store(Protocol):
    """The durable side. Raises StoreUnavailable."""

    async def page(self, wanted: Wanted, after: tuple[str, UUID], limit: int) -> list[Break]: ...

    async def ages(self, channel: str, now_ms: int) -> list[AgeBucket]: ...

    async def find(self, channel: str, identity: UUID) -> Break | None: ...

    async def note(self, channel: str, identity: UUID, act: str, caller: Caller, note: Note) -> Break: ...

    async def change(self, channel: str, identity: UUID, act: Act) -> Break: ...


class Breaks:
    """Every change raises Missing, NotPossible (not in this state), NotPermitted (not this person), Invalid (text)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def page(self, wanted: Wanted, after: tuple[str, UUID], limit: int) -> list[Break]:
        return await self._store.page(wanted, after, limit)

    async def ages(self, channel: str) -> list[AgeBucket]:
        return await self._store.ages(channel, self._clock.time_ms())

    async def find(self, channel: str, identity: UUID) -> Break:
        found = await self._store.find(channel, identity)
        if found is None:
            raise Missing("no such break")
        return found

    async def note(self, channel: str, identity: UUID, caller: Caller, text: str) -> Break:
        note = Note(caller.person, _checked("text", text), self._clock.time_ms())
        return await self._store.note(channel, identity, f"{_SERVICE}.NoteBreak", caller, note)

    async def assign(self, channel: str, identity: UUID, caller: Caller, assignee: str) -> Break:
        """assignee "": the caller. A write-off that was proposed is taken back by it."""
        to = _checked("assignee", assignee or caller.person)

        def decide(found: Break) -> Break:
            _must_be_active(found)
            return replace(found, state=BreakState.ASSIGNED, assignee=to, proposed_by="", reason="")

        return await self._change(channel, identity, caller, "AssignBreak", decide)

    async def resolve(self, channel: str, identity: UUID, caller: Caller, reason: str) -> Break:
        """By its assignee: it is explained, and no money of ours is lost. What stood in suspense leaves it."""
        why = _checked("reason", reason)

        def decide(found: Break) -> Break:
            _must_be_assigned_to(found, caller)
            return replace(
                found, state=BreakState.RESOLVED, reason=why, proposed_by="", closed_by=caller.person,
                closed_time_ms=self._clock.time_ms(),
            )  # fmt: skip

        return await self._change(channel, identity, caller, "ResolveBreak", decide)

    async def propose_write_off(self, channel: str, identity: UUID, caller: Caller, reason: str) -> Break:
        """By its assignee: the difference shall become a loss, or a gain."""
        why = _checked("reason", reason)

        def decide(found: Break) -> Break:
            _must_be_assigned_to(found, caller)
            if found.found.difference_minor == 0:
                raise NotPossible("there is no amount to write off: resolve it")
            return replace(found, state=BreakState.PROPOSED, reason=why, proposed_by=caller.person)

        return await self._change(channel, identity, caller, "ProposeWriteOff", decide)

    async def approve_write_off(self, channel: str, identity: UUID, caller: Caller, difference_minor: int) -> Break:
        """By another person than who proposed it. difference_minor: as the approver saw it; another one by now is
        NotPossible."""

        def decide(found: Break) -> Break:
            if found.state is not BreakState.PROPOSED:
                raise NotPossible("no write-off is proposed")
            if caller.person in (found.proposed_by, found.assignee):
                raise NotPermitted("a write-off is approved by another person than its proposer")
            if found.found.difference_minor != difference_minor:
                raise NotPossible("the difference is another one by now")
            return replace(
                found, state=BreakState.WRITTEN_OFF, closed_by=caller.person, closed_time_ms=self._clock.time_ms()
            )

        return await self._change(channel, identity, caller, "ApproveWriteOff", decide)

    async def _change(self, channel: str, identity: UUID, caller: Caller, name: str, decide: Decide) -> Break:
        now_ms = self._clock.time_ms()
        today: date = business_day(now_ms)
        return await self._store.change(channel, identity, Act(f"{_SERVICE}.{name}", caller, now_ms, today, decide))


def _must_be_active(found: Break) -> None:
    if found.state not in ACTIVE:
        raise NotPossible(f"it is {found.state.name}")


def _must_be_assigned_to(found: Break, caller: Caller) -> None:
    _must_be_active(found)
    if found.state is BreakState.OPEN:
        raise NotPossible("nobody has taken it on: assign it first")
    if found.assignee != caller.person:
        raise NotPermitted("it is assigned to another person")


def _checked(field: str, text: str) -> str:
    text = text.strip()
    if not text:
        raise Invalid(field, "is missing")
    if len(text) > LONGEST_TEXT or not all(each.isprintable() or each == "\n" for each in text):
        raise Invalid(field, f"must be printable, {LONGEST_TEXT} characters at most")
    return text
