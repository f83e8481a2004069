"""Settlement batches in PostgreSQL: what changes them, each with its postings and its audit entry in one commit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Final
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.ledger import Posting
from switch.domain.refusals import Missing, NotPossible
from switch.domain.settlement import (
    TRANSITIONS,
    Batch,
    Debtor,
    Drafted,
    LeftOut,
    Payout,
    PayoutState,
    given_up,
    paid,
    reserve_released,
    returned,
)
from switch.ports import Hsm
from switch.store.audit_trail import append
from switch.store.heavy import HeavyConnections
from switch.store.ledger import post
from switch.store.payout_numbers import PayoutNumbers
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.settlement_drafts import add_batch, available
from switch.store.settlement_rows import BATCH, PAYOUT, batch_from, left_out_from, payout_from

# Whoever sets money aside: one after the other.
_TURN = "SELECT one FROM settlement_turn WHERE one FOR UPDATE"
_CLOSED = "SELECT closed_through FROM ledger_books WHERE one"
_LOCK = f"SELECT {BATCH} FROM settlement_batches WHERE id = $1 FOR UPDATE"  # noqa: S608
_RELEASE = """
UPDATE settlement_batches SET state = $2, decided_by = $3, decided_time_ms = $4, execution_day = $5, debtor_name = $6,
    debtor_account = $7, debtor_bank_code = $8
WHERE id = $1
"""
_REJECT = "UPDATE settlement_batches SET state = $2, decided_by = $3, decided_time_ms = $4, reason = $5 WHERE id = $1"
_MOVE_PAYOUTS = """
UPDATE settlement_payouts SET state = $2, changed_time_ms = $3, reason = $4
WHERE batch_id = $1 AND merchant_id = ANY($5)
"""
_DROP_RESERVES = "UPDATE settlement_reserves SET released_time_ms = $2 WHERE batch_id = $1 AND released_time_ms IS NULL"
_PAYOUTS = f"""
SELECT {PAYOUT} FROM settlement_payouts
WHERE batch_id = $1 AND ($2::text[] IS NULL OR merchant_id = ANY($2)) ORDER BY merchant_id COLLATE "C"
"""  # noqa: S608
_PAY_BATCH = f"""
UPDATE settlement_batches SET state = {PayoutState.PAID:d} WHERE id = $1 AND state = {PayoutState.RELEASED:d}
    AND NOT EXISTS (SELECT 1 FROM settlement_payouts WHERE batch_id = $1 AND state = {PayoutState.RELEASED:d})
"""  # noqa: S608
_DUE = """
UPDATE settlement_reserves SET released_time_ms = $2
WHERE release_day <= $1 AND released_time_ms IS NULL
RETURNING merchant_id, batch_id, currency, amount_minor
"""
_LEFT_OUT = """
SELECT merchant_id, balance_minor, reason FROM settlement_left_out WHERE batch_id = $1 ORDER BY merchant_id COLLATE "C"
"""
_FIND = f"SELECT {BATCH} FROM settlement_batches WHERE id = $1"  # noqa: S608
_BATCHES = f"""
SELECT {BATCH} FROM settlement_batches WHERE (created_time_ms, id) < ($1, $2) ORDER BY created_time_ms DESC, id DESC
LIMIT $3
"""  # noqa: S608
_PAYOUTS_OF = f"""
SELECT {PAYOUT} FROM settlement_payouts WHERE merchant_id = $1 AND (created_time_ms, batch_id) < ($2, $3)
ORDER BY created_time_ms DESC, batch_id DESC LIMIT $4
"""  # noqa: S608
_NEWEST: Final = ((1 << 63) - 1, UUID(int=(1 << 128) - 1))
_KEEP_FILE = "UPDATE settlement_batches SET file_form = $2, file_digest = $3 WHERE id = $1 AND file_form = ''"
_KEPT_FILE = "SELECT file_form, file_digest FROM settlement_batches WHERE id = $1"


class PostgresBatches:
    """Meets `switch.settlement.store.Batches` and `Reserves`."""

    def __init__(self, pool: Pool, heavy: HeavyConnections, hsm: Hsm) -> None:
        self._sessions = Sessions(pool)
        self._heavy = heavy
        self._numbers = PayoutNumbers(self._sessions, hsm)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def closed_through(self) -> str:
        day = await self._sessions.run(lambda connection: connection.fetchval(_CLOSED))
        return day.isoformat() if day else ""

    async def available(self, currency: str) -> dict[str, int]:
        async with self._heavy.open() as connection:
            return await available(connection, currency)

    async def find(self, batch_id: UUID) -> Batch | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, batch_id))
        return batch_from(row) if row else None

    async def batches(self, before: tuple[int, UUID] | None, limit: int) -> list[Batch]:
        bound = before or _NEWEST
        rows = await self._sessions.run(lambda connection: connection.fetch(_BATCHES, *bound, limit))
        return [batch_from(row) for row in rows]

    async def payouts(self, batch_id: UUID) -> list[Payout]:
        return await self._sessions.run(lambda connection: _payouts(connection, batch_id, None))

    async def account_numbers(self, batch_id: UUID) -> dict[str, str]:
        return await self._numbers.opened(batch_id)

    async def left_out(self, batch_id: UUID) -> list[LeftOut]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_LEFT_OUT, batch_id))
        return [left_out_from(row) for row in rows]

    async def payouts_of(self, merchant_id: str, before: tuple[int, UUID] | None, limit: int) -> list[Payout]:
        bound = before or _NEWEST
        rows = await self._sessions.run(lambda connection: connection.fetch(_PAYOUTS_OF, merchant_id, *bound, limit))
        return [payout_from(row) for row in rows]

    # --- changing -----------------------------------------------------------------------------------------------------

    async def create(
        self, batch: Batch, decide: Callable[[Mapping[str, int]], Drafted], numbers: Mapping[str, str],
        entry: AuditEntry,
    ) -> Batch:  # fmt: skip
        sealed = await self._numbers.sealed(batch.id, numbers)

        async def work(connection: Connection) -> Batch:
            await connection.execute(_TURN)
            known = await connection.fetchrow(_FIND, batch.id)
            if known is not None:
                return batch_from(known)
            drafted = decide(await available(connection, batch.currency))
            made = replace(
                batch, payouts=len(drafted.payouts), total_minor=sum(each.payout_minor for each in drafted.payouts),
                reserve_minor=sum(each.reserve_minor for each in drafted.payouts),
            )  # fmt: skip
            await add_batch(connection, made, drafted, sealed)
            told = {**entry.after, "payouts": made.payouts, "total_minor": made.total_minor}
            await append(connection, replace(entry, after=told))
            return made

        return await self._heavy.transaction(work)

    async def release(self, batch_id: UUID, debtor: Debtor, entry: AuditEntry, day: str, now_ms: int) -> Batch:
        async def work(connection: Connection) -> Batch:
            batch = await _locked(connection, batch_id)
            if batch.state is PayoutState.RELEASED and batch.decided_by == entry.who:
                return batch
            _check(batch.state, PayoutState.RELEASED, "the batch")
            await connection.execute(
                _RELEASE, batch_id, PayoutState.RELEASED.value, entry.who, now_ms, date.fromisoformat(day), debtor.name,
                debtor.account, debtor.bank_code,
            )  # fmt: skip
            of_all = [each.merchant_id for each in await _payouts(connection, batch_id, None)]
            await connection.execute(_MOVE_PAYOUTS, batch_id, PayoutState.RELEASED.value, now_ms, "", of_all)
            await append(connection, entry)
            return await _locked(connection, batch_id)

        return await self._heavy.transaction(work)

    async def reject(self, batch_id: UUID, reason: str, entry: AuditEntry, day: str, now_ms: int) -> Batch:
        async def work(connection: Connection) -> Batch:
            batch = await _locked(connection, batch_id)
            if batch.state is PayoutState.REJECTED:
                return batch
            _check(batch.state, PayoutState.REJECTED, "the batch")
            payouts = await _payouts(connection, batch_id, None)
            await connection.execute(_REJECT, batch_id, PayoutState.REJECTED.value, entry.who, now_ms, reason)
            of_all = [each.merchant_id for each in payouts]
            await connection.execute(_MOVE_PAYOUTS, batch_id, PayoutState.REJECTED.value, now_ms, reason, of_all)
            await connection.execute(_DROP_RESERVES, batch_id, now_ms)
            await post(connection, [given_up(each, day, now_ms) for each in payouts])
            await append(connection, entry)
            return await _locked(connection, batch_id)

        return await self._heavy.transaction(work)

    async def end_payouts(
        self, batch_id: UUID, merchant_ids: Sequence[str], state: PayoutState, reason: str, entry: AuditEntry,
        day: str, now_ms: int,
    ) -> int:  # fmt: skip
        async def work(connection: Connection) -> int:
            await _locked(connection, batch_id)
            payouts = await _payouts(connection, batch_id, list(merchant_ids) or None)
            if len(payouts) < len(set(merchant_ids)):
                raise Missing("a merchant_id is of no payout of this batch")
            moving = _moving(payouts, state, named=bool(merchant_ids))
            if not moving:
                return 0
            enter = paid if state is PayoutState.PAID else returned
            ids = [each.merchant_id for each in moving]
            await connection.execute(_MOVE_PAYOUTS, batch_id, state.value, now_ms, reason, ids)
            await post(connection, [enter(each, day, now_ms) for each in moving])
            await connection.execute(_PAY_BATCH, batch_id)
            before = {"states": sorted({each.state.name for each in moving})}
            await append(connection, replace(entry, before=before, after={**entry.after, "payouts": len(moving)}))
            return len(moving)

        return await self._heavy.transaction(work)

    async def keep_file(self, batch_id: UUID, form: str, digest: bytes, entry: AuditEntry) -> tuple[str, bytes]:
        async def work(connection: Connection) -> tuple[str, bytes]:
            await connection.execute(_KEEP_FILE, batch_id, form, digest)
            row = await connection.fetchrow(_KEPT_FILE, batch_id)
            assert row is not None  # the batch was found before
            kept = row["file_form"], bytes(row["file_digest"])
            if kept == (form, digest):
                await append(connection, entry)
            return kept

        return await self._sessions.transaction(work)

    async def release_due(self, day: str, now_ms: int) -> int:
        async def work(connection: Connection) -> int:
            rows = await connection.fetch(_DUE, date.fromisoformat(day), now_ms)
            postings: list[Posting] = [
                reserve_released(
                    row["merchant_id"], row["batch_id"], (row["amount_minor"], row["currency"]), day, now_ms
                )
                for row in rows
            ]
            await post(connection, postings)
            return len(rows)

        return await self._heavy.transaction(work)


async def _locked(connection: Connection, batch_id: UUID) -> Batch:
    row = await connection.fetchrow(_LOCK, batch_id)
    if row is None:
        raise Missing("there is no such batch")
    return batch_from(row)


async def _payouts(connection: Connection, batch_id: UUID, merchant_ids: list[str] | None) -> list[Payout]:
    return [payout_from(row) for row in await connection.fetch(_PAYOUTS, batch_id, merchant_ids)]


def _check(current: PayoutState, following: PayoutState, what: str) -> None:
    if following not in TRANSITIONS[current]:
        raise NotPossible(f"{what} is {current.name} and cannot become {following.name}")


def _moving(payouts: Sequence[Payout], state: PayoutState, named: bool) -> list[Payout]:
    """Those that change. One that was named must be able to; of all, those that were returned stay."""
    moving = [each for each in payouts if each.state is not state]
    if not named:
        moving = [each for each in moving if each.state is not PayoutState.RETURNED]
    for each in moving:
        _check(each.state, state, f"the payout to {each.merchant_id}")
    return moving
