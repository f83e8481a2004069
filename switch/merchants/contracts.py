"""Contracts: proposed and approved by two people, in versions that never change."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from switch.domain.access import Caller
from switch.domain.contract import Contract
from switch.domain.contract_version import (
    ContractState,
    ContractVersion,
    doubled,
    fault_in_rate,
    in_force,
    without_rate,
)
from switch.domain.merchant import MerchantState
from switch.domain.refusals import Invalid, Missing, NotPossible, TooMany
from switch.merchants.reach import WORKING, business_day, check_another, check_reach, check_state, entry, fields_of
from switch.merchants.settings import MerchantSettings
from switch.merchants.store import Books, MerchantStore
from switch.ports import Clock

_OPEN = WORKING | {MerchantState.APPLIED}
_FIRST_REACHES_BACK_DAYS: Final = 31


class Contracts:
    def __init__(self, store: MerchantStore, clock: Clock, settings: MerchantSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings

    async def propose(self, caller: Caller, terms: Contract) -> ContractVersion:
        """terms: their version counts for nothing. Raises Missing, NotPossible, Invalid, TooMany."""
        check_terms(terms, self._settings.channels)
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> ContractVersion:
            check_reach(caller, books.record)
            check_state(books.record, _OPEN)
            there = await books.contracts()
            if len(there) >= self._settings.contracts:
                raise TooMany(f"there have been {len(there)} contracts")
            check_day(terms.from_day, there, business_day(now_ms))
            contract = replace(terms, version=there[0].contract.version + 1 if there else 1)
            version = ContractVersion(contract, ContractState.PROPOSED, caller.name, now_ms)
            await books.keep_contract(version)
            await books.audit(entry(caller, books.record, "ProposeContract", _subject(version), after=_shown(version)))
            return version

        return await self._store.change(terms.merchant_id, work)

    async def approve(self, caller: Caller, merchant_id: str, version: int) -> ContractVersion:
        """Raises Missing, NotPermitted for who proposed it, NotPossible: decided, overtaken, or its day has come."""
        return await self._decide(caller, merchant_id, version, ContractState.APPROVED)

    async def refuse(self, caller: Caller, merchant_id: str, version: int) -> ContractVersion:
        """Also by who proposed it. Raises Missing, NotPossible."""
        return await self._decide(caller, merchant_id, version, ContractState.REFUSED)

    async def _decide(self, caller: Caller, merchant_id: str, version: int, state: ContractState) -> ContractVersion:
        now_ms = self._clock.time_ms()

        async def work(books: Books) -> ContractVersion:
            check_reach(caller, books.record)
            check_state(books.record, _OPEN)
            there = await books.contracts()
            before = next((each for each in there if each.contract.version == version), None)
            if before is None:
                raise Missing("version: there is no such contract")
            if before.state is not ContractState.PROPOSED:
                raise NotPossible(f"the contract is {before.state.name}")
            if state is ContractState.APPROVED:
                check_another(caller, before.proposed_by)
                if any(each.state is state and each.contract.version > version for each in there):
                    raise NotPossible("a later version is approved already")
                check_day(before.contract.from_day, there, business_day(now_ms))
            after = replace(before, state=state, decided_by=caller.name, decided_time_ms=now_ms)
            await books.keep_contract(after)
            act = "ApproveContract" if state is ContractState.APPROVED else "RefuseContract"
            await books.audit(entry(caller, books.record, act, _subject(after), _shown(before), _shown(after)))
            return after

        return await self._store.change(merchant_id, work)

    async def of(self, caller: Caller, merchant_id: str) -> list[ContractVersion]:
        """Newest first. Raises Missing."""

        async def work(books: Books) -> list[ContractVersion]:
            check_reach(caller, books.record)
            return await books.contracts()

        return await self._store.read(merchant_id, work)


def check_terms(terms: Contract, channels: tuple[str, ...]) -> None:
    """Raises Invalid. channels: those that are switched on."""
    if not 1 <= len(terms.rates) <= 200:
        raise Invalid("rates", "must be 1 to 200")
    for index, rate in enumerate(terms.rates):
        fault = fault_in_rate(rate)
        if fault:
            raise Invalid(f"rates[{index}]", fault)
    if doubled(terms.rates) is not None:
        raise Invalid("rates", "two lines have the same channel, card_type and from_minor")
    without = without_rate(terms, channels)
    if without:
        raise Invalid("rates", f"there is no line without card_type from 0 for {', '.join(without)}")
    if not 0 <= terms.reserve_basis_points <= 5_000:
        raise Invalid("reserve_basis_points", "must be 0 to 5000")
    if not 0 <= terms.reserve_days <= 365:
        raise Invalid("reserve_days", "must be 0 to 365")
    if bool(terms.reserve_basis_points) != bool(terms.reserve_days):
        raise Invalid("reserve_days", "must go with reserve_basis_points")


def check_day(from_day: str, there: list[ContractVersion], today: str) -> None:
    """What is agreed now cannot change the fees of days that have begun. While no contract has begun there are none: it
    may begin up to 31 days ago, and what was paid since then is priced (`switch.settlement.pricing`).

    Raises NotPossible.
    """
    if in_force(there, today) is not None:
        if from_day <= today:
            raise NotPossible(f"from_day: must be after {today}")
        return
    earliest = (date.fromisoformat(today) - timedelta(days=_FIRST_REACHES_BACK_DAYS)).isoformat()
    if from_day < earliest:
        raise NotPossible(f"from_day: must be {earliest} or later")


def _subject(version: ContractVersion) -> str:
    return f"contract/{version.contract.version}"


def _shown(version: ContractVersion) -> dict[str, object]:
    terms = fields_of(version.contract)
    for name in ("merchant_id", "account_name", "account_number", "bank_code"):
        del terms[name]
    return terms | {"state": version.state.name}
