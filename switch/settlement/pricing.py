"""Prices payments that were entered before a contract told their fee: once one is in force for their day."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

import structlog

from switch.domain.audit import AuditEntry
from switch.domain.contract import Contract
from switch.domain.pricing import LateFees, Unpriced
from switch.ports import Clock, StoreUnavailable
from switch.ports.platform import Merchants

log = structlog.get_logger()

ACT: Final = "SettlementService.PricePayments"
RUNNER: Final = "pricing"
"""Who priced what nobody asked for."""

_LOOKS_S: Final = 60.0
_AT_ONCE: Final = 200
_BEGINNING: Final = ("", "0001-01-01", "")


class Part(Protocol):
    @property
    def fees(self) -> LateFees: ...
    @property
    def last(self) -> UUID | None: ...


class UnpricedStore(Protocol):
    """Every method raises StoreUnavailable if it cannot be sure."""

    async def waiting(self, merchant_id: str, after: tuple[str, str, str], limit: int) -> Sequence[Unpriced]:
        """Of one merchant, or with "" of all; by (merchant_id, day, currency)."""

    async def begun_days(self, of: Unpriced) -> Sequence[str]:
        """On which days those payments were begun."""

    async def price(
        self, of: Unpriced, contracts: Mapping[str, Contract | None], after: UUID | None, entry: AuditEntry, now_ms: int
    ) -> Part:
        """Some of them, each exactly once, in one transaction with its audit entry. contracts: by day."""


class LatePricing:
    """Looks once a minute, as contracts are approved; or whenever finance asks. Any number of processes may."""

    def __init__(self, store: UnpricedStore, merchants: Merchants, clock: Clock) -> None:
        self._store = store
        self._merchants = merchants
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="late pricing")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def price(self, who: str, merchant_id: str = "") -> list[LateFees]:
        """What could be priced, of one merchant or with "" of all. A repeat finds nothing more. who: `Caller.name`.

        Raises StoreUnavailable; what was priced before that stays.
        """
        done: list[LateFees] = []
        after = _BEGINNING
        while page := await self._store.waiting(merchant_id, after, _AT_ONCE):
            contracts = await self._contracts({(each.merchant_id, each.day) for each in page})
            for each in page:
                contract = contracts[each.merchant_id, each.day]
                if contract is not None and contract.currency == each.currency:
                    done += await self._price(each, who)
            after = page[-1].merchant_id, page[-1].day, page[-1].currency
        return done

    async def _price(self, of: Unpriced, who: str) -> list[LateFees]:
        days = {of.day, *await self._store.begun_days(of)}
        by_key = await self._contracts({(of.merchant_id, day) for day in days})
        contracts = {day: contract for (_, day), contract in by_key.items()}
        entry = AuditEntry(of.merchant_id, who, ACT, f"unpriced/{of.day}/{of.currency}")
        whole, last = LateFees(of.merchant_id, of.day, of.currency, 0, 0, 0), None
        while True:
            part = await self._store.price(of, contracts, last, entry, self._clock.time_ms())
            whole, last = _added(whole, part.fees), part.last
            if last is None:
                break
        if not whole.payments:
            return []
        log.info("payments_priced", merchant=of.merchant_id, day=of.day, payments=whole.payments, fee=whole.fee_minor)
        return [whole]

    async def _contracts(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Contract | None]:
        by_day: defaultdict[str, list[str]] = defaultdict(list)
        for merchant_id, day in sorted(wanted):
            by_day[day].append(merchant_id)
        found: dict[tuple[str, str], Contract | None] = dict.fromkeys(wanted)
        for day, merchant_ids in by_day.items():
            for merchant_id, contract in (await self._merchants.contracts(merchant_ids, day)).items():
                found[merchant_id, day] = contract
        return found

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_S)
            try:
                await self.price(RUNNER)
            except StoreUnavailable as error:
                log.warning("payments_not_priced", reason=str(error))
            except Exception:
                log.exception("late_pricing_failed")


def _added(whole: LateFees, part: LateFees) -> LateFees:
    payments, fee_minor = whole.payments + part.payments, whole.fee_minor + part.fee_minor
    return replace(whole, payments=payments, fee_minor=fee_minor, contract_version=part.contract_version)
