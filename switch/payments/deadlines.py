"""One clock hand for all deadlines: they are kept in slots of a few milliseconds, with a timer per slot.

A timer of its own for every transaction would wake the loop thousands of times a second, nearly always in vain: the
answer has come long before. A slot's callbacks run up to one slot early, never late.
"""

import asyncio
from collections.abc import Callable

Expired = Callable[[], None]

SLOT_S = 0.004


class Deadlines:
    """Calls back at `loop.time()` deadlines. Callbacks look for themselves whether there is anything left to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Expired]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def at(self, deadline_s: float, expired: Expired) -> None:
        slot = int(deadline_s / SLOT_S)
        waiting = self._slots.get(slot)
        if waiting is not None:
            waiting.append(expired)
            return
        self._slots[slot] = [expired]
        self._timers[slot] = self._loop.call_at(slot * SLOT_S, self._expire, slot)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._slots.clear()
        self._timers.clear()

    def _expire(self, slot: int) -> None:
        self._timers.pop(slot, None)
        for expired in self._slots.pop(slot, ()):
            expired()
