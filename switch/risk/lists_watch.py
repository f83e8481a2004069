"""Follows the lists: what changed since it last looked is put into the memory that the road reads, within a second."""

import asyncio
from typing import Final

import structlog

from switch.domain.risk_listing import ListingChange
from switch.following import VersionWatch
from switch.ports import Clock, StoreUnavailable
from switch.ports.risk_cases import ListingFeed, ListsHead
from switch.risk.desk_metrics import LIST_ENTRIES, LIST_REFUSALS
from switch.risk.lists import ListingRefused, Lists
from switch.risk.monitor import LiveRisk

log = structlog.get_logger()

_AT_ONCE: Final = 1_000
_EXPIRED_AT_ONCE: Final = 10_000


class ListsWatch:
    """Keeps `live.lists`. What expires stands for nothing at once, and is taken off by whoever sees it first."""

    def __init__(self, feed: ListingFeed, live: LiveRisk, clock: Clock, interval_s: float = 1.0) -> None:
        self._feed = feed
        self._live = live
        self._clock = clock
        self._head = ListsHead(0, 0)
        self._watch = VersionWatch("risk_lists", self._position, self._take, LIST_REFUSALS, interval_s)

    async def begin(self) -> None:
        """All of them, before anything is judged. Raises StoreUnavailable."""
        await self._watch.begin()

    def start(self) -> None:
        self._watch.start()

    async def close(self) -> None:
        await self._watch.close()

    async def look(self) -> None:
        """Once. Never raises."""
        await self._watch.look()

    def state(self) -> tuple[bool, str]:
        """(whether all entries are in force, a line for an operator)."""
        text = f"lists: {len(self._live.lists):,} entries"
        refused = self._watch.refused
        return refused is None, text if refused is None else f"{text}; not in force here: {refused[1]}"

    async def _position(self) -> int:
        try:
            await self._feed.expire(self._clock.time_ms(), _EXPIRED_AT_ONCE)
        except StoreUnavailable as error:
            log.warning("risk_lists_not_swept", reason=str(error))
        self._head = await self._feed.head()
        return self._head.position

    async def _take(self, position: int) -> None:
        """What was forgotten since is missing in the changes: then all of them, beside those in force."""
        whole = self._watch.version < max(1, self._head.purged)
        lists = Lists() if whole else self._live.lists
        await self._pull(lists, 0 if whole else self._watch.version, position)
        if whole:
            self._live.lists = lists
        LIST_ENTRIES.set(len(lists))
        log.info("risk_lists_in_force", position=position, entries=len(lists))

    async def _pull(self, lists: Lists, after: int, until: int) -> None:
        last: ListingChange | None = None
        while changes := await self._feed.changes(after, until, last, _AT_ONCE):
            for each in changes:
                _put(lists, each)
            last = changes[-1]
            await asyncio.sleep(0)


def _put(lists: Lists, change: ListingChange) -> None:
    listing = change.listing
    if not change.live:
        lists.drop(listing.kind, listing.name, listing.subject, listing.key)
        return
    try:
        lists.put(listing)
    except ListingRefused as error:  # the desk checks the same: only a newer program's entry comes here
        LIST_REFUSALS.labels("entry").inc()
        log.error("risk_listing_refused", name=listing.name, source=listing.source, reason=str(error))
