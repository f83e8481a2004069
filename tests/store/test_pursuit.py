"""Captures and refunds whose outcome is open are pursued until the channel answers (invariants 5, 8, 9, 12)."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Operation, State
from switch.ports import FollowUp, FollowUpResult
from switch.store.journal import PostgresJournal

CAPTURE, VOID, REFUND, REVERSAL = Operation.CAPTURE, Operation.VOID, Operation.REFUND, Operation.REVERSAL
MakeFollowOn = Callable[..., FollowOn]
Approve = Callable[..., Any]
LeaveSilent = Callable[..., Any]


@pytest.fixture
def leave_silent(journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn) -> LeaveSilent:
    """An approved original and a follow-on of it that the channel did not answer."""

    async def run(operation: Operation, amount_minor: int, **fields: Any) -> tuple[Authorization, FollowOn]:
        kind = Operation.PRE_AUTHORIZATION if operation is CAPTURE else Operation.SALE
        original = await approve(operation=kind, **fields)
        follow_on = make_follow_on(original, operation, amount_minor)
        await send_in_vain(journal, follow_on, original)
        return original, follow_on

    return run


async def send_in_vain(journal: PostgresJournal, follow_on: FollowOn, original: Authorization) -> None:
    stored, _ = await journal.begin_follow_on(follow_on, None)
    assert stored.state is State.SENT
    follow_on.state, follow_on.response_code, follow_on.answered_time_ms = State.UNKNOWN, "68", 1
    await journal.finish_follow_on(follow_on, original)


def conclude(follow_up: FollowUp, state: State) -> tuple[FollowUp, FollowUpResult]:
    follow_on = follow_up.follow_on
    assert follow_on is not None
    follow_on.state, follow_on.response_code, follow_on.reason = state, "05", "said the channel"
    follow_on.channel_reference, follow_on.answered_time_ms = "reference", 2
    return follow_up, FollowUpResult(state)


async def found(journal: PostgresJournal, original: Authorization) -> tuple[Authorization, list[FollowOn]]:
    now = await journal.find(original.merchant_id, original.id)
    assert now is not None
    return now, await journal.find_follow_ons(original.merchant_id, original.id)


@pytest.mark.parametrize("operation", [CAPTURE, REFUND])
async def test_a_claim_carries_the_follow_on_and_its_trace(
    journal: PostgresJournal, leave_silent: LeaveSilent, owner: UUID, operation: Operation
) -> None:
    original, follow_on = await leave_silent(operation, 4_000)
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    assert (follow_up.operation, follow_up.follow_on, follow_up.attempts) == (operation, follow_on, 0)
    assert follow_up.authorization.id == original.id
    assert follow_up.trace == {"stan": "000002"}
    follow_up.trace = {}
    await journal.keep_follow_up_trace([follow_up])  # the follow-on's own stays what it is
    await journal.finish_follow_ups([(follow_up, FollowUpResult(None))])
    [again] = await journal.claim_follow_ups(owner, 10, 5)
    assert (again.attempts, again.trace) == (1, {"stan": "000002"})


@pytest.mark.parametrize(("state", "captured_minor"), [(State.APPROVED, 4_000), (State.DECLINED, 0)])
async def test_the_channels_word_ends_a_capture(
    journal: PostgresJournal, leave_silent: LeaveSilent, owner: UUID, state: State, captured_minor: int
) -> None:
    original, follow_on = await leave_silent(CAPTURE, 4_000)
    assert (await found(journal, original))[0].captured_minor == 4_000
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    await journal.finish_follow_ups([conclude(follow_up, state)])
    now, [kept] = await found(journal, original)
    assert (now.state, now.captured_minor) == (State.APPROVED, captured_minor)
    assert (kept.state, kept.response_code, kept.reason) == (state, "05", "said the channel")
    assert (kept.channel_reference, kept.answered_time_ms, kept.trace) == ("reference", 2, follow_on.trace)
    assert await journal.claim_follow_ups(owner, 10, 5) == []


async def test_two_of_one_original_are_pursued_each_for_itself(
    journal: PostgresJournal, leave_silent: LeaveSilent, make_follow_on: MakeFollowOn, owner: UUID
) -> None:
    original, first = await leave_silent(REFUND, 1_000)
    second = make_follow_on(original, REFUND, 2_000)
    await send_in_vain(journal, second, original)
    claimed = await journal.claim_follow_ups(owner, 10, 5)
    assert {each.follow_on.id for each in claimed if each.follow_on} == {first.id, second.id}
    await journal.finish_follow_ups([conclude(each, State.DECLINED) for each in claimed])  # both in one batch
    assert (await found(journal, original))[0].refunded_minor == 0


async def test_its_fence_guards_the_reserve(journal: PostgresJournal, leave_silent: LeaveSilent, owner: UUID) -> None:
    """Invariant 9: one that lost its lease gives nothing back a second time."""
    original, _ = await leave_silent(REFUND, 1_000)
    [late] = await journal.claim_follow_ups(uuid4(), 10, 0.05)
    assert await journal.claim_follow_ups(owner, 10, 5) == []
    await asyncio.sleep(0.06)
    [ours] = await journal.claim_follow_ups(owner, 10, 5)
    await journal.finish_follow_ups([conclude(late, State.DECLINED)])
    now, [kept] = await found(journal, original)
    assert (now.refunded_minor, kept.state) == (1_000, State.UNKNOWN)
    await asyncio.gather(*(journal.finish_follow_ups([conclude(ours, State.DECLINED)]) for _ in range(3)))
    now, [kept] = await found(journal, original)
    assert (now.refunded_minor, kept.state) == (0, State.DECLINED)


async def test_a_refund_waits_for_what_is_older_of_its_payer(
    journal: PostgresJournal, leave_silent: LeaveSilent, approve: Approve, make_follow_on: MakeFollowOn, owner: UUID
) -> None:
    """Its place is that of its own creation, not of its original's."""
    original = await approve(payer_key=b"one", created_time_ms=1_000)
    undone = await approve(payer_key=b"one", created_time_ms=2_000)
    await send_in_vain(journal, make_follow_on(original, REFUND, 1_000), original)
    await send_in_vain(journal, make_follow_on(undone, VOID), undone)
    [first] = await journal.claim_follow_ups(owner, 10, 5)
    assert (first.operation, first.authorization.id) == (REVERSAL, undone.id)
    await journal.finish_follow_ups([(first, FollowUpResult(State.REVERSED))])
    [then] = await journal.claim_follow_ups(owner, 10, 5)
    assert (then.operation, then.authorization.id) == (REFUND, original.id)


async def test_a_dead_letter_goes_on_and_holds_nobody_up(
    journal: PostgresJournal, leave_silent: LeaveSilent, owner: UUID, database: asyncpg.Pool
) -> None:
    original, stuck = await leave_silent(REFUND, 1_000, payer_key=b"one")
    _, newer = await leave_silent(REFUND, 1_000, payer_key=b"one")
    [first] = await journal.claim_follow_ups(owner, 10, 5)
    assert first.follow_on is not None
    assert first.follow_on.id == stuck.id
    await journal.finish_follow_ups([(first, FollowUpResult(State.DEAD_LETTER, 60.0))])
    [next_one] = await journal.claim_follow_ups(owner, 10, 5)
    assert next_one.follow_on is not None
    assert next_one.follow_on.id == newer.id
    now, [kept] = await found(journal, original)
    assert (now.refunded_minor, kept.state) == (1_000, State.UNKNOWN)
    await database.execute("UPDATE follow_ups SET due_time_ms = 0")  # a minute later
    [again] = await journal.claim_follow_ups(owner, 10, 5)
    assert again.follow_on is not None
    assert (again.follow_on.id, again.attempts) == (stuck.id, 1)


async def test_racing_claimers_take_each_once(journal: PostgresJournal, leave_silent: LeaveSilent, owner: UUID) -> None:
    left = [(await leave_silent(REFUND, 100))[1] for _ in range(12)]
    claims = await asyncio.gather(*(journal.claim_follow_ups(uuid4(), 5, 5) for _ in range(4)))
    ids = [each.follow_on.id for claim in claims for each in claim if each.follow_on]
    assert len(ids) == len(set(ids))
    assert set(ids) <= {each.id for each in left}


@pytest.mark.parametrize("operation", [CAPTURE, REFUND])
async def test_what_a_killed_process_left_in_flight_is_pursued(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn, owner: UUID, operation: Operation
) -> None:
    """Killed between the intent and the outcome; when it only slept, what it heard comes too late (invariant 12)."""
    original = await approve(operation=Operation.PRE_AUTHORIZATION if operation is CAPTURE else Operation.SALE)
    created_time_ms = original.created_time_ms - 61_000
    follow_on = make_follow_on(original, operation, 1_000, created_time_ms=created_time_ms)
    await journal.begin_follow_on(follow_on, None)
    assert await journal.claim_follow_ups(owner, 10, 5) == []
    await asyncio.gather(*(journal.claim_in_doubt(owner) for _ in range(3)))
    follow_on.state, follow_on.response_code = State.DECLINED, "91"
    await journal.finish_follow_on(follow_on, original)
    assert (follow_on.state, follow_on.response_code, follow_on.reason) == (State.UNKNOWN, "68", "outcome lost")
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    assert follow_up.follow_on is not None
    assert (follow_up.operation, follow_up.follow_on.id, follow_up.trace) == (operation, follow_on.id, follow_on.trace)
    await journal.finish_follow_ups([conclude(follow_up, State.APPROVED)])
    now, [kept] = await found(journal, original)
    assert kept.state is State.APPROVED
    assert (now.captured_minor if operation is CAPTURE else now.refunded_minor) == 1_000


async def test_a_reversal_that_stays_silent_ends_reversed(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn, owner: UUID
) -> None:
    original = await approve()
    await send_in_vain(journal, make_follow_on(original, REVERSAL), original)
    for _ in range(2):
        [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
        assert (follow_up.operation, follow_up.follow_on) == (REVERSAL, None)
        await journal.finish_follow_ups([(follow_up, FollowUpResult(None))])
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    await journal.finish_follow_ups([(follow_up, FollowUpResult(State.REVERSED))])
    now, [kept] = await found(journal, original)
    assert (now.state, kept.state) == (State.REVERSED, State.APPROVED)
