"""Captures, voids, refunds, reversals: invariants 6 to 9, under concurrency too."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.money import Money
from switch.domain.states import Operation, State
from switch.ports import FollowUpResult
from switch.store.journal import PostgresJournal

CAPTURE, VOID, REFUND, REVERSAL = Operation.CAPTURE, Operation.VOID, Operation.REFUND, Operation.REVERSAL
MakeFollowOn = Callable[..., FollowOn]
Approve = Callable[..., Any]


async def begin(journal: PostgresJournal, follow_on: FollowOn) -> FollowOn:
    stored, _ = await journal.begin_follow_on(follow_on, None)
    return stored


async def finish(journal: PostgresJournal, follow_on: FollowOn, original: Authorization, state: State) -> None:
    follow_on.state, follow_on.response_code, follow_on.answered_time_ms = state, "00", 1
    await journal.finish_follow_on(follow_on, original)


async def stored(journal: PostgresJournal, original: Authorization) -> Authorization:
    found = await journal.find(original.merchant_id, original.id)
    assert found is not None
    return found


async def test_concurrent_captures_never_exceed_what_was_approved(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve(operation=Operation.PRE_AUTHORIZATION)
    results = await asyncio.gather(
        *(begin(journal, make_follow_on(original, CAPTURE, 3_000)) for _ in range(8))
    )  # 10,000 approved: three fit
    assert (
        sorted((each.state, each.response_code) for each in results)
        == [(State.SENT, "")] * 3 + [(State.DECLINED, "64")] * 5
    )
    assert (await stored(journal, original)).captured_minor == 9_000


async def test_concurrent_refunds_never_exceed_what_was_captured(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve()
    results = await asyncio.gather(*(begin(journal, make_follow_on(original, REFUND, 2_500)) for _ in range(8)))
    assert [each.state for each in results].count(State.SENT) == 4
    assert (await stored(journal, original)).refunded_minor == 10_000


async def test_captures_and_refunds_at_once_keep_the_order_of_amounts(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve(operation=Operation.PRE_AUTHORIZATION)
    work = [make_follow_on(original, operation, 1_700) for operation in (CAPTURE, REFUND) * 10]

    async def one(follow_on: FollowOn, number: int) -> None:
        if (await begin(journal, follow_on)).state is State.SENT:
            await finish(journal, follow_on, replace(original), State.DECLINED if number % 3 == 0 else State.APPROVED)

    await asyncio.gather(*(one(follow_on, number) for number, follow_on in enumerate(work)))
    now, kept = await stored(journal, original), await journal.find_follow_ons(original.merchant_id, original.id)
    sums = {
        operation: sum(
            each.money.amount_minor for each in kept if each.operation is operation and each.state is State.APPROVED
        )
        for operation in (CAPTURE, REFUND)
    }
    assert (now.captured_minor, now.refunded_minor) == (sums[CAPTURE], sums[REFUND])
    assert 0 <= now.refunded_minor <= now.captured_minor <= now.approved_minor
    assert len(kept) == 20


async def test_a_capture_in_flight_is_not_refunded(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    """It may still be declined, and its money never have been there."""
    original = await approve(operation=Operation.PRE_AUTHORIZATION)
    capture = make_follow_on(original, CAPTURE, 4_000)
    await begin(journal, capture)
    assert (await begin(journal, make_follow_on(original, REFUND, 1))).response_code == "64"
    await finish(journal, capture, original, State.APPROVED)
    assert (await begin(journal, make_follow_on(original, REFUND, 4_000))).state is State.SENT


async def test_a_declined_capture_gives_back_and_an_unknown_one_keeps(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve(operation=Operation.PRE_AUTHORIZATION)
    declined, unknown = make_follow_on(original, CAPTURE, 4_000), make_follow_on(original, CAPTURE, 6_000)
    await begin(journal, declined)
    await begin(journal, unknown)
    await finish(journal, declined, original, State.DECLINED)
    assert original.captured_minor == 6_000
    await finish(journal, unknown, original, State.UNKNOWN)
    assert original.captured_minor == 6_000
    await finish(journal, unknown, original, State.DECLINED)  # the resolver's by now: no effect
    assert (unknown.state, original.captured_minor) == (State.UNKNOWN, 6_000)
    assert (await stored(journal, original)).captured_minor == 6_000


async def test_a_repeat_has_one_effect_and_gets_what_was_stored(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    """Invariant 8."""
    original = await approve()
    refund = make_follow_on(original, REFUND, 1_000)
    other_content = replace(refund, money=Money(2_000, "CNY"), fingerprint=b"other")
    results = await asyncio.gather(*(begin(journal, replace(refund)) for _ in range(5)))
    assert len({id(each) for each in results}) == 5
    repeat = await begin(journal, other_content)
    assert repeat is not other_content
    assert repeat.money.amount_minor == 1_000
    assert repeat.fingerprint == refund.fingerprint
    assert (await stored(journal, original)).refunded_minor == 1_000


async def test_begin_says_whether_it_is_fresh(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve()
    refund = make_follow_on(original, REFUND, 1_000)
    assert await begin(journal, refund) is refund
    assert await begin(journal, refund) is not refund


@pytest.mark.parametrize(
    ("operation", "amount_minor", "code"),
    [(CAPTURE, 1, "12"), (REFUND, 10_001, "64"), (REFUND, 0, "13"), (REFUND, -1, "13"), (VOID, 9_999, "64"),
     (REVERSAL, 9_999, "64"), (Operation.INQUIRY, 1, "12")],
)  # fmt: skip
async def test_what_is_refused_of_a_sale_is_stored_with_its_reason(
    journal: PostgresJournal,
    approve: Approve,
    make_follow_on: MakeFollowOn,
    operation: Operation,
    amount_minor: int,
    code: str,
) -> None:
    original = await approve()
    refused = await begin(journal, make_follow_on(original, operation, amount_minor))
    assert (refused.state, refused.response_code) == (State.DECLINED, code)
    assert refused.reason
    assert await journal.find_follow_ons(original.merchant_id, original.id) == [refused]
    assert await stored(journal, original) == original


async def test_other_currency_other_acquirer_and_missing_original(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn, make_intent: Callable[..., Authorization]
) -> None:
    original = await approve()
    currency = await begin(journal, make_follow_on(original, REFUND, 1, money=Money(1, "USD")))
    stranger = await begin(journal, make_follow_on(original, REFUND, 1, acquirer_id="acquirer-2"))
    missing = await begin(journal, make_follow_on(make_intent(), REFUND, 1))
    assert [each.response_code for each in (currency, stranger, missing)] == ["64", "25", "25"]


@pytest.mark.parametrize(("operation", "state"), [(VOID, State.VOIDED), (REVERSAL, State.REVERSED)])
async def test_void_and_reversal_move_the_original(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn, operation: Operation, state: State
) -> None:
    original = await approve()
    undo = make_follow_on(original, operation, 10_000)
    assert (await begin(journal, undo)).state is State.SENT
    meanwhile = [await begin(journal, make_follow_on(original, each, 1_000)) for each in (REFUND, VOID, REVERSAL)]
    assert {each.state for each in meanwhile} == {State.DECLINED}
    await finish(journal, undo, original, State.APPROVED)
    now = await stored(journal, original)
    assert (now.state, now.captured_minor, original.state) == (state, 0, state)
    assert (now.decision, now.approval_code, now.approved_minor) == (original.decision, "123456", 10_000)
    again = await begin(journal, make_follow_on(original, REVERSAL))
    assert (again.state, again.response_code) == (State.APPROVED, "00")
    assert (await begin(journal, make_follow_on(original, REFUND, 1))).response_code == "12"


async def test_what_was_refunded_or_captured_is_not_voided(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    sale, held = await approve(), await approve(operation=Operation.PRE_AUTHORIZATION)
    await begin(journal, make_follow_on(sale, REFUND, 1))
    await begin(journal, make_follow_on(held, CAPTURE, 1))
    for original in (sale, held):
        for operation in (VOID, REVERSAL):
            assert (await begin(journal, make_follow_on(original, operation))).response_code == "12"


async def test_a_void_that_stays_unknown_is_finished_by_the_resolver(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve()
    void = make_follow_on(original, VOID)
    await begin(journal, void)
    await finish(journal, void, original, State.UNKNOWN)
    assert original.owner is not None
    [follow_up] = await journal.claim_follow_ups(original.owner, 10, 5)
    assert (follow_up.operation, follow_up.authorization.state) == (REVERSAL, State.APPROVED)
    await journal.finish_follow_ups([(follow_up, FollowUpResult(State.REVERSED))])
    now = await stored(journal, original)
    assert (now.state, now.captured_minor, now.response_code) == (State.REVERSED, 0, "00")
    [kept] = await journal.find_follow_ons(original.merchant_id, original.id)
    assert (kept.state, kept.response_code) == (State.APPROVED, "00")


async def test_a_reversal_that_overtakes_its_original(
    journal: PostgresJournal, make_follow_on: MakeFollowOn, make_intent: Callable[..., Authorization]
) -> None:
    """Invariant 7: the tombstone declines the original when it comes."""
    original = make_intent()
    tombstone = replace(original, fingerprint=b"", masked_credential="", state=State.REVERSED, owner=None, trace={})
    reversal, found = await journal.begin_follow_on(make_follow_on(original, REVERSAL), tombstone)
    assert (reversal.state, reversal.response_code) == (State.APPROVED, "00")
    assert found is tombstone
    [late] = await journal.record_intents([original])
    assert late is not None
    assert (late.state, late.fingerprint) == (State.REVERSED, b"")
    assert await journal.record_outcomes([replace(original, state=State.APPROVED)], [0.0]) == [False]


async def test_original_and_reversal_at_once_agree(
    journal: PostgresJournal,
    make_follow_on: MakeFollowOn,
    make_intent: Callable[..., Authorization],
    database: asyncpg.Pool,
) -> None:
    """Whoever comes first: never a SENT row whose reversal believes that there is nothing to reverse."""
    for _ in range(15):
        original = make_intent()
        tombstone = replace(original, fingerprint=b"", state=State.REVERSED, owner=None)
        [was_there], (reversal, _) = await asyncio.gather(
            journal.record_intents([original]),
            journal.begin_follow_on(make_follow_on(original, REVERSAL), tombstone),
        )
        now = await stored(journal, original)
        if was_there is not None:
            assert (now.state, reversal.state) == (State.REVERSED, State.APPROVED)
        else:
            assert (now.state, reversal.state) == (State.UNKNOWN, State.UNKNOWN)
            assert await database.fetchval("SELECT 1 FROM follow_ups WHERE authorization_id = $1", original.id) == 1


@pytest.mark.parametrize("state", [State.SENT, State.AWAITING_PAYER, State.UNKNOWN])
async def test_a_reversal_of_an_open_original_is_the_resolvers(
    journal: PostgresJournal,
    make_follow_on: MakeFollowOn,
    make_intent: Callable[..., Authorization],
    state: State,
) -> None:
    """Invariant 6: the late approval finds the row taken, and does not cancel the reversal."""
    original = make_intent()
    await journal.record_intents([original])
    if state is not State.SENT:
        await journal.record_outcomes([replace(original, state=state)], [0.0])
    inquiries = await journal.claim_follow_ups(original.owner, 1, 5) if state is State.AWAITING_PAYER else []
    reversal, found = await journal.begin_follow_on(make_follow_on(original, REVERSAL), None)
    assert (reversal.state, found.state if found else None) == (State.UNKNOWN, State.UNKNOWN)
    assert await journal.record_outcomes([replace(original, state=State.APPROVED)], [0.0]) == [False]
    for inquiry in inquiries:  # the inquiry in flight came too late
        await journal.finish_follow_ups([(inquiry, FollowUpResult(State.APPROVED))])
    [follow_up] = await journal.claim_follow_ups(original.owner, 10, 5)
    assert follow_up.operation is REVERSAL
    await journal.finish_follow_ups([(follow_up, FollowUpResult(State.REVERSED))])
    assert (await stored(journal, original)).state is State.REVERSED
    [kept] = await journal.find_follow_ons(original.merchant_id, original.id)
    assert (kept.state, kept.response_code) == (State.APPROVED, "00")


async def test_a_reversal_of_a_declined_original_holds_nothing(
    journal: PostgresJournal, make_follow_on: MakeFollowOn, make_intent: Callable[..., Authorization]
) -> None:
    original = make_intent(state=State.DECLINED)
    await journal.record_intents([original])
    reversal = await begin(journal, make_follow_on(original, REVERSAL))
    assert (reversal.state, reversal.response_code) == (State.APPROVED, "00")
    assert (await stored(journal, original)).state is State.DECLINED


async def test_finishing_as_sent_is_a_bug(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn
) -> None:
    original = await approve()
    with pytest.raises(ValueError, match="SENT"):
        await journal.finish_follow_on(make_follow_on(original, REFUND, 1), original)
