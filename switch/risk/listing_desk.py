"""The desk of lists: entries are put on and taken off; what would stop honest trade waits for a second person."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.refusals import Invalid, Missing
from switch.domain.risk import Listing, ListKind, Subject
from switch.domain.risk_listing import (
    MOST_A_BATCH,
    BatchState,
    ListingBatch,
    ListingEntry,
    ListingKey,
    Marking,
    StoredListing,
)
from switch.ports import Clock
from switch.ports.risk_cases import Listings, Traffic
from switch.risk.lists import MOST_OF_ONE_KEY, ListingRefused, check_listing
from switch.risk.poisoning import WEIGHED, Impacts, PoisonRules, keys_of, needs_second, united

_DAY_MS: Final = 86_400_000
_COUNTED_AT_ONCE: Final = 2_000
_UNTIL_END_MS: Final = 1 << 62
SERVICE: Final = "RiskCaseService"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Entries that somebody wants on one list. act: the call, for the audit trail. confirmed: whatever they meet, a
    second person is asked (`why` says what for)."""

    kind: ListKind
    name: str
    reason: str
    source: str
    entries: Sequence[ListingEntry]
    act: str = "AddListings"
    why: tuple[str, ...] = ()
    marking: Marking | None = None


class ListingDesk:
    """Raises the refusals of `switch.domain.refusals`, and StoreUnavailable."""

    def __init__(self, listings: Listings, traffic: Traffic, clock: Clock, rules: PoisonRules) -> None:
        self._listings = listings
        self._traffic = traffic
        self._clock = clock
        self._rules = rules

    async def add(self, wanted: Wanted, caller: Caller) -> ListingBatch:
        """On the list at once, or WAITING for a second person where `why` says so."""
        now_ms = self._clock.time_ms()
        entries = _checked(wanted, now_ms)
        why = (*wanted.why, *(await self._why(wanted.kind, entries, caller, now_ms)))
        state = BatchState.WAITING if why else BatchState.APPLIED
        batch = ListingBatch(
            uuid4(), wanted.kind, wanted.name, wanted.reason, wanted.source, len(entries), state, caller.name, now_ms,
            why, wanted.marking,
        )  # fmt: skip
        after = {
            "state": state.name, "kind": wanted.kind.name, "list": wanted.name, "entries": len(entries),
            "reason": wanted.reason, "source": wanted.source,
        }  # fmt: skip
        entry = AuditEntry("", caller.name, f"{SERVICE}.{wanted.act}", f"listing_batch/{batch.id}", {}, after)
        await self._listings.put(batch, entries, entry)
        return batch

    async def decide(self, batch_id: UUID, approves: bool, caller: Caller) -> ListingBatch:
        """A waiting batch is put on its list by another person than asked for it, or refused by anybody."""
        state = BatchState.APPLIED if approves else BatchState.REFUSED
        entry = AuditEntry(
            "", caller.name, f"{SERVICE}.DecideListings", f"listing_batch/{batch_id}",
            {"state": BatchState.WAITING.name}, {"state": state.name},
        )  # fmt: skip
        return await self._listings.decide(batch_id, approves, entry, self._clock.time_ms())

    async def remove(self, which: ListingKey, reason: str, caller: Caller) -> None:
        """The audit trail names the batch that it came with: what is listed, it must not hold."""
        _check_text("reason", reason)
        page = await self._listings.page(which.subject, which.key, which.name, None, MOST_OF_ONE_KEY)
        found = next((each for each in page if each.listing.kind is which.kind), None)
        if found is None:
            raise Missing("there is no such entry")
        before = {
            "kind": which.kind.name, "list": which.name, "subject": which.subject.value, "batch": str(found.batch_id),
            "shown": found.shown,
        }  # fmt: skip
        entry = AuditEntry(
            "", caller.name, f"{SERVICE}.RemoveListing", f"listing/{which.name}", before, {"reason": reason}
        )
        if not await self._listings.remove([which], entry, self._clock.time_ms()):
            raise Missing("there is no such entry")

    async def remove_of_source(self, source: str, act: str, caller: Caller) -> int:
        """All that one source put on lists; how many. What still waits is refused."""
        entry = AuditEntry("", caller.name, f"{SERVICE}.{act}", source, {"listed": True}, {"listed": False})
        return await self._listings.remove_of_source(source, entry, self._clock.time_ms())

    async def page(
        self, subject: Subject | None, key: str, name: str, behind: ListingKey | None, limit: int
    ) -> list[StoredListing]:
        return await self._listings.page(subject, key, name, behind, limit)

    async def batches(self, waiting: bool, before_ms: int, limit: int) -> list[ListingBatch]:
        """The newest first. before_ms: 0 for all."""
        return await self._listings.batches(waiting, before_ms or _UNTIL_END_MS, limit)

    async def _why(
        self, kind: ListKind, entries: Sequence[ListingEntry], caller: Caller, now_ms: int
    ) -> tuple[str, ...]:
        """What one person put on the lists within a day counts together: a flood does not come through in drops."""
        if kind not in WEIGHED:
            return ()
        earlier = await self._listings.unconfirmed_keys(caller.name, now_ms - _DAY_MS)
        impacts = Impacts(united(keys_of(entries), earlier if kind is not ListKind.ALLOW else {}))
        passed = await self._traffic.passed(now_ms - self._rules.days * _DAY_MS)
        for begin in range(0, len(passed), _COUNTED_AT_ONCE):
            impacts.add(passed[begin : begin + _COUNTED_AT_ONCE])
            await asyncio.sleep(0)
        return needs_second(impacts.impact(), self._rules)


def _checked(wanted: Wanted, now_ms: int) -> list[ListingEntry]:
    """Each once, with its latest expiry. Raises Invalid, with the place."""
    if not 0 < len(wanted.entries) <= MOST_A_BATCH:
        raise Invalid("entries", f"must be 1 to {MOST_A_BATCH:,}")
    found: dict[tuple[Subject, str], ListingEntry] = {}
    for number, each in enumerate(wanted.entries):
        try:
            check_listing(
                Listing(
                    wanted.kind, wanted.name, each.subject, each.key, wanted.reason, wanted.source,
                    each.expires_time_ms,
                )
            )  # fmt: skip
        except ListingRefused as error:
            field, _, why = str(error).partition(": ")
            raise Invalid(field if field != "key" else f"entries[{number}]", why) from None
        if 0 < each.expires_time_ms <= now_ms:
            raise Invalid(f"entries[{number}]", "its time has passed")
        found[each.subject, each.key] = _later(found.get((each.subject, each.key)), each)
    return list(found.values())


def _later(one: ListingEntry | None, other: ListingEntry) -> ListingEntry:
    """Both in one: of the later end, from all the objects that say so."""
    if one is None:
        return other
    ends = one.expires_time_ms, other.expires_time_ms
    return replace(other, expires_time_ms=0 if 0 in ends else max(ends), shared=one.shared + other.shared)


def _check_text(field: str, text: str) -> None:
    if not 0 < len(text) <= 200 or not text.isprintable() or not text.strip():
        raise Invalid(field, "printable, 1 to 200 characters")
