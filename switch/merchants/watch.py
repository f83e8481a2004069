"""Which merchants and terminals may take no new payments: asked of the database about once a second, read at once."""

import asyncio
from typing import Final

import structlog

from switch.domain.merchant import MerchantState
from switch.domain.merchant_standing import Refusal, Standings
from switch.merchants.store import StandingStore
from switch.ports import StoreUnavailable

log = structlog.get_logger()

# What another transaction stamped before our last reading may have been committed after it. No statement lasts longer
# than seconds, so a minute is enough.
_OVERLAP_MS: Final = 60_000

_REFUSALS: Final = {
    MerchantState.APPLIED: Refusal("03", "the merchant is not onboarded yet"),
    MerchantState.SUSPENDED: Refusal("03", "the merchant is suspended"),
    MerchantState.CLOSED: Refusal("03", "the merchant is closed"),
    MerchantState.REJECTED: Refusal("03", "the merchant was not onboarded"),
}
_UNKNOWN: Final = Refusal("03", "the merchant is not onboarded")
_TERMINAL_OFF: Final = Refusal("58", "the terminal is switched off")


class StandingWatch:
    """only_onboarded: a merchant that was never onboarded may not either.

    While the database is away, what was read last holds.
    """

    def __init__(self, store: StandingStore, only_onboarded: bool = False, interval_s: float = 1.0) -> None:
        self._store = store
        self._only_onboarded = only_onboarded
        self._interval_s = interval_s
        self._merchants: dict[str, MerchantState] = {}
        self._terminals_off: set[tuple[str, str]] = set()
        self._read_ms = 0
        self._task: asyncio.Task[None] | None = None

    def refusal(self, merchant_id: str, terminal_id: str) -> Refusal | None:
        """Meets `World.standing`."""
        state = self._merchants.get(merchant_id)
        if state is None:
            return _UNKNOWN if self._only_onboarded else None
        if state is not MerchantState.ACTIVE:
            return _REFUSALS[state]
        return _TERMINAL_OFF if (merchant_id, terminal_id) in self._terminals_off else None

    async def begin(self) -> None:
        """Read everything before anything is decided. Raises StoreUnavailable."""
        self._take(await self._store.standings(0))

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="merchant standings")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Once. Never raises."""
        try:
            self._take(await self._store.standings(max(1, self._read_ms - _OVERLAP_MS)))
        except StoreUnavailable as error:
            log.warning("merchant_standings_not_read", reason=str(error))
        except Exception:  # a fault of ours: what was read last holds
            log.exception("merchant_standings_not_read")

    def _take(self, read: Standings) -> None:
        self._merchants |= read.merchants
        for terminal, active in read.terminals.items():
            if active:
                self._terminals_off.discard(terminal)
            else:
                self._terminals_off.add(terminal)
        self._read_ms = read.read_ms

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()
