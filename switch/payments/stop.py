"""A stop of the road: what waits is taken together (DESIGN 3.1).

The batch is whatever arrived while the last flush was in flight, or since it began if that is less than the pace
ago: a bound on its size, one flush at a time, a bound on how many begin in a second. A flush has a price of its own (a
round trip, two wake-ups of another process) that a busy process must not pay for every handful; a transaction that
meets an idle stop waits for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from switch.payments.observer import Observer
from switch.payments.transaction import Transaction

log = structlog.get_logger()

# A quarter of the budget in one flush: somebody should know which stage it was.
_WORTH_A_LOG_S = 0.05

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
        pace_s: float,
    ) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._failed = failed
        self._observer = observer
        self._max_batch = max_batch
        self._pace_s = pace_s
        self._last_flush_s = 0.0
        self._waiting: list[Transaction] = []
        self._flush: asyncio.Task[None] | None = None
        self._is_due = False

    @property
    def depth(self) -> int:
        return len(self._waiting)

    def put(self, transactions: Sequence[Transaction]) -> None:
        self._waiting.extend(transactions)
        self._flush_soon()

    def put_one(self, transaction: Transaction) -> None:
        self._waiting.append(transaction)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._is_due or self._flush is not None or not self._waiting:
            return
        self._is_due = True
        next_flush_s = self._last_flush_s + self._pace_s
        if len(self._waiting) < self._max_batch and self._loop.time() < next_flush_s:
            self._loop.call_at(next_flush_s, self._begin)
        else:
            # One turn of the loop later, so that all that this turn brings travels together.
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_due = False
        self._last_flush_s = self._loop.time()
        batch = self._waiting[: self._max_batch]
        del self._waiting[: self._max_batch]
        self._flush = self._loop.create_task(self._take(batch), name=f"road.{self.name}")
        self._flush.add_done_callback(self._ended)

    def _ended(self, flush: "asyncio.Task[None]") -> None:
        self._flush = None
        self._flush_soon()

    async def _take(self, batch: list[Transaction]) -> None:
        started_s = self._loop.time()
        try:
            await self._work(batch)
        except Exception as error:
            log.exception("stage_failed", stage=self.name, batch=len(batch))
            self._observer.failed(self.name)
            self._failed(batch, error)
        elapsed_s = self._loop.time() - started_s
        self._observer.stage(self.name, len(batch), elapsed_s)
        if elapsed_s > _WORTH_A_LOG_S:
            log.warning("stage_slow", stage=self.name, batch=len(batch), ms=round(elapsed_s * 1000))
