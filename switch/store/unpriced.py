"""Payments that were entered without a fee: kept one by one until a contract tells it, then entered in addition."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from uuid import UUID

import structlog
from asyncpg import Record

from switch.domain.audit import AuditEntry
from switch.domain.contract import Contract
from switch.domain.entering import has_tiers, volume_key
from switch.domain.ledger import FEES, Posting
from switch.domain.money import Money
from switch.domain.pricing import LateFees, Unpriced, UnpricedPayment, late_fee
from switch.ports.platform import CardTypes
from switch.store.audit_trail import append
from switch.store.ledger import post
from switch.store.payment_books import CLAIM, books_of, volumes_of
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

_KEEP = """
INSERT INTO ledger_unpriced_payments (
    merchant_id, day, currency, posting_id, authorization_id, channel, card_prefix, amount_minor, time_ms, begun_day,
    source)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::bigint[],
                     $9::bigint[], $10::date[], $11::text[])
"""
_COUNT = """
INSERT INTO ledger_unpriced (merchant_id, day, currency, payments, amount_minor)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[], $4::bigint[], $5::bigint[])
ON CONFLICT (merchant_id, day, currency) DO UPDATE
SET payments = ledger_unpriced.payments + excluded.payments,
    amount_minor = ledger_unpriced.amount_minor + excluded.amount_minor
"""
_WAITING = """
SELECT merchant_id, day, currency, payments, amount_minor FROM ledger_unpriced
WHERE ($1 = '' OR merchant_id = $1) AND (merchant_id, day, currency) > ($2, $3, $4)
ORDER BY merchant_id, day, currency LIMIT $5
"""
_BEGUN = """
SELECT DISTINCT begun_day FROM ledger_unpriced_payments WHERE merchant_id = $1 AND day = $2 AND currency = $3
"""
_PAYMENTS = """
SELECT * FROM ledger_unpriced_payments
WHERE merchant_id = $1 AND day = $2 AND currency = $3 AND posting_id > $4 ORDER BY posting_id LIMIT $5
"""
_DONE = """
DELETE FROM ledger_unpriced_payments
WHERE merchant_id = $1 AND day = $2 AND currency = $3 AND posting_id = ANY ($4::uuid[])
"""
_COUNT_DOWN = """
UPDATE ledger_unpriced SET payments = payments - $4, amount_minor = amount_minor - $5
WHERE merchant_id = $1 AND day = $2 AND currency = $3
"""
_FORGET = "DELETE FROM ledger_unpriced WHERE merchant_id = $1 AND day = $2 AND currency = $3 AND payments <= 0"

AT_ONCE: Final = 500
_FIRST: Final = UUID(int=0)


async def keep_unpriced(connection: Connection, payments: Sequence[UnpricedPayment]) -> None:
    """Within the transaction that enters them, once."""
    if not payments:
        return
    rows = [
        (
            each.merchant_id, date.fromisoformat(each.day), each.money.currency, each.posting_id, each.authorization_id,
            each.channel, each.card_prefix, each.money.amount_minor, each.time_ms, date.fromisoformat(each.begun_day),
            each.source,
        )
        for each in payments
    ]  # fmt: skip
    await connection.execute(_KEEP, *map(list, zip(*rows, strict=True)))
    counted: defaultdict[tuple[str, date, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in payments:
        one = counted[each.merchant_id, date.fromisoformat(each.day), each.money.currency]
        one[0] += 1
        one[1] += each.money.amount_minor
    log.warning("payments_without_contract", merchants=sorted({key[0] for key in counted})[:10])
    counts = [(*key, *numbers) for key, numbers in counted.items()]
    await connection.execute(_COUNT, *map(list, zip(*counts, strict=True)))


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction did. last: the payment it came to, None at the end."""

    fees: LateFees
    last: UUID | None


class PostgresUnpriced:
    """Meets `switch.settlement.pricing.UnpricedStore`."""

    def __init__(self, pool: Pool, card_types: CardTypes) -> None:
        self._sessions = Sessions(pool)
        self._card_type = card_types.of

    async def waiting(self, merchant_id: str, after: tuple[str, str, str], limit: int) -> list[Unpriced]:
        """Of one merchant, or with "" of all; by (merchant_id, day, currency)."""
        merchant, day, currency = after
        rows = await self._sessions.run(
            lambda each: each.fetch(_WAITING, merchant_id, merchant, date.fromisoformat(day), currency, limit)
        )
        return [unpriced_from(row) for row in rows]

    async def begun_days(self, of: Unpriced) -> list[str]:
        rows = await self._sessions.run(lambda each: each.fetch(_BEGUN, *_key(of)))
        return [row["begun_day"].isoformat() for row in rows]

    async def price(
        self, of: Unpriced, contracts: Mapping[str, Contract | None], after: UUID | None, entry: AuditEntry, now_ms: int
    ) -> Part:
        """Some of them, each exactly once, after the given one. contracts: by day. Payments begun on a day that is not
        among them came meanwhile, and wait. entry: is told what was done, and not written where nothing was."""

        async def work(connection: Connection) -> Part:
            await connection.execute(CLAIM)
            rows = await connection.fetch(_PAYMENTS, *_key(of), after or _FIRST, AT_ONCE)
            last = UUID(int=rows[-1]["posting_id"].int) if len(rows) == AT_ONCE else None
            payments = [each for each in map(_payment_from, rows) if each.begun_day in contracts]
            done, postings = await self._priced(connection, payments, contracts, now_ms)
            contract = contracts[of.day]
            version = contract.version if contract is not None else 0
            fees = LateFees(of.merchant_id, of.day, of.currency, len(done), _fee_minor(postings), version)
            if done:
                await post(connection, postings)
                await _take_off(connection, of, done)
                told = {"payments": fees.payments, "fee_minor": fees.fee_minor, "contract_version": version}
                await append(connection, replace(entry, after=told))
            return Part(fees, last)

        return await self._sessions.transaction(work)

    async def _priced(
        self, connection: Connection, payments: Sequence[UnpricedPayment], contracts: Mapping[str, Contract | None],
        now_ms: int,
    ) -> tuple[list[UnpricedPayment], list[Posting]]:  # fmt: skip
        books = await books_of(connection, {(each.merchant_id, each.authorization_id) for each in payments})
        tiered = (each for each in payments if (contract := contracts[each.day]) is not None and has_tiers(contract))
        volumes = await volumes_of(connection, map(volume_key, tiered))
        done: list[UnpricedPayment] = []
        postings: list[Posting] = []
        for each in payments:
            book, card_type = books[each.merchant_id, each.authorization_id], self._card_type(each.card_prefix)
            found = late_fee(each, contracts, book, card_type, volumes, now_ms)
            if found is not None:
                done.append(each)
                postings += found
        return done, postings


async def _take_off(connection: Connection, of: Unpriced, done: Sequence[UnpricedPayment]) -> None:
    await connection.execute(_DONE, *_key(of), [each.posting_id for each in done])
    await connection.execute(_COUNT_DOWN, *_key(of), len(done), sum(each.money.amount_minor for each in done))
    await connection.execute(_FORGET, *_key(of))


def unpriced_from(row: Record) -> Unpriced:
    return Unpriced(row["merchant_id"], row["day"].isoformat(), row["currency"], row["payments"], row["amount_minor"])


def _key(of: Unpriced) -> tuple[str, date, str]:
    return of.merchant_id, date.fromisoformat(of.day), of.currency


def _fee_minor(postings: Iterable[Posting]) -> int:
    return -sum(leg.amount_minor for each in postings for leg in each.legs if leg.account == FEES)


def _payment_from(row: Record) -> UnpricedPayment:
    return UnpricedPayment(
        row["merchant_id"], UUID(int=row["posting_id"].int), UUID(int=row["authorization_id"].int), row["channel"],
        row["card_prefix"], Money(row["amount_minor"], row["currency"]), row["time_ms"], row["begun_day"].isoformat(),
        row["source"],
    )  # fmt: skip
