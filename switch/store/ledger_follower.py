"""The ledger follows the journal: every event that moves money is entered exactly once, its fee with it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Final
from uuid import UUID

import structlog

from switch.domain.business_day import day_at, month_before
from switch.domain.contract import Contract
from switch.domain.entering import Entered, PaymentBooks, contract_day, enter, is_payment, postings_of
from switch.domain.journal_event import JournalEvent
from switch.domain.ledger import FEES, MERCHANT, PostingKind
from switch.ports import Clock
from switch.ports.platform import Merchants
from switch.store.feed_consumer import FeedConsumer, Span, events_of
from switch.store.ledger import post
from switch.store.right_of_way import RightOfWay, in_slices
from switch.store.sessions import Connection, Pool

log = structlog.get_logger()

CONSUMER: Final = "ledger"
# Events of a step: fewer cost more statements each, and rows of volumes; more hold the loop between two of them.
_BATCH: Final = 1_000
# A contract that came today is known to the ledger within so long.
_REMEMBERED_S: Final = 60.0

_CLAIM = "SELECT position FROM ledger_followed WHERE one FOR UPDATE"
_ADVANCE = "UPDATE ledger_followed SET position = $1 WHERE one"
# Scalar and lateral subqueries: look-ups by key, also in a plan that was made while the tables were empty.
_VOLUMES = """
SELECT merchant_id, currency, month, COALESCE((
    SELECT v.volume_minor FROM ledger_volumes AS v
    WHERE v.merchant_id = w.merchant_id AND v.currency = w.currency AND v.month = w.month), 0) AS volume_minor
FROM unnest($1::text[], $2::text[], $3::text[]) AS w (merchant_id, currency, month)
"""
_ADD_VOLUMES = """
INSERT INTO ledger_volumes (merchant_id, currency, month, volume_minor)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (merchant_id, currency, month) DO UPDATE
SET volume_minor = ledger_volumes.volume_minor + excluded.volume_minor
"""
_ADD_UNPRICED = """
INSERT INTO ledger_unpriced (merchant_id, day, currency, payments, amount_minor)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (merchant_id, day, currency) DO UPDATE
SET payments = ledger_unpriced.payments + excluded.payments,
    amount_minor = ledger_unpriced.amount_minor + excluded.amount_minor
"""
# What enters: `enters` in SQL, so that what does not is not read. 1 APPROVED (operation 2: it only holds), 4 CAPTURED,
# 5 REFUNDED, 6 UNDONE.
_MOVING = """
SELECT * FROM journal_events
WHERE position > $1 AND position <= $2 AND (kind IN (4, 5, 6) OR (kind = 1 AND operation <> 2 AND amount_minor > 0))
ORDER BY position
"""
# PAYMENT, REFUND and UNDOING are entered by this consumer alone. The order, which OFFSET keeps, is the primary key's:
# left to the statistics, the planner reads all that the merchant ever had by (merchant_id, day), for each payment.
_BOOKS = f"""
SELECT w.merchant_id, w.authorization_id, b.kind, b.gross_minor, b.fee_minor
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[]) AS w (merchant_id, authorization_id, low, high)
CROSS JOIN LATERAL (
    SELECT e.kind,
           COALESCE(sum(e.amount_minor) FILTER (WHERE e.account NOT IN ('{MERCHANT}', '{FEES}')), 0)::bigint
               AS gross_minor,
           COALESCE(sum(e.amount_minor) FILTER (WHERE e.account = '{FEES}'), 0)::bigint AS fee_minor
    FROM (SELECT * FROM ledger_entries AS of_payment
          WHERE of_payment.merchant_id = w.merchant_id AND of_payment.transaction_id BETWEEN w.low AND w.high
          ORDER BY of_payment.transaction_id, of_payment.leg OFFSET 0) AS e
    WHERE e.authorization_id = w.authorization_id
          AND e.kind IN ({PostingKind.PAYMENT:d}, {PostingKind.REFUND:d}, {PostingKind.UNDOING:d})
    GROUP BY e.kind
) AS b
"""  # noqa: S608

# (merchant_id, day), and (merchant_id, currency, month).
_ContractKey = tuple[str, str]
_VolumeKey = tuple[str, str, str]


class _ContractsWanted(Exception):
    """The merchant service is asked outside the transaction; then the batch is worked again."""

    def __init__(self, wanted: set[_ContractKey]) -> None:
        super().__init__()
        self.wanted = wanted


class LedgerFollower(FeedConsumer):
    def __init__(
        self, pool: Pool, merchants: Merchants, clock: Clock, batch: int = _BATCH,
        right_of_way: RightOfWay | None = None,
    ) -> None:  # fmt: skip
        super().__init__(pool, CONSUMER, self._enter, batch, right_of_way)
        self._merchants = merchants
        self._clock = clock
        self._contracts: dict[_ContractKey, Contract | None] = {}
        self._forget_at_s = 0.0

    async def step(self) -> int:
        while True:
            try:
                return await super().step()
            except _ContractsWanted as missing:
                await self._learn(missing.wanted)

    async def _learn(self, wanted: set[_ContractKey]) -> None:
        by_day: defaultdict[str, list[str]] = defaultdict(list)
        for merchant_id, day in wanted:
            by_day[day].append(merchant_id)
        for day, merchant_ids in by_day.items():
            found = await self._merchants.contracts(sorted(merchant_ids), day)
            self._contracts.update({(each, day): found.get(each) for each in merchant_ids})

    async def _enter(self, connection: Connection, span: Span) -> None:
        followed = await connection.fetchval(_CLAIM)
        moving = await events_of(connection, _MOVING, replace(span, after=max(followed, span.after)))
        told = [(each, (each.merchant_id, contract_day(each))) async for each in in_slices(moving)]
        contracts = self._contracts_of({key for _, key in told})
        books = await _books_of(connection, moving)
        volumes = await _volumes_of(connection, told, contracts)
        added: defaultdict[_VolumeKey, int] = defaultdict(int)
        entered: list[Entered] = []
        unpriced: list[JournalEvent] = []
        async for event, key in in_slices(told):
            one = enter(event, contracts[key], books.get((event.merchant_id, event.authorization_id)), volumes)
            if one is not None:
                entered.append(one)
                if one.unpriced:
                    unpriced.append(event)
            if is_payment(event):
                month = (event.merchant_id, event.money.currency, day_at(event.time_ms)[:7])
                added[month] += event.money.amount_minor
                if month in volumes:
                    volumes[month] += event.money.amount_minor
        await post(connection, [each.posting for each in entered])
        await _add(connection, added, unpriced)
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


async def _books_of(connection: Connection, moving: Iterable[JournalEvent]) -> dict[tuple[str, UUID], PaymentBooks]:
    """Of the payments that something goes back of."""
    books: dict[tuple[str, UUID], PaymentBooks] = {
        (each.merchant_id, each.authorization_id): PaymentBooks() for each in moving if not is_payment(each)
    }
    if not books:
        return books
    wanted = [(merchant, identity, *postings_of(identity)) for merchant, identity in books]
    for row in await connection.fetch(_BOOKS, *map(list, zip(*wanted, strict=True))):
        one = books[row["merchant_id"], row["authorization_id"]]
        if row["kind"] == PostingKind.PAYMENT:
            one.captured_minor, one.fee_minor = row["gross_minor"], -row["fee_minor"]
        else:
            one.refunded_minor -= row["gross_minor"]
            one.returned_minor += row["fee_minor"]
    return books


async def _volumes_of(
    connection: Connection,
    told: Iterable[tuple[JournalEvent, _ContractKey]],
    contracts: dict[_ContractKey, Contract | None],
) -> dict[_VolumeKey, int]:
    """Of the month before, for contracts with tiers."""
    tiered = {key for key, each in contracts.items() if each and any(rate.from_minor for rate in each.rates)}
    volumes: dict[_VolumeKey, int] = {
        (each.merchant_id, each.money.currency, month_before(day_at(each.time_ms))): 0
        async for each, key in in_slices(told)
        if key in tiered and is_payment(each)
    }
    if volumes:
        for row in await connection.fetch(_VOLUMES, *map(list, zip(*volumes, strict=True))):
            volumes[row["merchant_id"], row["currency"], row["month"]] = row["volume_minor"]
    return volumes


async def _add(connection: Connection, volumes: dict[_VolumeKey, int], unpriced: Iterable[JournalEvent]) -> None:
    if volumes:
        rows = [(*key, amount) for key, amount in volumes.items()]
        await connection.execute(_ADD_VOLUMES, *map(list, zip(*rows, strict=True)))
    counted: defaultdict[tuple[str, date, str], list[int]] = defaultdict(lambda: [0, 0])
    for event in unpriced:
        one = counted[event.merchant_id, date.fromisoformat(day_at(event.time_ms)), event.money.currency]
        one[0] += 1
        one[1] += event.money.amount_minor
    if counted:
        log.warning("payments_without_contract", merchants=sorted({key[0] for key in counted})[:10])
        counts = [(*key, *numbers) for key, numbers in counted.items()]
        await connection.execute(_ADD_UNPRICED, *map(list, zip(*counts, strict=True)))
