"""One clock hand for all deadlines: a heap and a single timer instead of a timer per transaction."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

Expired = Callable[[], None]


class Deadlines:
    """Calls back at `loop.time()` deadlines. Callbacks look for themselves whether there is anything left to do."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Expired]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    def at(self, deadline_s: float, expired: Expired) -> None:
        heapq.heappush(self._heap, (deadline_s, next(self._order), expired))
        if self._timer is None or deadline_s < self._timer_s:
            self._arm(deadline_s)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def _arm(self, deadline_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = deadline_s
        self._timer = asyncio.get_running_loop().call_at(deadline_s, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        # The loop's clock is coarse: what falls due within a millisecond is taken now rather than woken for again.
        now_s = asyncio.get_running_loop().time() + 0.001
        while self._heap and self._heap[0][0] <= now_s:
            heapq.heappop(self._heap)[2]()
        if self._heap:
            self._arm(self._heap[0][0])
