"""Outcomes that the database did not take are recorded as soon as it does."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog

from switch.domain.authorization import Authorization
from switch.payments.ownership import Ownership
from switch.ports import Journal, StoreUnavailable

log = structlog.get_logger()
_PAUSE_S = 0.5


class Afterwards:
    """Keeps trying, in order, until the journal has each record or says that it is no longer ours.

    The callers were told UNAVAILABLE: what may have been sent is recorded UNKNOWN, which opens its reversal.
    """

    def __init__(self, journal: Journal, ownership: Ownership) -> None:
        self._journal = journal
        self._ownership = ownership
        self._records: list[Authorization] = []
        self._ids: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> Sequence[Authorization]:
        return self._records

    def holds(self, authorization_id: UUID) -> bool:
        """Whether an outcome of it is still to be recorded.

        Until then it must not be recorded anew: the old outcome would be taken for that of the new attempt.
        """
        return authorization_id in self._ids

    def put(self, records: Sequence[Authorization]) -> None:
        self._records.extend(records)
        self._ids.update(each.id for each in records)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._record(), name="afterwards")

    async def close(self) -> None:
        """Whatever is left is found by another process when our lease ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _record(self) -> None:
        while self._records:
            batch = self._records[:128]
            try:
                await self._journal.record_outcomes(batch, [0.0] * len(batch))
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE_S)
                continue
            del self._records[: len(batch)]
            self._ids = {each.id for each in self._records}
            log.warning("outcomes_recorded_late", count=len(batch))
