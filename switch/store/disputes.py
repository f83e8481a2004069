"""Disputes in PostgreSQL. One of a payment is opened under the payment's row lock, as its refunds are begun, so that
both together never give back more than was captured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.audit import AuditEntry
from switch.domain.dispute import (
    EXPIRES_AS,
    Dispute,
    DisputeKind,
    DisputeState,
    Evidence,
    Payment,
    ReasonCategory,
    closing_entry,
    fee_legs,
    may_become,
    opening_legs,
)
from switch.domain.identity import computed_id, transmission_time_ms_of
from switch.domain.ledger import Leg, Posting, PostingKind
from switch.domain.money import Money
from switch.domain.refusals import Exists, Missing, NotPossible
from switch.domain.states import State
from switch.domain.webhook import told_of_dispute
from switch.store.audit_trail import append
from switch.store.dispute_holds import disputed_minor
from switch.store.ledger import post
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.webhooks import queue

_LOCK_PAYMENT = """
SELECT channel, currency, captured_minor, refunded_minor, state FROM authorizations
WHERE merchant_id = $1 AND id = $2 FOR UPDATE
"""
# On their way (SENT, UNKNOWN): a void or reversal gives all of it back, and a capture may yet be declined.
_ON_THEIR_WAY = """
SELECT count(*) FILTER (WHERE operation IN (4, 6)) AS undoing,
       coalesce(sum(amount_minor) FILTER (WHERE operation = 3), 0)::bigint AS captures_minor
FROM follow_ons WHERE merchant_id = $1 AND authorization_id = $2 AND state IN (1, 5)
"""
_PAYMENT_STANDS: Final = State.APPROVED
_FIND = "SELECT * FROM disputes WHERE merchant_id = $1 AND id = $2"
_LOCK = _FIND + " FOR UPDATE"
_OPEN = """
INSERT INTO disputes (
    merchant_id, id, authorization_id, channel, kind, state, case_number, amount_minor, currency, reason_code, category,
    text, statement, outcome, opened_by, opened_time_ms, due_time_ms, ended_time_ms, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
"""
_MOVE = """
UPDATE disputes SET state = $3, statement = $4, outcome = $5, due_time_ms = $6, ended_time_ms = $7, version = $8
WHERE merchant_id = $1 AND id = $2
"""
_LIST = """
SELECT * FROM disputes
WHERE merchant_id = $1 AND id > $2 AND (cardinality($3::smallint[]) = 0 OR state = ANY ($3))
ORDER BY id LIMIT $4
"""
# For finance, over all merchants.
_LIST_ALL = """
SELECT * FROM disputes
WHERE (merchant_id, id) > ($1, $2) AND (cardinality($3::smallint[]) = 0 OR state = ANY ($3))
ORDER BY merchant_id, id LIMIT $4
"""
_DUE = """
SELECT * FROM disputes WHERE state IN (1, 2, 3) AND due_time_ms <= $1 AND due_time_ms > 0
ORDER BY due_time_ms LIMIT $2 FOR UPDATE SKIP LOCKED
"""
_EVIDENCE = """
SELECT id, name, content_type, size_bytes, sha256, who, time_ms FROM dispute_evidence
WHERE merchant_id = $1 AND dispute_id = $2 ORDER BY time_ms, id
"""
_CONTENT = "SELECT content FROM dispute_evidence WHERE merchant_id = $1 AND dispute_id = $2 AND id = $3"
_KEEP_EVIDENCE = """
INSERT INTO dispute_evidence (
    merchant_id, dispute_id, id, name, content_type, size_bytes, sha256, who, time_ms, content)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_OWN_WORDS: Final = ("kind", "money", "reason_code", "category", "text", "authorization_id")
"""What a repeat of the opening must say again."""


@dataclass(frozen=True, slots=True)
class Move:
    """What somebody, or a deadline, does to a dispute. decide: (dispute as it is) -> as it shall be; raises a refusal.

    who: `Caller.name`; "" for a deadline, which is no person's act and writes no audit entry.
    """

    act: str
    who: str
    now_ms: int
    today: date
    decide: Callable[[Dispute, list[Evidence]], Dispute]


class PostgresDisputes:
    """Meets `switch.settlement.disputes.Store`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def open(
        self, asked: Dispute, fee_minor: int, today: date, admit: Callable[[Dispute, Payment], None]
    ) -> Dispute:
        """A repeat gives what is there; another content under the same case is Exists. asked.channel: whose payment it
        must be, "" for any. Raises Missing and what `admit` raises, which sees the payment under its lock."""

        async def work(connection: Connection) -> Dispute:
            payment = await _payment(connection, asked.merchant_id, asked.authorization_id)
            if asked.channel not in ("", payment.channel):
                raise Missing("no such payment")
            stored = await connection.fetchrow(_FIND, asked.merchant_id, asked.id)
            if stored is not None:
                return _same(dispute_from(stored), asked)
            admit(asked, payment)
            dispute = replace(asked, channel=payment.channel)
            await connection.execute(_OPEN, *_row(dispute))
            await post(connection, _opening(dispute, fee_minor, today))
            after = {"state": dispute.state.name, "amount_minor": dispute.money.amount_minor, "case": dispute.case}
            entry = AuditEntry(
                dispute.merchant_id, dispute.opened_by, "DisputeService.OpenDispute", _subject(dispute), {}, after
            )
            await append(connection, entry)
            await queue(connection, [told_of_dispute(dispute, dispute.opened_time_ms)])
            return dispute

        return await self._sessions.transaction(work)

    async def move(self, merchant_id: str, identity: UUID, move: Move) -> Dispute:
        """Under the dispute's lock, with its postings and audit entry. Raises Missing and what `move.decide` raises."""

        async def work(connection: Connection) -> Dispute:
            row = await connection.fetchrow(_LOCK, merchant_id, identity)
            if row is None:
                raise Missing("no such dispute")
            before = dispute_from(row)
            evidence = await _evidence(connection, merchant_id, identity)
            return await _moved(connection, before, move.decide(before, evidence), move)

        return await self._sessions.transaction(work)

    async def expire(self, now_ms: int, today: date, limit: int) -> list[Dispute]:
        """End the stages whose deadline has passed; as they were before. Another process's are passed over."""

        async def work(connection: Connection) -> list[Dispute]:
            before = [dispute_from(row) for row in await connection.fetch(_DUE, now_ms, limit)]
            for each in before:
                state = EXPIRES_AS[each.kind, each.state]
                after = replace(each, state=state, outcome="the deadline passed", ended_time_ms=now_ms, due_time_ms=0)
                await _moved(connection, each, after, Move("", "", now_ms, today, lambda found, _: found))
            return before

        return await self._sessions.transaction(work)

    async def find(self, merchant_id: str, identity: UUID) -> tuple[Dispute, list[Evidence]] | None:
        async def work(connection: Connection) -> tuple[Dispute, list[Evidence]] | None:
            row = await connection.fetchrow(_FIND, merchant_id, identity)
            if row is None:
                return None
            return dispute_from(row), await _evidence(connection, merchant_id, identity)

        return await self._sessions.transaction(work)

    async def page(
        self, merchant_id: str, after: tuple[str, UUID], states: tuple[DisputeState, ...], limit: int
    ) -> list[Dispute]:
        """Of one merchant, or with "" of all. By (merchant, id): of a merchant in the order of the payments."""
        if merchant_id:
            statement, key = _LIST, (merchant_id, after[1])
        else:
            statement, key = _LIST_ALL, after
        rows = await self._sessions.run(lambda each: each.fetch(statement, *key, states, limit))
        return [dispute_from(row) for row in rows]

    async def keep_evidence(
        self, merchant_id: str, identity: UUID, evidence: Evidence, content: bytes,
        admit: Callable[[Dispute, list[Evidence]], None],
    ) -> Evidence:  # fmt: skip
        """The same content again is the file that is there. Raises Missing and what `admit` raises."""

        async def work(connection: Connection) -> Evidence:
            row = await connection.fetchrow(_LOCK, merchant_id, identity)
            if row is None:
                raise Missing("no such dispute")
            there = await _evidence(connection, merchant_id, identity)
            same = next((each for each in there if each.id == evidence.id), None)
            if same is not None:
                return same
            admit(dispute_from(row), there)
            await connection.execute(
                _KEEP_EVIDENCE, merchant_id, identity, evidence.id, evidence.name, evidence.content_type,
                evidence.size_bytes, evidence.sha256, evidence.who, evidence.time_ms, content,
            )  # fmt: skip
            after = {"name": evidence.name, "sha256": evidence.sha256.hex(), "size_bytes": evidence.size_bytes}
            subject = f"dispute/{identity}"
            entry = AuditEntry(merchant_id, evidence.who, "DisputeService.AddEvidence", subject, {}, after)
            await append(connection, entry)
            return evidence

        return await self._sessions.transaction(work)

    async def content(self, merchant_id: str, identity: UUID, evidence_id: UUID) -> bytes | None:
        found: bytes | None = await self._sessions.run(
            lambda each: each.fetchval(_CONTENT, merchant_id, identity, evidence_id)
        )
        return found

    async def disputed_minor(self, merchant_id: str, authorization_id: UUID) -> int:
        """What may not be refunded now. Whoever must be sure asks under the payment's lock
        (`switch.store.dispute_holds`)."""
        return await self._sessions.run(lambda each: disputed_minor(each, merchant_id, authorization_id))


async def _payment(connection: Connection, merchant_id: str, authorization_id: UUID) -> Payment:
    row = await connection.fetchrow(_LOCK_PAYMENT, merchant_id, authorization_id)
    if row is None:
        raise Missing("no such payment")
    others = await connection.fetchrow(_ON_THEIR_WAY, merchant_id, authorization_id)
    assert others is not None  # an aggregate always has one row
    held = await disputed_minor(connection, merchant_id, authorization_id)
    return Payment(
        row["channel"], row["currency"], row["captured_minor"] - others["captures_minor"], row["refunded_minor"], held,
        row["state"] != _PAYMENT_STANDS or others["undoing"] > 0,
    )  # fmt: skip


def _same(stored: Dispute, asked: Dispute) -> Dispute:
    if any(getattr(stored, name) != getattr(asked, name) for name in _OWN_WORDS):
        raise Exists("that case was opened with another content")
    return stored


async def _evidence(connection: Connection, merchant_id: str, identity: UUID) -> list[Evidence]:
    return [
        Evidence(
            UUID(int=row["id"].int), row["name"], row["content_type"], row["size_bytes"], row["sha256"], row["who"],
            row["time_ms"],
        )
        for row in await connection.fetch(_EVIDENCE, merchant_id, identity)
    ]  # fmt: skip


async def _moved(connection: Connection, before: Dispute, after: Dispute, move: Move) -> Dispute:
    if not may_become(before.kind, before.state, after.state):
        raise NotPossible(f"a {before.kind.name} that is {before.state.name} cannot become {after.state.name}")
    after = replace(after, version=before.version + 1)
    await connection.execute(
        _MOVE, after.merchant_id, after.id, after.state, after.statement, after.outcome, after.due_time_ms,
        after.ended_time_ms, after.version,
    )  # fmt: skip
    entry = closing_entry(after)
    if entry is not None:
        await post(connection, [_posting(after, *entry, move.now_ms, move.today)])
    if move.who:
        await append(
            connection,
            AuditEntry(
                after.merchant_id, move.who, move.act, _subject(after), {"state": before.state.name},
                {"state": after.state.name, "statement": after.statement, "outcome": after.outcome},
            ),
        )  # fmt: skip
    await queue(connection, [told_of_dispute(after, move.now_ms)])
    return after


def _opening(dispute: Dispute, fee_minor: int, today: date) -> list[Posting]:
    if dispute.kind is not DisputeKind.CHARGEBACK:
        return []
    at = dispute.opened_time_ms, today
    entries = [_posting(dispute, PostingKind.CHARGEBACK, opening_legs(dispute), *at)]
    if fee_minor:
        entries.append(_posting(dispute, PostingKind.DISPUTE_FEE, fee_legs(fee_minor), *at))
    return entries


def _posting(dispute: Dispute, kind: PostingKind, legs: tuple[Leg, ...], now_ms: int, today: date) -> Posting:
    """Each kind once for each dispute: the id is computed from both."""
    identity = computed_id("dispute", dispute.merchant_id, transmission_time_ms_of(dispute.id), f"{dispute.id} {kind}")
    return Posting(
        dispute.merchant_id, identity, kind, today.isoformat(), dispute.money.currency, legs, _subject(dispute), now_ms,
        dispute.authorization_id,
    )  # fmt: skip


def _subject(dispute: Dispute) -> str:
    return f"dispute/{dispute.id}"


def _row(each: Dispute) -> tuple[object, ...]:
    """In the order of _OPEN."""
    return (
        each.merchant_id, each.id, each.authorization_id, each.channel, each.kind, each.state, each.case,
        each.money.amount_minor, each.money.currency, each.reason_code, each.category, each.text, each.statement,
        each.outcome, each.opened_by, each.opened_time_ms, each.due_time_ms, each.ended_time_ms, each.version,
    )  # fmt: skip


def dispute_from(row: Record) -> Dispute:
    return Dispute(
        merchant_id=row["merchant_id"],
        id=UUID(int=row["id"].int),
        authorization_id=UUID(int=row["authorization_id"].int),
        channel=row["channel"],
        kind=DisputeKind(row["kind"]),
        state=DisputeState(row["state"]),
        case=row["case_number"],
        money=Money(row["amount_minor"], row["currency"]),
        reason_code=row["reason_code"],
        category=ReasonCategory(row["category"]),
        text=row["text"],
        statement=row["statement"],
        outcome=row["outcome"],
        opened_by=row["opened_by"],
        opened_time_ms=row["opened_time_ms"],
        due_time_ms=row["due_time_ms"],
        ended_time_ms=row["ended_time_ms"],
        version=row["version"],
    )
