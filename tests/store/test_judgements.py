"""Judgements are stored with the intents that they are of, once."""

from collections.abc import Callable
from uuid import UUID

import asyncpg

from switch.domain.authorization import Authorization
from switch.domain.risk import Judged, Judgement, Outcome, Subject
from switch.risk.packing import pack_facts, pack_subjects, unpack_facts, unpack_subjects
from switch.store.journal import PostgresJournal

FACTS = {"amount_minor": 1250, "card_lists": ["stolen"], "pin_given": False, "currency": "CNY"}
SUBJECTS = {Subject.CARD: "00" * 16, Subject.MERCHANT: "ff" * 16}


def judged(score: int = 0) -> Judged:
    judgement = Judgement(
        Outcome.REVIEW,
        score=score,
        model_score=17,
        fired=("big", "new"),
        shadow=("maybe",),
        absent=(),
        rules_version=3,
        failed=("odd",),
    )
    return Judged(judgement, pack_facts(FACTS), pack_subjects(SUBJECTS))


async def stored(database: asyncpg.Pool, identity: UUID) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await database.fetch("SELECT * FROM risk_judgements WHERE id = $1", identity)
    return rows


async def test_a_judgement_is_stored_with_its_intent(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> None:
    one, other = make_intent(), make_intent()
    assert await journal.record_intents([one, other], {one.id: judged(250)}) == [None, None]
    [row] = await stored(database, one.id)
    assert (row["outcome"], row["score"], row["model_score"], row["rules_version"]) == (2, 250, 17, 3)
    assert (row["fired"], row["shadow"], row["absent"]) == (["big", "new"], ["maybe"], [])
    assert row["failed"] == ["odd"]
    assert (row["amount_minor"], row["currency"]) == (one.money.amount_minor, one.money.currency)
    assert unpack_facts(row["facts"]) == FACTS
    assert unpack_facts(row["facts"], {"currency"}) == {"currency": "CNY"}
    assert unpack_subjects(row["subjects"]) == SUBJECTS
    assert await stored(database, other.id) == []


async def test_a_repeat_changes_nothing(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> None:
    intent = make_intent()
    await journal.record_intents([intent], {intent.id: judged(250)})
    assert await journal.record_intents([intent], {intent.id: judged(900)}) != [None]
    assert [row["score"] for row in await stored(database, intent.id)] == [250]
