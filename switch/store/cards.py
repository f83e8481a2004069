"""Cards of users. Adding, proving and removing are not the hot path: limits are held under a transaction's locks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.audit import AuditEntry
from switch.domain.card import Card, CardLimits, CardState, CardVerification
from switch.domain.refusals import Missing, NotPossible, TooMany
from switch.store import audit_trail
from switch.store.sessions import Connection, Pool, Sessions

_COLUMNS = """
user_id, card_id, state, is_default, token, brand, channel, prefix, last_four, expiry_yymm, verification_id,
verification_time_ms, verification_minor, verification_tries, verification_voided, created_time_ms, changed_time_ms
"""

# Two who add at once, to one wallet or of one number, are counted one after the other: wallet first, then number.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"

_LIVE_OF_NUMBER = f"SELECT {_COLUMNS} FROM cards WHERE user_id = $1 AND token = $2 AND state IN (1, 2)"  # noqa: S608

_COUNTS = """
SELECT (SELECT count(*) FROM cards WHERE user_id = $1 AND state IN (1, 2)) AS cards,
       (SELECT count(*) FROM cards WHERE user_id = $1 AND created_time_ms > $3) AS added,
       (SELECT count(*) FROM cards WHERE token = $2 AND token <> '' AND state IN (1, 4) AND verification_minor > 0
                                     AND created_time_ms > $4) AS proofs
"""

_INSERT = f"""
INSERT INTO cards ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
"""  # noqa: S608

_OF_USER = f"""
SELECT {_COLUMNS} FROM cards WHERE user_id = $1 AND state IN (1, 2) ORDER BY created_time_ms, card_id
"""  # noqa: S608

_FIND = f"SELECT {_COLUMNS} FROM cards WHERE user_id = $1 AND card_id = $2"  # noqa: S608

_VERIFIED_BY = "UPDATE cards SET channel = $3 WHERE user_id = $1 AND card_id = $2"

_FAIL = """
UPDATE cards SET state = 4, changed_time_ms = $3,
                 verification_minor = CASE WHEN $4 THEN verification_minor ELSE 0 END
WHERE user_id = $1 AND card_id = $2 AND state = 1
"""

_GIVEN_BACK = "UPDATE cards SET verification_voided = true WHERE user_id = $1 AND card_id = $2"

_HAS_DEFAULT = "SELECT 1 FROM cards WHERE user_id = $1 AND is_default FOR UPDATE"

_CHANGE = """
UPDATE cards SET state = $3, is_default = $4, verification_minor = $5, verification_tries = $6, changed_time_ms = $7
WHERE user_id = $1 AND card_id = $2
"""

_NO_DEFAULT = "UPDATE cards SET is_default = false WHERE user_id = $1 AND is_default"

_NEEDS = "SELECT 1 FROM cards WHERE token = $1 AND token <> '' AND state IN (1, 2, 4) LIMIT 1"

_ERASED = "UPDATE cards SET token = '' WHERE user_id = $1 AND card_id = $2 AND state = 3"

# The condition of the index cards_open stands in each line, so that it is used.
_OPEN = f"""
SELECT {_COLUMNS} FROM cards
WHERE (state = 1 OR NOT verification_voided OR (state IN (3, 4) AND token <> ''))
  AND (changed_time_ms <= $2 AND state = 1 OR changed_time_ms <= $1 AND NOT verification_voided
       OR changed_time_ms <= $1 AND state = 3 AND token <> '' OR changed_time_ms <= $3 AND state = 4 AND token <> '')
ORDER BY changed_time_ms LIMIT $4
"""  # noqa: S608
_DAY_MS = 86_400_000
_SETTLED_MS = 60_000


class PostgresCards:
    """Meets `switch.users.card_store.CardStore`."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def _execute(self, statement: str, *arguments: Any) -> None:
        await self._sessions.run(lambda connection: connection.execute(statement, *arguments))

    async def add(self, card: Card, limits: CardLimits, who: str) -> Card:
        async def work(connection: Connection) -> Card:
            for each in (card.user_id.hex, card.token):
                await connection.execute(_LOCK, f"cards|{each}")
            row = await connection.fetchrow(_LIVE_OF_NUMBER, card.user_id, card.token)
            if row is not None:
                return _card(row)
            now_ms = card.created_time_ms
            since = now_ms - _DAY_MS, now_ms - limits.proof_days * _DAY_MS
            counts = await connection.fetchrow(_COUNTS, card.user_id, card.token, *since)
            assert counts is not None
            if counts["cards"] >= limits.cards:
                raise TooMany(f"a wallet has at most {limits.cards} cards")
            if counts["added"] >= limits.added_a_day:
                raise TooMany(f"at most {limits.added_a_day} cards are added in 24 hours")
            if counts["proofs"] >= limits.proofs:
                raise TooMany(f"the card was to be proved {limits.proofs} times in {limits.proof_days} days")
            await connection.execute(_INSERT, *_row(card))
            await _audit(connection, who, "AddCard", None, card)
            return card

        return await self._sessions.transaction(work)

    async def of_user(self, user_id: UUID) -> list[Card]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_OF_USER, user_id))
        return [_card(each) for each in rows]

    async def find(self, user_id: UUID, card_id: UUID) -> Card | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, user_id, card_id))
        return None if row is None else _card(row)

    async def verified_by(self, card: Card, channel: str) -> None:
        await self._execute(_VERIFIED_BY, card.user_id, card.id, channel)

    async def fail(self, card: Card, now_ms: int, *, counts: bool) -> None:
        await self._execute(_FAIL, card.user_id, card.id, now_ms, counts)

    async def given_back(self, card: Card) -> None:
        await self._execute(_GIVEN_BACK, card.user_id, card.id)

    async def prove(self, user_id: UUID, card_id: UUID, minor: int, limits: CardLimits, now_ms: int, who: str) -> Card:
        async def work(connection: Connection) -> Card:
            card = await _locked(connection, user_id, card_id)
            proof = card.verification
            if card.state is not CardState.PENDING:
                raise NotPossible("the card does not wait for its amount")
            if now_ms - proof.time_ms >= limits.proof_s * 1000 or not proof.minor:
                raise NotPossible("the time to name the amount is over: remove the card and add it again")
            if minor == proof.minor:
                is_default = await connection.fetchrow(_HAS_DEFAULT, user_id) is None
                after = replace(card, state=CardState.ACTIVE, is_default=is_default, changed_time_ms=now_ms)
                after = replace(after, verification=replace(proof, minor=0))
            else:
                tries = proof.tries + 1
                state = CardState.FAILED if tries >= limits.tries else CardState.PENDING
                changed_ms = now_ms if state is CardState.FAILED else card.changed_time_ms
                after = replace(card, state=state, changed_time_ms=changed_ms, verification=replace(proof, tries=tries))
            await _change(connection, who, "ProveCard", card, after)
            return after

        return await self._sessions.transaction(work)

    async def set_default(self, user_id: UUID, card_id: UUID, who: str) -> Card:
        async def work(connection: Connection) -> Card:
            card = await _locked(connection, user_id, card_id)
            if card.state is not CardState.ACTIVE:
                raise NotPossible("only an active card can be the default")
            if card.is_default:
                return card
            await connection.execute(_NO_DEFAULT, user_id)
            after = replace(card, is_default=True)
            await _change(connection, who, "SetDefaultCard", card, after)
            return after

        return await self._sessions.transaction(work)

    async def remove(self, user_id: UUID, card_id: UUID, now_ms: int, who: str) -> Card:
        """PENDING becomes FAILED: its proof counts, or removing it would be a way around the limit."""

        async def work(connection: Connection) -> Card:
            card = await _locked(connection, user_id, card_id)
            if card.state is CardState.REMOVED:
                return card
            state = CardState.FAILED if card.state is CardState.PENDING else CardState.REMOVED
            after = replace(card, state=state, is_default=False, changed_time_ms=now_ms)
            await _change(connection, who, "RemoveCard", card, after)
            return after

        return await self._sessions.transaction(work)

    async def needs(self, token: str) -> bool:
        return await self._sessions.run(lambda connection: connection.fetchrow(_NEEDS, token)) is not None

    async def forget_token(self, card: Card) -> None:
        await self._execute(_ERASED, card.user_id, card.id)

    async def open(self, now_ms: int, limits: CardLimits, limit: int) -> Sequence[Card]:
        until = now_ms - _SETTLED_MS, now_ms - limits.proof_s * 1000, now_ms - limits.proof_days * _DAY_MS
        rows = await self._sessions.run(lambda connection: connection.fetch(_OPEN, *until, limit))
        return [_card(each) for each in rows]


async def _locked(connection: Connection, user_id: UUID, card_id: UUID) -> Card:
    """Under the wallet's lock, so that two changes of one wallet follow each other. Raises Missing."""
    await connection.execute(_LOCK, f"cards|{user_id.hex}")
    row = await connection.fetchrow(_FIND, user_id, card_id)
    if row is None:
        raise Missing("there is no such card")
    return _card(row)


async def _change(connection: Connection, who: str, act: str, before: Card, after: Card) -> None:
    await connection.execute(
        _CHANGE, after.user_id, after.id, after.state, after.is_default, after.verification.minor,
        after.verification.tries, after.changed_time_ms,
    )  # fmt: skip
    await _audit(connection, who, act, before, after)


async def _audit(connection: Connection, who: str, act: str, before: Card | None, after: Card) -> None:
    entry = AuditEntry(
        "", who, f"WalletService.{act}", f"card/{after.id}", {} if before is None else _told(before), _told(after)
    )
    await audit_trail.append(connection, entry)


def _told(card: Card) -> dict[str, Any]:
    return {"state": card.state.name, "default": card.is_default, "tries": card.verification.tries}


def _row(card: Card) -> tuple[Any, ...]:
    proof = card.verification
    return (
        card.user_id, card.id, card.state, card.is_default, card.token, card.brand, card.channel, card.prefix,
        card.last_four, card.expiry_yymm, proof.id, proof.time_ms, proof.minor, proof.tries, proof.voided,
        card.created_time_ms, card.changed_time_ms,
    )  # fmt: skip


def _card(row: asyncpg.Record) -> Card:
    proof = CardVerification(
        row["verification_id"], row["verification_time_ms"], row["verification_minor"], row["verification_tries"],
        row["verification_voided"],
    )  # fmt: skip
    return Card(
        row["user_id"], row["card_id"], CardState(row["state"]), row["is_default"], row["token"], row["brand"],
        row["channel"], row["prefix"], row["last_four"], row["expiry_yymm"], proof, row["created_time_ms"],
        row["changed_time_ms"],
    )  # fmt: skip
