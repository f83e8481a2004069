"""Deadlines of many calls on one timer."""

import asyncio
import heapq
from collections.abc import Callable


class Expiries:
    """Calls `expire` with the numbers whose time has come, at most one tick late.

    Adding costs a dictionary look-up; a timer per call would cost more than the rest of the call. Numbers are not
    taken out when their call ends: `expire` ignores those it does not know any more.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, expire: Callable[[list[int]], None], tick_s: float = 0.01
    ) -> None:
        self._loop = loop
        self._expire = expire
        self._tick_s = tick_s
        self._numbers: dict[int, list[int]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, number: int, at_s: float) -> None:
        """at_s: `loop.time()`."""
        tick = int(at_s / self._tick_s) + 1
        numbers = self._numbers.get(tick)
        if numbers is not None:
            numbers.append(number)
            return
        self._numbers[tick] = [number]
        heapq.heappush(self._ticks, tick)
        if self._ticks[0] == tick:
            self._set_timer()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._ticks.clear()
        self._numbers.clear()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._ticks[0] * self._tick_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        due: list[int] = []
        # A timer may ring a clock resolution early: what is due by half a tick is due.
        while self._ticks and self._ticks[0] * self._tick_s <= now_s + self._tick_s / 2:
            due += self._numbers.pop(heapq.heappop(self._ticks))
        if self._ticks:
            self._set_timer()
        self._expire(due)
