"""The road goes first: when a follower of the journal may take its next step, and for how long it may hold the loop.

Followers share the road's thread and its PostgreSQL. What they do may wait for seconds; an authorization may not.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

# How long a follower's Python may run before the road gets the loop. A tenth of it is a row's work, at most.
HOLD_S: Final = 0.001
# How often whoever waits looks whether the road is still busy.
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds behind the journal's end. Up to insist_after_s a follower waits while the road is busy; then it goes on,
    resting after each step as long as the step took; from no_rest_after_s on it goes without rests."""

    insist_after_s: float = 3.0
    no_rest_after_s: float = 30.0


class RightOfWay:
    """One per process. busy: whether the road has so much to do that followers wait. They go one at a time, in turn."""

    def __init__(
        self,
        busy: Callable[[], bool] = lambda: False,
        patience: Patience = Patience(),
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._busy = busy
        self._patience = patience
        self._sleep = sleep
        self._turns = asyncio.Lock()
        self.clock_s = clock_s

    @asynccontextmanager
    async def turn(self, behind_s: Callable[[], float]) -> AsyncIterator[None]:
        """Entered when the follower may step; behind_s: how far it is behind just now."""
        while self._busy() and behind_s() < self._patience.insist_after_s:
            await self._sleep(_LOOK_S)
        async with self._turns:
            begun_s = self.clock_s()
            yield
            took_s = self.clock_s() - begun_s
            if self._busy() and behind_s() < self._patience.no_rest_after_s:
                await self._sleep(took_s)


class Progress:
    """How far behind a follower is, by what it saw: everything there was at some moment is worked by now."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._worked_s = clock_s()
        self._mark: tuple[int, float] | None = None
        self.waiting = 0

    def seen(self, last: int, worked: int, at_s: float) -> None:
        """At at_s the last position was `last`, and `worked` the last that was worked."""
        self.waiting = max(0, last - worked)
        if self._mark is not None and worked >= self._mark[0]:
            self._worked_s, self._mark = self._mark[1], None
        if worked >= last:
            self._worked_s = at_s
        elif self._mark is None:
            self._mark = (last, at_s)

    def behind_s(self) -> float:
        """Seconds since the moment up to which everything is worked."""
        return self._clock_s() - self._worked_s


async def in_slices(
    items: Iterable[T], hold_s: float = HOLD_S, clock_s: Callable[[], float] = time.perf_counter
) -> AsyncIterator[T]:
    """The items; the loop is given back whenever what is done with them has held it for hold_s."""
    until_s = clock_s() + hold_s
    for item in items:
        yield item
        if clock_s() >= until_s:
            await asyncio.sleep(0)
            until_s = clock_s() + hold_s
