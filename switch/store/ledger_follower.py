"""The ledger follows the journal: every event that moves money is entered exactly once, its fee with it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from switch.domain.business_day import day_at
from switch.domain.contract import Contract
from switch.domain.entering import contract_day, enter, enters, has_tiers, is_payment, volume_key
from switch.domain.journal_event import JournalEvent
from switch.domain.ledger import Posting
from switch.domain.pricing import UnpricedPayment
from switch.ports import Clock
from switch.ports.platform import CardTypes, Merchants
from switch.store.feed_consumer import FeedConsumer
from switch.store.ledger import post
from switch.store.payment_books import CLAIM, VolumeKey, books_of, volumes_of
from switch.store.sessions import Connection, Pool
from switch.store.unpriced import keep_unpriced

CONSUMER: Final = "ledger"
# A contract that came today is known to the ledger within so long.
_REMEMBERED_S: Final = 60.0

_ADVANCE = "UPDATE ledger_followed SET position = $1 WHERE one"
_ADD_VOLUMES = """
INSERT INTO ledger_volumes (merchant_id, currency, month, volume_minor)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (merchant_id, currency, month) DO UPDATE
SET volume_minor = ledger_volumes.volume_minor + excluded.volume_minor
"""


class _ContractsWanted(Exception):
    """The merchant service is asked outside the transaction; then the batch is worked again."""

    def __init__(self, wanted: set[tuple[str, str]]) -> None:
        super().__init__()
        self.wanted = wanted


class LedgerFollower(FeedConsumer):
    """card_types: what BIN tables say; the contract's lines for that type are looked at."""

    def __init__(
        self, pool: Pool, merchants: Merchants, card_types: CardTypes, clock: Clock, batch: int = 2_000
    ) -> None:
        super().__init__(pool, CONSUMER, self._enter, batch)
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

    async def _enter(self, connection: Connection, events: Sequence[JournalEvent]) -> None:
        followed = await connection.fetchval(CLAIM)
        moving = [each for each in events if each.position > followed and enters(each)]
        contracts = self._contracts_of(moving)
        going_back = [(each.merchant_id, each.authorization_id) for each in moving if not is_payment(each)]
        books = await books_of(connection, going_back)
        volumes = await _volumes_for(connection, moving, contracts)
        added: defaultdict[VolumeKey, int] = defaultdict(int)
        entered: list[Posting] = []
        unpriced: list[UnpricedPayment] = []
        for event in moving:
            contract, card_type = contracts[event.merchant_id, contract_day(event)], self._card_type(event.card_prefix)
            one = enter(event, contract, books.get((event.merchant_id, event.authorization_id)), card_type, volumes)
            if one is not None:
                entered.append(one.posting)
                if one.unpriced:
                    unpriced.append(_unpriced(event, one.posting))
            if is_payment(event):
                key = (event.merchant_id, event.money.currency, day_at(event.time_ms)[:7])
                added[key] += event.money.amount_minor
                if key in volumes:
                    volumes[key] += event.money.amount_minor
        await post(connection, entered)
        await _add_volumes(connection, added)
        await keep_unpriced(connection, unpriced)
        await connection.execute(_ADVANCE, max(followed, events[-1].position))

    def _contracts_of(self, moving: Sequence[JournalEvent]) -> dict[tuple[str, str], Contract | None]:
        now_s = self._clock.monotonic_s()
        if now_s >= self._forget_at_s:
            self._contracts.clear()
            self._forget_at_s = now_s + _REMEMBERED_S
        wanted = {(each.merchant_id, contract_day(each)) for each in moving}
        missing = wanted - self._contracts.keys()
        if missing:
            raise _ContractsWanted(missing)
        return {each: self._contracts[each] for each in wanted}


async def _volumes_for(
    connection: Connection, moving: Iterable[JournalEvent], contracts: Mapping[tuple[str, str], Contract | None]
) -> dict[VolumeKey, int]:
    """Of the month before, for contracts with tiers."""
    tiered = {key for key, each in contracts.items() if each is not None and has_tiers(each)}
    paid = (each for each in moving if is_payment(each) and (each.merchant_id, contract_day(each)) in tiered)
    return await volumes_of(connection, map(volume_key, paid))


async def _add_volumes(connection: Connection, volumes: Mapping[VolumeKey, int]) -> None:
    if volumes:
        rows = [(*key, amount) for key, amount in volumes.items()]
        await connection.execute(_ADD_VOLUMES, *map(list, zip(*rows, strict=True)))


def _unpriced(event: JournalEvent, posting: Posting) -> UnpricedPayment:
    return UnpricedPayment(
        event.merchant_id, posting.id, event.authorization_id, event.channel, event.card_prefix, event.money,
        event.time_ms, day_at(event.created_time_ms), posting.source,
    )  # fmt: skip
