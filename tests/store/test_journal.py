"""Intents, attempts and outcomes: invariants 2, 4 and 12 on the hot path."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from switch.domain.authorization import Authorization
from switch.domain.money import Money
from switch.domain.states import Decision, Operation, State
from switch.ports import StoreUnavailable
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases

Make = Callable[..., Authorization]


async def test_every_field_comes_back(journal: PostgresJournal, make_intent: Make) -> None:
    intent = make_intent(
        payer_key=b"p" * 32, trace={"名": 'quote " backslash \\', "e": ""}, route_explanation="规则", response_code="0",
        reason="r", stage="s", decision=Decision.DECLINED, approval_code="a", retrieval_reference="rr",
        channel_reference="cr", emv_response=b"\x91\x00", approved_minor=3, captured_minor=2, refunded_minor=1,
        answered_time_ms=5, state=State.DECLINED, money=Money(999_999_999_999, "JPY"),
    )  # fmt: skip
    assert await journal.record_intents([intent]) == [None]
    assert await journal.find(intent.merchant_id, intent.id) == intent
    assert await journal.find("merchant-2", intent.id) is None


async def test_the_code_of_an_order_is_durable_with_its_outcome(journal: PostgresJournal, make_intent: Make) -> None:
    order = make_intent(operation=Operation.ORDER)
    await journal.record_intents([order])
    order.state, order.decision, order.order_code = State.AWAITING_PAYER, Decision.AWAITING_PAYER, "weixin://pay?pr=1"
    assert await journal.record_outcomes([order], [3.0]) == [True]
    assert await journal.find(order.merchant_id, order.id) == order
    assert await journal.record_intents([replace(order, state=State.SENT, order_code="")]) == [order]


async def test_a_repeat_gets_what_was_recorded(journal: PostgresJournal, make_intent: Make) -> None:
    first, second = make_intent(), make_intent()
    await journal.record_intents([first])
    other_content = replace(first, money=Money(1, "CNY"), fingerprint=b"other")
    assert await journal.record_intents([second, other_content]) == [None, first]
    assert await journal.find(first.merchant_id, first.id) == first


async def test_a_repeat_within_one_batch(journal: PostgresJournal, make_intent: Make) -> None:
    first, between = make_intent(), make_intent()
    again = replace(first, money=Money(1, "CNY"), fingerprint=b"other")
    assert await journal.record_intents([between, first, again, again]) == [None, None, first, first]


async def test_equal_ids_of_two_merchants_are_two_authorizations(journal: PostgresJournal, make_intent: Make) -> None:
    first = make_intent()
    assert await journal.record_intents([first, replace(first, merchant_id="merchant-2")]) == [None, None]


async def test_racing_batches_record_each_once(journal: PostgresJournal, make_intent: Make) -> None:
    """Invariant 2; opposite orders must not lock each other out."""
    intents = [make_intent() for _ in range(50)]
    batches = [intents, intents[::-1], intents, intents[::-1]]
    results = await asyncio.gather(*(journal.record_intents(batch) for batch in batches))
    assert sum(result.count(None) for result in results) == 50


async def test_finished_rows_and_empty_batches(journal: PostgresJournal, make_intent: Make) -> None:
    declined = make_intent(state=State.DECLINED, decision=Decision.DECLINED, response_code="54", owner=None, attempt=0)
    assert await journal.record_intents([declined]) == [None]
    assert await journal.record_intents([]) == []
    assert await journal.record_outcomes([], []) == []
    assert await journal.record_outcomes([declined], [0.0]) == [False]


async def test_a_process_without_a_lease_records_nothing(
    journal: PostgresJournal, leases: PostgresLeases, make_intent: Make
) -> None:
    """Nobody would look for its rows (invariant 12)."""
    gone, _ = await leases.join("gone")
    await leases.leave(gone)
    for owner in (gone, uuid4(), None):
        intent = make_intent(owner=owner)
        with pytest.raises(StoreUnavailable, match="lease"):
            await journal.record_intents([intent])
        assert await journal.find(intent.merchant_id, intent.id) is None


async def test_attempts_and_outcomes(journal: PostgresJournal, make_intent: Make) -> None:
    intents = [make_intent() for _ in range(3)]
    await journal.record_intents(intents)
    for intent in intents:
        intent.channel, intent.attempt, intent.trace = "issuer", 2, {"stan": "000009"}
        intent.route_explanation = "unionpay was down"
    assert await journal.record_attempts(intents) == [True] * 3
    for intent in intents:
        intent.state, intent.decision, intent.response_code = State.APPROVED, Decision.APPROVED, "10"
        intent.approval_code, intent.retrieval_reference, intent.channel_reference = "A1", "R1", "C1"
        intent.emv_response, intent.approved_minor, intent.captured_minor = b"\x91\x02", 5_000, 5_000
        intent.answered_time_ms = intent.created_time_ms + 7
    assert await journal.record_outcomes(intents, [0.0] * 3) == [True] * 3
    assert await journal.find(intents[1].merchant_id, intents[1].id) == intents[1]


async def test_an_outcome_needs_a_row_that_is_sent_and_ours(
    journal: PostgresJournal, make_intent: Make, database: asyncpg.Pool
) -> None:
    """Terminal states absorb (invariant 4), and what was claimed by another is another's (invariant 12)."""
    done, stolen, ours = (make_intent() for _ in range(3))
    await journal.record_intents([done, stolen, ours])
    done.state, done.decision = State.DECLINED, Decision.DECLINED
    assert await journal.record_outcomes([done], [0.0]) == [True]
    late = [
        replace(each, state=State.APPROVED, approved_minor=1) for each in (done, replace(stolen, owner=uuid4()), ours)
    ]
    assert await journal.record_outcomes(late, [0.0] * 3) == [False, False, True]
    assert await journal.record_attempts([done]) == [False]
    assert await journal.find(done.merchant_id, done.id) == done
    assert await database.fetchval("SELECT count(*) FROM follow_ups") == 0


async def test_open_outcomes_open_their_follow_ups(
    journal: PostgresJournal, make_intent: Make, database: asyncpg.Pool
) -> None:
    unknown, awaiting, approved = (make_intent(payer_key=b"p") for _ in range(3))
    await journal.record_intents([unknown, awaiting, approved])
    unknown.state, awaiting.state, approved.state = State.UNKNOWN, State.AWAITING_PAYER, State.APPROVED
    await journal.record_outcomes([unknown, awaiting, approved], [60.0, 2.0, 0.0])
    rows = await database.fetch(
        "SELECT authorization_id, operation, due_time_ms - now_ms() AS after_ms FROM follow_ups ORDER BY operation"
    )
    assert [(row["authorization_id"], row["operation"]) for row in rows] == [(unknown.id, 6), (awaiting.id, 7)]
    assert 55_000 < rows[0]["after_ms"] <= 60_000
    assert rows[1]["after_ms"] <= 2_000
