"""The daily reconciliation: each channel's bill fetched once it is ready, by one process of several."""

import asyncio
from typing import Final

import structlog

from switch.domain.refusals import Refusal
from switch.ops.metrics import RECONCILIATIONS
from switch.ports import BillNotReady, BillRefused, Clock, StoreUnavailable
from switch.settlement.bill_file import day_of
from switch.settlement.reconcile import Reconciliations, business_day, days_before

log = structlog.get_logger()

_LOOKS_S: Final = 60.0
_DAYS: Final = 8
_HOUR_MS: Final = 3_600_000
RUNNER: Final = "daily"
"""Who kept a bill that the runner fetched."""


class DailyReconciliation:
    """Looks once a minute at the last days of every channel of this process; a day's own lease and time decide.

    first_hour: of the following day, Shanghai, before which no bill is asked for.
    """

    def __init__(self, work: Reconciliations, clock: Clock, first_hour: int) -> None:
        self._work = work
        self._clock = clock
        self._first_ms = first_hour * _HOUR_MS
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="daily reconciliation")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def look(self) -> int:
        """Reconcile what is due; returns how many days of a channel were."""
        now_ms, done = self._clock.time_ms(), 0
        for day in reversed(days_before(business_day(now_ms), _DAYS)):
            if now_ms < day_of(day, 0).until_ms + self._first_ms:
                continue
            for channel in sorted(self._work.channels):
                outcome = "failed"
                try:
                    await self._work.run(channel, day, RUNNER, due_only=True)
                    outcome, done = "done", done + 1
                except BillNotReady:
                    outcome = "not_ready"
                except BillRefused as refused:
                    outcome = "refused"
                    log.error("bill_refused", channel=channel, day=str(day), cause=refused.cause)
                except Refusal as refusal:
                    outcome = "passed"  # not due, or another process is at it
                    log.debug("reconciliation_passed", channel=channel, day=str(day), reason=str(refusal))
                except (OSError, StoreUnavailable) as error:
                    log.warning("reconciliation_put_off", channel=channel, day=str(day), reason=type(error).__name__)
                except Exception:
                    log.exception("reconciliation_failed", channel=channel, day=str(day))
                if outcome != "passed":
                    RECONCILIATIONS.labels(channel, outcome).inc()
        return done

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("daily_reconciliation_failed")
            await asyncio.sleep(_LOOKS_S)
