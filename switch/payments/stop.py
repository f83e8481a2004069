"""A stop of the road: what waits is taken together (DESIGN 3.1).

The batch is whatever arrived while the last flush was in flight, or since it began if that is less than the pace
ago: a bound on its size, a bound on how many flushes run at once, a bound on how many begin in a second. A flush has a
price of its own (a round trip, two wake-ups of another process) that a busy process must not pay for every handful; a
transaction that meets an idle stop waits for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from switch.payments.observer import Observer
from switch.payments.transaction import Transaction

log = structlog.get_logger()

Work = Callable[[list[Transaction]], Awaitable[None]]
Failed = Callable[[list[Transaction], Exception], None]


class Stop:
    """Collects transactions and works on them in batches.

    pace_s: from the beginning of one flush to the beginning of the next, at least.
    work: does the stage and passes the transactions on. failed: what to do with a batch whose work raised; no
    transaction is ever dropped in silence.
    """

    def __init__(
        self,
        name: str,
        work: Work,
        failed: Failed,
        observer: Observer,
        *,
        max_batch: int,
        max_flushes: int,
        pace_s: float,
    ) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._failed = failed
        self._observer = observer
        self._max_batch = max_batch
        self._max_flushes = max_flushes
        self._pace_s = pace_s
        self._last_flush_s = 0.0
        self._waiting: list[Transaction] = []
        self._flushes: set[asyncio.Task[None]] = set()
        self._pump_is_due = False

    @property
    def depth(self) -> int:
        return len(self._waiting)

    def put(self, transactions: Sequence[Transaction]) -> None:
        self._waiting.extend(transactions)
        self._pump_soon()

    def put_one(self, transaction: Transaction) -> None:
        self._waiting.append(transaction)
        self._pump_soon()

    def _pump_soon(self) -> None:
        if self._pump_is_due or len(self._flushes) >= self._max_flushes:
            return
        self._pump_is_due = True
        next_flush_s = self._last_flush_s + self._pace_s
        if len(self._waiting) < self._max_batch and self._loop.time() < next_flush_s:
            self._loop.call_at(next_flush_s, self._pump)
        else:
            # One turn of the loop later, so that all that this turn brings travels together.
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        self._last_flush_s = self._loop.time()
        while self._waiting and len(self._flushes) < self._max_flushes:
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            task = self._loop.create_task(self._flush(batch), name=f"road.{self.name}")
            self._flushes.add(task)
            task.add_done_callback(self._flushed)

    def _flushed(self, task: "asyncio.Task[None]") -> None:
        self._flushes.discard(task)
        if self._waiting:
            self._pump_soon()

    async def _flush(self, batch: list[Transaction]) -> None:
        started_s = self._loop.time()
        try:
            await self._work(batch)
        except Exception as error:
            log.exception("stage_failed", stage=self.name, batch=len(batch))
            self._observer.failed(self.name)
            self._failed(batch, error)
        self._observer.stage(self.name, len(batch), self._loop.time() - started_s)
