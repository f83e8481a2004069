"""Indicators of partners. In: signed, bounded, through the gate that every list has. Out: what may leave."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.refusals import Invalid, Missing, NotProved
from switch.domain.risk import ListKind, Subject
from switch.domain.risk_listing import (
    MOST_A_BATCH,
    ListingBatch,
    ListingEntry,
    ListingKey,
    Marking,
    SharedAs,
    StoredListing,
)
from switch.ports import Clock
from switch.ports.risk_cases import Cases, Listings, SharedObjects
from switch.risk.card_tokens import card_key_of, token_of
from switch.risk.listing_desk import SERVICE, ListingDesk, Wanted
from switch.risk.share_signature import PublicKey, verify
from switch.risk.stix_reader import LARGEST_BYTES, Bundle, BundleRefused, Indicator, read_bundle
from switch.risk.stix_writer import Told, address_pattern, card_pattern, write_bundle
from switch.risk.subjects import address_key

_DAY_MS: Final = 86_400_000
# Of one bundle: some 3 MB, and 4 s of a thread (measured: 0.8 ms each).
MOST_TOLD: Final = 5_000
_A_PAGE: Final = 1_000
_MOST_SIGNATURE: Final = 256
# Of what a partner sent, what others may see, too. AMBER is for his recipient's own people and clients.
_PASSED_ON: Final = frozenset({Marking.CLEAR, Marking.GREEN})


@dataclass(frozen=True, slots=True)
class Partner:
    """Somebody whom we tell and believe. id: small letters, digits and _.

    trust: the list that his indicators make. days: after which what he sent, and what he is sent, ends at the latest.
    card_key: 64 bytes that both have, b"" where cards are not shared. marking: of what he is sent of our own.
    """

    id: str
    public_key: PublicKey
    trust: ListKind
    days: int
    marking: Marking = Marking.AMBER
    card_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """batch: None where nothing was new. known: seen before in this version or a later one. expired: their time is
    over. unusable: of what no list has. lifted: entries that came off because they were revoked.
    """

    bundle_id: str
    batch: ListingBatch | None
    indicators: int
    known: int
    expired: int
    unusable: int
    lifted: int


class Sharing:
    """Raises the refusals of `switch.domain.refusals`, and StoreUnavailable."""

    def __init__(
        self, partners: Mapping[str, Partner], sender: str, desk: ListingDesk, listings: Listings,
        shared: SharedObjects, cases: Cases, clock: Clock, most_told: int = MOST_TOLD,
    ) -> None:  # fmt: skip
        self._partners = partners
        self._sender = sender
        self._desk = desk
        self._listings = listings
        self._shared = shared
        self._cases = cases
        self._clock = clock
        self._most_told = most_told

    def partner(self, partner_id: str) -> Partner:
        partner = self._partners.get(partner_id)
        if partner is None:
            raise Missing("there is no such partner")
        return partner

    # --- in -----------------------------------------------------------------------------------------------------------

    async def take(self, partner_id: str, content: bytes, signature: bytes, caller: Caller) -> Imported:
        """A whole bundle or nothing of it. The signature is looked at before anything is read."""
        partner = self.partner(partner_id)
        if len(content) > LARGEST_BYTES:
            raise Invalid("bundle", f"larger than {LARGEST_BYTES:,} bytes")
        if not 0 < len(signature) <= _MOST_SIGNATURE:
            raise NotProved("the bundle is not signed")
        await asyncio.to_thread(verify, partner.public_key, signature, content)
        try:
            bundle = await asyncio.to_thread(read_bundle, content)
        except BundleRefused as refused:
            raise Invalid("bundle", str(refused)) from None
        entries = _entries(partner, bundle.indicators)
        known = await self._shared.known(partner.id, [each.id for each in bundle.indicators])
        return await self._listed(partner, bundle, entries, known, caller)

    async def _listed(
        self, partner: Partner, bundle: Bundle, entries: Sequence[tuple[Indicator, ListingEntry]],
        known: Mapping[str, str], caller: Caller,
    ) -> Imported:  # fmt: skip
        now_ms = self._clock.time_ms()
        new = [(read, entry) for read, entry in entries if known.get(read.id, "") < read.modified]
        # Told with an end that has passed, or taken back: both keep nothing on a list any more.
        over = [read for read, _ in new if read.revoked or _ended(read, now_ms)]
        fresh = [(read, entry) for read, entry in new if not read.revoked and not _ended(read, now_ms)]
        gone = [each for each in over if each.revoked or each.id in known]
        lifted = await self._lift(partner, bundle, gone, caller, now_ms)
        capped = [(read.marking, _capped(entry, read, partner, now_ms)) for read, entry in fresh]
        batch = await self._put(partner, bundle, capped, caller) if capped else None
        expired = sum(1 for each in over if not each.revoked)
        return Imported(
            bundle.id, batch, len(bundle.indicators), len(entries) - len(new), expired, bundle.unusable, lifted
        )

    async def _put(
        self, partner: Partner, bundle: Bundle, entries: Sequence[tuple[Marking, ListingEntry]], caller: Caller
    ) -> ListingBatch:
        """One batch, and so one confirmation; it has the strictest marking of its entries."""
        wanted = Wanted(
            partner.trust, list_name(partner.id), f"shared by {partner.id}", source_of(partner.id),
            [entry for _, entry in entries], "ImportIndicators",
            marking=max(marking for marking, _ in entries),
        )  # fmt: skip
        return await self._desk.add(wanted, caller)

    async def _lift(
        self, partner: Partner, bundle: Bundle, over: Sequence[Indicator], caller: Caller, now_ms: int
    ) -> int:
        if not over:
            return 0
        objects = [SharedAs(partner.id, each.id, each.modified) for each in over]
        after = {"bundle": bundle.id, "revoked": len(objects)}
        entry = AuditEntry("", caller.name, f"{SERVICE}.ImportIndicators", source_of(partner.id), {}, after)
        return await self._shared.revoke(objects, entry, now_ms)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def tell(self, partner_id: str) -> bytes:
        """A bundle of the newest, to be signed by whoever sends it; a reader like ours takes it whole."""
        partner, now_ms = self.partner(partner_id), self._clock.time_ms()
        newest = _Newest(self._most_told)
        for subject in (Subject.IP, Subject.CARD):
            async for each in self._blocked(subject):
                newest.add(_told(each, partner, now_ms))
        for one in await self._confirmed(partner, now_ms):
            newest.add(one)
        return await asyncio.to_thread(write_bundle, self._sender, newest.told(), now_ms)

    async def _blocked(self, subject: Subject) -> AsyncIterator[StoredListing]:
        behind: ListingKey | None = None
        while page := await self._listings.page(subject, "", "", behind, _A_PAGE):
            for each in page:
                yield each
            of = page[-1].listing
            behind = ListingKey(of.kind, of.name, of.subject, of.key)

    async def _confirmed(self, partner: Partner, now_ms: int) -> list[Told]:
        """Cards of cases that were closed as fraud."""
        if not partner.card_key:
            return []
        cases = await self._cases.confirmed(Subject.CARD, now_ms - partner.days * _DAY_MS, MOST_A_BATCH)
        return [
            Told(
                f"case {each.id}", card_pattern(token_of(each.key, partner.card_key)), "confirmed fraud",
                "malicious-activity", each.closed_time_ms, each.closed_time_ms + partner.days * _DAY_MS,
                partner.marking,
            )
            for each in cases
        ]  # fmt: skip


class _Newest:
    """Of each pattern the first that is told; of them all the newest. Never much more than those in memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._told: dict[str, Told] = {}

    def add(self, told: Told | None) -> None:
        if told is None:
            return
        self._told.setdefault(told.pattern, told)
        if len(self._told) > 2 * self._most:
            self._told = {each.pattern: each for each in self.told()}

    def told(self) -> list[Told]:
        return sorted(self._told.values(), key=lambda each: -each.from_ms)[: self._most]


def list_name(partner_id: str) -> str:
    return f"share_{partner_id}"


def source_of(partner_id: str) -> str:
    return f"share/{partner_id}"


def _entries(partner: Partner, indicators: Sequence[Indicator]) -> list[tuple[Indicator, ListingEntry]]:
    """Raises Invalid for a card's token that was made under another key; without a key cards are left out."""
    found, faults = [], []
    for each in indicators:
        shared = (SharedAs(partner.id, each.id, each.modified),)
        if each.address:
            found.append((each, ListingEntry(Subject.IP, address_key(each.address), 0, each.address, shared)))
        elif partner.card_key:
            try:
                key = card_key_of(each.card_token, partner.card_key)
                found.append((each, ListingEntry(Subject.CARD, key, 0, "", shared)))
            except ValueError as error:
                faults.append(f"{each.place}.pattern: {error}")
    if faults:
        raise Invalid("bundle", "\n".join(faults[:20]))
    return found


def _ended(each: Indicator, now_ms: int) -> bool:
    return each.valid_until_ms is not None and each.valid_until_ms <= now_ms


def _capped(entry: ListingEntry, read: Indicator, partner: Partner, now_ms: int) -> ListingEntry:
    latest = now_ms + partner.days * _DAY_MS
    until = latest if read.valid_until_ms is None else min(latest, read.valid_until_ms)
    return ListingEntry(entry.subject, entry.key, until, entry.shown, entry.shared)


def _told(each: StoredListing, partner: Partner, now_ms: int) -> Told | None:
    """None for what may not go to this partner."""
    listing = each.listing
    if listing.kind is not ListKind.BLOCK or listing.source == source_of(partner.id):
        return None
    if each.marking is not None and each.marking not in _PASSED_ON:
        return None
    if listing.subject is Subject.IP and each.shown:
        pattern = address_pattern(each.shown)
    elif listing.subject is Subject.CARD and partner.card_key:
        pattern = card_pattern(token_of(listing.key, partner.card_key))
    else:
        return None
    latest = each.changed_time_ms + partner.days * _DAY_MS
    until = min(latest, listing.expires_time_ms or latest)
    if until <= now_ms:
        return None
    seed = f"{each.batch_id} {listing.subject} {listing.key}"
    marking = partner.marking if each.marking is None else each.marking
    return Told(seed, pattern, f"blocked {listing.subject}", "malicious-activity", each.changed_time_ms, until, marking)
