"""How late the event loop wakes its timers: the first sign of a loop that something blocks, or of too little CPU."""

import asyncio

import structlog

from switch.ops import metrics

log = structlog.get_logger()

_WORTH_A_LOG_S = 0.1


class LoopLag:
    """Samples the lag until closed. interval_s: between two samples."""

    def __init__(self, interval_s: float = 0.1) -> None:
        self._interval_s = interval_s
        self._due_s = 0.0
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._plan(asyncio.get_running_loop())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def seconds(self) -> float:
        """The last sample, or what the next one already amounts to: a stalled loop is seen by whoever runs first."""
        if self._timer is None:
            return 0.0
        return max(self._last_s, asyncio.get_running_loop().time() - self._due_s)

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_s = loop.time() + self._interval_s
        self._timer = loop.call_at(self._due_s, self._sample, loop)

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last_s = max(0.0, loop.time() - self._due_s)
        metrics.LOOP_LAG.of().observe(self._last_s)
        if self._last_s > _WORTH_A_LOG_S:
            log.warning("event_loop_lagged", lag_ms=round(self._last_s * 1000))
        self._plan(loop)
