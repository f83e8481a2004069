"""Closing a business day: everything of it is in the ledger, then nothing more comes, then it is summed."""

import asyncio
from datetime import date
from typing import Final

import structlog

from switch.domain.books import ClosedDay
from switch.domain.business_day import begins_ms, ends_ms
from switch.domain.refusals import Invalid, NotPossible
from switch.ports import Clock
from switch.settlement.store import Days, Feed, Follower, Reserves

log = structlog.get_logger()

# Somebody else may be entering just now.
_PAUSE_S: Final = 0.1


class DayClose:
    """grace_s: from the day's end to when it may be closed. patience_s: how long the ledger may take to catch up.

    early: a day may be closed before it is over, or has begun; what comes later is of the first open day, as always.
    """

    def __init__(
        self, days: Days, reserves: Reserves, feed: Feed, follower: Follower, clock: Clock,
        grace_s: int = 300, patience_s: float = 120.0, *, early: bool = False,
    ) -> None:  # fmt: skip
        self._days = days
        self._reserves = reserves
        self._feed = feed
        self._follower = follower
        self._clock = clock
        self._grace_ms = grace_s * 1000
        self._patience_s = patience_s
        self._early = early

    async def close(self, day: str, by: str) -> ClosedDay:
        """The closed day; the same again where it was closed before. What was interrupted is taken up where it broke.

        Raises Invalid, NotPossible (too early, an earlier day is open, the feed is not complete) and StoreUnavailable.
        """
        known = await self._days.day(checked_day(day))
        if known is not None and known.closed_time_ms is not None:
            return known
        if known is None:
            await self._seal(day, by)
        closed = await self._days.sum_up(day, self._clock.time_ms())
        log.info("day_closed", day=day, transactions=closed.transactions, digest=closed.digest.hex())
        return closed

    async def _seal(self, day: str, by: str) -> None:
        if not self._early and self._clock.time_ms() < ends_ms(day) + self._grace_ms:
            raise NotPossible(f"{day} is not over, or only just: it may be closed {self._grace_ms // 1000} s later")
        await self._feed.complete_day(date.fromisoformat(day))
        position = await self._days.fed()
        await self._catch_up(position)
        await self._reserves.release_due(day, self._clock.time_ms())
        await self._days.seal(day, by, position, self._clock.time_ms())

    async def _catch_up(self, position: int) -> None:
        until_s = self._clock.monotonic_s() + self._patience_s
        while (followed := await self._days.followed()) < position:
            if self._clock.monotonic_s() >= until_s:
                raise NotPossible(f"the ledger is at event {followed} of {position}: try again later")
            if not await self._follower.step():
                await asyncio.sleep(_PAUSE_S)


def checked_day(day: str, field: str = "day") -> str:
    """Raises Invalid for what is no ISO date as `date.isoformat` writes it."""
    try:
        begins_ms(day)
    except ValueError:
        raise Invalid(field, "must be YYYY-MM-DD") from None
    if len(day) != 10:
        raise Invalid(field, "must be YYYY-MM-DD")
    return day
