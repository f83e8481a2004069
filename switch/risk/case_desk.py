"""The desk of cases: an analyst takes one, notes what he finds, acts, and closes it with an outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.refusals import Invalid, Missing, NotPossible
from switch.domain.risk import ListKind, Subject
from switch.domain.risk_case import Case, CaseAction, CaseChange, CaseFile, CaseOutcome, CaseQueue, CaseState
from switch.domain.risk_listing import ListingBatch, ListingEntry
from switch.ports import Clock
from switch.ports.risk_cases import Cases, Traffic
from switch.risk.listing_desk import SERVICE, ListingDesk, Wanted
from switch.risk.packing import unpack_subjects

_DAY_MS: Final = 86_400_000
_LONGEST_NOTE: Final = 2_000
_LONGEST_REASON: Final = 200
_LISTS: Final[Mapping[CaseAction, tuple[ListKind, str]]] = {
    CaseAction.FREEZE: (ListKind.BLOCK, "case_freeze"),
    CaseAction.STEP_UP: (ListKind.STEP_UP, "case_step_up"),
}
_A_MERCHANT: Final = "a merchant is frozen by two persons"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to a subject: the case's own, or another one of a payment of the case.

    payment: (merchant id, authorization id), None for the case's own subject. expires_time_ms: 0 for the settings'.
    """

    action: CaseAction
    reason: str
    subject: Subject | None = None
    payment: tuple[str, UUID] | None = None
    expires_time_ms: int = 0


class CaseDesk:
    """Raises the refusals of `switch.domain.refusals`, and StoreUnavailable. freeze_days: how long a freeze stands."""

    def __init__(self, cases: Cases, listings: ListingDesk, traffic: Traffic, clock: Clock, freeze_days: int) -> None:
        self._cases = cases
        self._listings = listings
        self._traffic = traffic
        self._clock = clock
        self._freeze_ms = freeze_days * _DAY_MS

    # --- reading ------------------------------------------------------------------------------------------------------

    async def queue(self, wanted: CaseQueue, behind: Case | None, limit: int) -> list[Case]:
        """The most severe first."""
        return await self._cases.queue(wanted, behind, limit)

    async def file(self, case_id: UUID) -> CaseFile:
        found = await self._cases.file(case_id)
        if found is None:
            raise Missing("there is no such case")
        return found

    # --- working on it ------------------------------------------------------------------------------------------------

    async def take(self, case_id: UUID, caller: Caller) -> Case:
        """Of two who take it at once one has it. Told again by him, it changes nothing."""
        case = (await self.file(case_id)).case
        if case.assigned_to == caller.name:
            return case
        if case.assigned_to:
            raise NotPossible(f"it is {case.assigned_to}'s")
        return await self._change(case, CaseChange("taken", "", assigned_to=caller.name), "TakeCase", caller)

    async def assign(self, case_id: UUID, assigned_to: str, version: int, caller: Caller) -> Case:
        """To somebody, or to nobody (""). version: as the caller saw it."""
        if assigned_to and not _is_name(assigned_to):
            raise Invalid("assigned_to", "must be risk/<id>")
        case = replace((await self.file(case_id)).case, version=version)
        text = f"to {assigned_to or 'nobody'}"
        return await self._change(case, CaseChange("assigned", text, assigned_to=assigned_to), "AssignCase", caller)

    async def note(self, case_id: UUID, text: str, caller: Caller) -> Case:
        """Never a card number: notes are not searched for them."""
        case = replace((await self.file(case_id)).case, version=0)
        note = _text("text", text, _LONGEST_NOTE)
        if case.state is CaseState.CLOSED:
            raise NotPossible("it is closed: reopen it first")
        return await self._change(case, CaseChange("noted", note), "AddCaseNote", caller)

    async def close(self, case_id: UUID, outcome: CaseOutcome, text: str, version: int, caller: Caller) -> Case:
        """Its payments are labelled. A false alarm lifts what the case did."""
        case = (await self.file(case_id)).case
        if case.assigned_to not in ("", caller.name):
            raise NotPossible(f"it is {case.assigned_to}'s")
        note = _text("text", text, _LONGEST_NOTE)
        change = CaseChange(f"closed as {outcome.name}", note, assigned_to=caller.name, closes_as=outcome)
        closed = await self._change(replace(case, version=version or case.version), change, "CloseCase", caller)
        if outcome is CaseOutcome.FALSE_ALARM:
            await self._listings.remove_of_source(_source(case_id), "CloseCase", caller)
        return closed

    async def reopen(self, case_id: UUID, text: str, caller: Caller) -> Case:
        """Its labels are taken back."""
        case = (await self.file(case_id)).case
        note = _text("text", text, _LONGEST_NOTE)
        return await self._change(case, CaseChange("reopened", note, caller.name, reopens=True), "ReopenCase", caller)

    async def act(self, case_id: UUID, deed: Deed, caller: Caller) -> tuple[Case, ListingBatch | None]:
        """What was done; the batch WAITS where a second person confirms: `ListingDesk.decide`. None for LIFT."""
        file = await self.file(case_id)
        reason = _text("reason", deed.reason, _LONGEST_REASON)
        if deed.action is CaseAction.LIFT:
            lifted = await self._listings.remove_of_source(_source(case_id), "ActOnCase", caller)
            return await self._tell(file.case, f"LIFT: {lifted} entries; {reason}", caller), None
        if file.case.state is CaseState.CLOSED:
            raise NotPossible("it is closed: reopen it first")
        subject, key = await self._subject(file, deed)
        kind, name = _LISTS[deed.action]
        expires_ms = deed.expires_time_ms or self._clock.time_ms() + self._freeze_ms
        why = (_A_MERCHANT,) if subject is Subject.MERCHANT and kind is ListKind.BLOCK else ()
        entry = ListingEntry(subject, key, expires_ms)
        wanted = Wanted(kind, name, reason, _source(case_id), [entry], "ActOnCase", why)
        batch = await self._listings.add(wanted, caller)
        told = f"{deed.action.name} of the {subject}, {batch.state.name}: {reason}"
        return await self._tell(file.case, told, caller), batch

    async def _subject(self, file: CaseFile, deed: Deed) -> tuple[Subject, str]:
        if deed.payment is None:
            if deed.subject not in (None, file.case.subject):
                raise Invalid("subject", "name a payment of the case to act on another subject than the case's own")
            return file.case.subject, file.case.key
        if deed.subject is None:
            raise Invalid("subject", "must say which subject of the payment")
        if deed.payment not in {(each.merchant_id, each.authorization_id) for each in file.payments}:
            raise Invalid("authorization_id", "is no payment of this case")
        packed = await self._traffic.subjects(*deed.payment)
        key = None if packed is None else unpack_subjects(packed).get(deed.subject)
        if key is None:
            raise NotPossible(f"that payment names no {deed.subject}")
        return deed.subject, key

    async def _tell(self, case: Case, text: str, caller: Caller) -> Case:
        """A closed case keeps its history as it is; the audit trail has the lift."""
        if case.state is CaseState.CLOSED:
            return case
        return await self._change(replace(case, version=0), CaseChange("acted", text), "ActOnCase", caller)

    async def _change(self, case: Case, change: CaseChange, call: str, caller: Caller) -> Case:
        before, after = {"version": case.version}, {"act": change.act}
        if change.assigned_to is not None:
            after["assigned_to"] = change.assigned_to
        entry = AuditEntry("", caller.name, f"{SERVICE}.{call}", f"case/{case.id}", before, after)
        return await self._cases.change(case.id, case.version, change, entry, self._clock.time_ms())


def _source(case_id: UUID) -> str:
    return f"case/{case_id}"


def _is_name(text: str) -> bool:
    role, _, person = text.partition("/")
    return role == "risk" and 0 < len(person) <= 64 and person.isprintable() and " " not in person


def _text(field: str, text: str, longest: int) -> str:
    if not 0 < len(text) <= longest or not text.strip() or not text.replace("\n", "").isprintable():
        raise Invalid(field, f"printable, 1 to {longest:,} characters")
    return text
