"""The wiring of retention: every process of `operations` offers itself once a day, one works."""

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Final

import structlog

from switch.config import Settings
from switch.ports import Clock, StoreUnavailable
from switch.store.heavy import HeavyConnections
from switch.store.retention import Housekeeping, Retention, Rules
from switch.wiring.foundation import Foundation, cancelled
from switch.wiring.settlement import dsn_of

log = structlog.get_logger()

_LOOKS_S: Final = 300.0
_SHANGHAI: Final = timezone(timedelta(hours=8))


def retention_of(settings: Settings, dsn: str, clock: Clock) -> Retention:
    section = settings.retention
    rules = Rules(section.journal_days, section.transactions_days, section.webhooks_days)
    return Retention(HeavyConnections(dsn, 1), rules, clock.time_ms)


def due_ms(now_ms: int, first_hour: int) -> int:
    """When today's housekeeping was due last: what was done since is enough.

    >>> datetime.fromtimestamp(due_ms(1_790_000_000_000, 3) / 1000, _SHANGHAI).isoformat()
    '2026-09-21T03:00:00+08:00'
    """
    now = datetime.fromtimestamp(now_ms / 1000, _SHANGHAI)
    today = now.replace(hour=first_hour, minute=0, second=0, microsecond=0)
    return int((today if today <= now else today - timedelta(days=1)).timestamp() * 1000)


def open_housekeeping(foundation: Foundation) -> None:
    """Closed with the lifecycle."""
    settings = foundation.settings
    retention = retention_of(settings, dsn_of(settings), foundation.clock)
    section = settings.retention
    keeping = Housekeeping(foundation.pool, retention, section.batch, section.pause_ms / 1000)

    async def run() -> None:
        while True:
            try:
                await keeping.look(due_ms(foundation.clock.time_ms(), section.first_hour))
            except StoreUnavailable as error:
                log.warning("housekeeping_put_off", reason=str(error))
            except Exception:
                log.exception("housekeeping_failed")
            await asyncio.sleep(_LOOKS_S)

    task = asyncio.create_task(run(), name="housekeeping")
    foundation.lifecycle.on_close("housekeeping", lambda: cancelled(task))
