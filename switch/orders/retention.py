"""Orders that ended long ago are dropped: those that were never paid soon, paid ones late or never."""

import asyncio
from typing import Final

import structlog

from switch.orders.settings import OrderSettings
from switch.orders.store import OrderStore
from switch.ports import StoreUnavailable

log = structlog.get_logger()

_DAY_MS: Final = 86_400_000
_BATCH: Final = 500


class Retention:
    """One per process; whoever locks a batch drops it, the others take the next."""

    def __init__(self, store: OrderStore, settings: OrderSettings) -> None:
        self._store = store
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="orders.retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def turn(self) -> int:
        """A batch of each kind; returns how many orders were dropped. Raises StoreUnavailable."""
        settings = self._settings
        dropped = await self._store.drop(False, settings.unpaid_kept_days * _DAY_MS, _BATCH)
        if settings.paid_kept_days:
            dropped += await self._store.drop(True, settings.paid_kept_days * _DAY_MS, _BATCH)
        return dropped

    async def _run(self) -> None:
        while True:
            dropped = 0
            try:
                dropped = await self.turn()
            except StoreUnavailable as error:
                log.warning("orders_not_dropped", reason=str(error))
            except Exception:
                log.exception("orders_not_dropped")
            if dropped:
                log.info("orders_dropped", count=dropped)
            # Between two batches, too: payers come first.
            await asyncio.sleep(self._settings.poll_s if dropped else self._settings.drop_s)
