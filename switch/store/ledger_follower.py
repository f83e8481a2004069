"""The ledger follows the journal: every event that moves money is entered exactly once, its fee with it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from switch.domain.business_day import day_at
from switch.domain.contract import Contract
from switch.domain.entering import contract_day, enter, has_tiers, is_payment, volume_key
from switch.domain.journal_event import JournalEvent
from switch.domain.ledger import Posting
from switch.domain.pricing import UnpricedPayment
from switch.ports import Clock
from switch.ports.platform import CardTypes, Merchants
from switch.store.feed_consumer import FeedConsumer, Span, events_of
from switch.store.ledger import post
from switch.store.payment_books import CLAIM, VolumeKey, books_of, volumes_of
from switch.store.right_of_way import RightOfWay, in_slices
from switch.store.sessions import Connection, Pool
from switch.store.unpriced import keep_unpriced

CONSUMER: Final = "ledger"
# Events of a step: fewer cost more statements each, and rows of volumes; more hold the loop between two of them.
_BATCH: Final = 1_000
# A contract that came today is known to the ledger within so long.
_REMEMBERED_S: Final = 60.0

_ADVANCE = "UPDATE ledger_followed SET position = $1 WHERE one"
_ADD_VOLUMES = """
INSERT INTO ledger_volumes (merchant_id, currency, month, volume_minor)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (merchant_id, currency, month) DO UPDATE
SET volume_minor = ledger_volumes.volume_minor + excluded.volume_minor
"""
# What enters: `enters` in SQL, so that what does not is not read. 1 APPROVED (operation 2: it only holds), 4 CAPTURED,
# 5 REFUNDED, 6 UNDONE.
_MOVING = """
SELECT * FROM journal_events
WHERE position > $1 AND position <= $2 AND (kind IN (4, 5, 6) OR (kind = 1 AND operation <> 2 AND amount_minor > 0))
ORDER BY position
"""

# (merchant_id, day).
_ContractKey = tuple[str, str]


class _ContractsWanted(Exception):
    """The merchant service is asked outside the transaction; then the batch is worked again."""

    def __init__(self, wanted: set[tuple[str, str]]) -> None:
        super().__init__()
        self.wanted = wanted


class LedgerFollower(FeedConsumer):
    """card_types: what BIN tables say; the contract's lines for that type are looked at."""

    def __init__(
        self, pool: Pool, merchants: Merchants, card_types: CardTypes, clock: Clock, batch: int = _BATCH,
        right_of_way: RightOfWay | None = None,
    ) -> None:  # fmt: skip
        super().__init__(pool, CONSUMER, self._enter, batch, right_of_way)
        self._merchants = merchants
        self._card_type = card_types.of
        self._clock = clock
        self._contracts: dict[tuple[str, str], Contract | None] = {}
        self._forget_at_s = 0.0

    async def step(self) -> int:
        while True:
            try:
                return await super().step()
            except _ContractsWanted as missing:
                await self._learn(missing.wanted)

    async def _learn(self, wanted: set[tuple[str, str]]) -> None:
        by_day: defaultdict[str, list[str]] = defaultdict(list)
        for merchant_id, day in wanted:
            by_day[day].append(merchant_id)
        for day, merchant_ids in by_day.items():
            found = await self._merchants.contracts(sorted(merchant_ids), day)
            self._contracts.update({(each, day): found.get(each) for each in merchant_ids})

    async def _enter(self, connection: Connection, span: Span) -> None:
        followed = await connection.fetchval(CLAIM)
        moving = await events_of(connection, _MOVING, replace(span, after=max(followed, span.after)))
        told = [(each, (each.merchant_id, contract_day(each))) async for each in in_slices(moving)]
        contracts = self._contracts_of({key for _, key in told})
        going_back = [(each.merchant_id, each.authorization_id) for each in moving if not is_payment(each)]
        books = await books_of(connection, going_back)
        volumes = await _volumes_for(connection, told, contracts)
        added: defaultdict[VolumeKey, int] = defaultdict(int)
        entered: list[Posting] = []
        unpriced: list[UnpricedPayment] = []
        async for event, key in in_slices(told):
            contract, card_type = contracts[key], self._card_type(event.card_prefix)
            one = enter(event, contract, books.get((event.merchant_id, event.authorization_id)), card_type, volumes)
            if one is not None:
                entered.append(one.posting)
                if one.unpriced:
                    unpriced.append(_unpriced(event, one.posting))
            if is_payment(event):
                month = (event.merchant_id, event.money.currency, day_at(event.time_ms)[:7])
                added[month] += event.money.amount_minor
                if month in volumes:
                    volumes[month] += event.money.amount_minor
        await post(connection, entered)
        await _add_volumes(connection, added)
        await keep_unpriced(connection, unpriced)
        await connection.execute(_ADVANCE, max(followed, span.until))

    def _contracts_of(self, wanted: set[_ContractKey]) -> dict[_ContractKey, Contract | None]:
        now_s = self._clock.monotonic_s()
        if now_s >= self._forget_at_s:
            self._contracts.clear()
            self._forget_at_s = now_s + _REMEMBERED_S
        missing = wanted - self._contracts.keys()
        if missing:
            raise _ContractsWanted(missing)
        return {each: self._contracts[each] for each in wanted}


async def _volumes_for(
    connection: Connection,
    told: Iterable[tuple[JournalEvent, _ContractKey]],
    contracts: Mapping[_ContractKey, Contract | None],
) -> dict[VolumeKey, int]:
    """Of the month before, for contracts with tiers."""
    tiered = {key for key, each in contracts.items() if each is not None and has_tiers(each)}
    paid = [volume_key(each) async for each, key in in_slices(told) if key in tiered and is_payment(each)]
    return await volumes_of(connection, paid)


async def _add_volumes(connection: Connection, volumes: Mapping[VolumeKey, int]) -> None:
    if volumes:
        rows = [(*key, amount) for key, amount in volumes.items()]
        await connection.execute(_ADD_VOLUMES, *map(list, zip(*rows, strict=True)))


def _unpriced(event: JournalEvent, posting: Posting) -> UnpricedPayment:
    return UnpricedPayment(
        event.merchant_id, posting.id, event.authorization_id, event.channel, event.card_prefix, event.money,
        event.time_ms, day_at(event.created_time_ms), posting.source,
    )  # fmt: skip
