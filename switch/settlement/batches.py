"""Settlement batches: made by one person, released or rejected by another, then paid or returned."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.business_day import day_at
from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.money import CURRENCIES
from switch.domain.refusals import Exists, Invalid, Missing, NotPermitted, NotPossible
from switch.domain.settlement import Batch, Debtor, Drafted, LeftOut, Payout, PayoutState, batch_id_of
from switch.ports import Clock
from switch.ports.platform import Merchants
from switch.settlement import pain001, payout_csv
from switch.settlement.net import Frame, Position, draft, payable
from switch.settlement.store import Batches

# Merchants asked after at once.
_AT_ONCE: Final = 8
_LONGEST_TEXT: Final = 200
FORMS: Final = {"pain.001": (pain001.render, "xml"), "csv": (payout_csv.render, "csv")}


@dataclass(frozen=True, slots=True)
class SettlementRules:
    """smallest_minor: the smallest payout, minor units of the batch's currency. largest_batch: payouts."""

    debtor: Debtor
    smallest_minor: int = 100
    largest_batch: int = 10_000


@dataclass(frozen=True, slots=True)
class PayoutFile:
    name: str
    content: bytes
    digest: bytes


class Settlements:
    def __init__(self, batches: Batches, merchants: Merchants, clock: Clock, rules: SettlementRules) -> None:
        self._batches = batches
        self._merchants = merchants
        self._clock = clock
        self._rules = rules

    async def create(self, idempotency_key: str, currency: str, caller: Caller) -> Batch:
        """The stored batch: the one that this key made before, if it did. Raises Invalid, Exists, NotPossible."""
        if not 1 <= len(idempotency_key) <= 64:
            raise Invalid("idempotency_key", "must have 1 to 64 characters")
        if currency not in CURRENCIES:
            raise Invalid("currency", "is not a known ISO 4217 code")
        known = await self._batches.find(batch_id_of(idempotency_key))
        if known is None:
            known = await self._create(batch_id_of(idempotency_key), currency, caller)
        if known.currency != currency:
            raise Exists("idempotency_key was used for a batch in another currency")
        return known

    async def _create(self, batch_id: UUID, currency: str, caller: Caller) -> Batch:
        through_day = await self._batches.closed_through()
        if not through_day:
            raise NotPossible("no day is closed yet")
        now_ms = self._clock.time_ms()
        frame = Frame(batch_id, currency, day_at(now_ms), now_ms, self._rules.smallest_minor, self._rules.largest_batch)
        known = await self._known(await self._batches.available(currency), frame.day)

        def decide(available: Mapping[str, int]) -> Drafted:
            # Who was not known of a moment ago waits for the next batch.
            drafted = draft([known[each].with_(minor) for each, minor in available.items() if each in known], frame)
            if not drafted.payouts:
                raise NotPossible(f"nobody can be paid in {currency}{_told(drafted.left_out)}")
            return drafted

        batch = Batch(batch_id, currency, through_day, PayoutState.DRAFT, 0, 0, 0, caller.name, now_ms)
        entry = _entry(caller, "CreateBatch", batch_id, {}, {"state": "DRAFT", "currency": currency})
        numbers = {each: one.contract.account_number for each, one in known.items() if one.contract}
        return await self._batches.create(batch, decide, numbers, entry)

    async def _known(self, available: Mapping[str, int], day: str) -> dict[str, Position]:
        """What the merchant service says of each, asked for before the balances are locked."""
        contracts = await self._merchants.contracts(sorted(available), day)
        # Who has no contract is left out whoever it is.
        profiles = await self._profiles([each for each in available if each in contracts])
        return {
            merchant: Position(merchant, minor, contracts.get(merchant), profiles.get(merchant))
            for merchant, minor in available.items()
        }

    async def _profiles(self, merchant_ids: Sequence[str]) -> dict[str, MerchantProfile | None]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def profile(merchant_id: str) -> MerchantProfile | None:
            async with gate:
                return await self._merchants.profile(merchant_id)

        return dict(zip(merchant_ids, await asyncio.gather(*map(profile, merchant_ids)), strict=True))

    async def release(self, batch_id: UUID, caller: Caller) -> Batch:
        """By another person than made it, while all of its merchants are active. Raises Missing, NotPermitted,
        NotPossible."""
        batch = await self.find(batch_id)
        if caller.person == Caller(batch.created_by).person:
            raise NotPermitted("who made the batch does not release it")
        debtor = self._rules.debtor
        if not payable(debtor.name, debtor.account, debtor.bank_code):
            raise NotPossible("the account that is paid from is not complete: settlement.debtor_…")
        if batch.state is PayoutState.DRAFT:
            await self._check_active(batch_id)
        now_ms = self._clock.time_ms()
        entry = _entry(caller, "ReleaseBatch", batch_id, {"state": "DRAFT"}, {"state": "RELEASED"})
        return await self._batches.release(batch_id, debtor, entry, day_at(now_ms), now_ms)

    async def _check_active(self, batch_id: UUID) -> None:
        profiles = await self._profiles([each.merchant_id for each in await self._batches.payouts(batch_id)])
        others = sorted(each for each, one in profiles.items() if one is None or one.state is not MerchantState.ACTIVE)
        if others:
            raise NotPossible(f"no longer active: {', '.join(others[:10])}; reject the batch and make another")

    async def reject(self, batch_id: UUID, reason: str, caller: Caller) -> Batch:
        """By anybody, who made it included: no money leaves. Raises Missing, NotPossible."""
        await self.find(batch_id)
        now_ms = self._clock.time_ms()
        after = {"state": "REJECTED", "reason": _checked_reason(reason)}
        entry = _entry(caller, "RejectBatch", batch_id, {"state": "DRAFT"}, after)
        return await self._batches.reject(batch_id, reason, entry, day_at(now_ms), now_ms)

    async def find(self, batch_id: UUID) -> Batch:
        batch = await self._batches.find(batch_id)
        if batch is None:
            raise Missing("there is no such batch")
        return batch

    async def details(self, batch_id: UUID) -> tuple[Batch, list[Payout], list[LeftOut]]:
        batch = await self.find(batch_id)
        return batch, await self._batches.payouts(batch_id), await self._batches.left_out(batch_id)

    async def payout_file(self, batch_id: UUID, form: str, caller: Caller) -> PayoutFile:
        """The same bytes each time: a bank that is given it twice sees one message. Raises Missing, NotPossible."""
        batch = await self.find(batch_id)
        if batch.state not in (PayoutState.RELEASED, PayoutState.PAID):
            raise NotPossible(f"the batch is {batch.state.name}: there is no payout file")
        render, ending = FORMS[form]
        numbers = await self._batches.account_numbers(batch_id)
        content = render(batch, await self._batches.payouts(batch_id), numbers)
        digest = hashlib.sha256(content).digest()
        after = {"form": form, "sha256": digest.hex()}
        entry = _entry(caller, "GetPayoutFile", batch_id, {}, after)
        if await self._batches.keep_digest(batch_id, form, digest, entry) != digest:
            raise NotPossible("the file would differ from the one that was handed out before: ask an engineer")
        return PayoutFile(f"payouts-{batch.message_id}.{ending}", content, digest)

    async def confirm(self, batch_id: UUID, merchant_ids: Sequence[str], caller: Caller) -> int:
        """merchant_ids: none, all that are not returned. Returns how many became PAID now."""
        await self.find(batch_id)
        return await self._end(batch_id, merchant_ids, PayoutState.PAID, "", caller)

    async def give_back(self, batch_id: UUID, merchant_id: str, reason: str, caller: Caller) -> int:
        await self.find(batch_id)
        if not merchant_id:
            raise Invalid("merchant_id", "must be given")
        return await self._end(batch_id, [merchant_id], PayoutState.RETURNED, _checked_reason(reason), caller)

    async def _end(
        self, batch_id: UUID, merchant_ids: Sequence[str], state: PayoutState, reason: str, caller: Caller
    ) -> int:
        now_ms = self._clock.time_ms()
        act = "ConfirmPayouts" if state is PayoutState.PAID else "ReturnPayout"
        after = {"state": state.name, "merchants": list(merchant_ids) or "all"} | ({"reason": reason} if reason else {})
        entry = _entry(caller, act, batch_id, {}, after)
        return await self._batches.end_payouts(batch_id, merchant_ids, state, reason, entry, day_at(now_ms), now_ms)


def _checked_reason(reason: str) -> str:
    if not 1 <= len(reason) <= _LONGEST_TEXT or not reason.isprintable():
        raise Invalid("reason", f"must have 1 to {_LONGEST_TEXT} printable characters")
    return reason


def _told(left_out: Sequence[LeftOut]) -> str:
    reasons = sorted({each.reason for each in left_out})
    return f" ({'; '.join(reasons)})" if reasons else ""


def _entry(
    caller: Caller, act: str, batch_id: UUID, before: Mapping[str, object], after: Mapping[str, object]
) -> AuditEntry:
    return AuditEntry("", caller.name, f"SettlementService.{act}", f"settlement_batch/{batch_id}", before, after)
