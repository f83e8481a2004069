"""The resolver's queue: order per payer, leases, fences, and moves by the table (invariants 4 to 6, 12)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from switch.domain.authorization import Authorization
from switch.domain.states import Decision, Operation, State
from switch.ports import FollowUp, FollowUpResult
from switch.store.journal import PostgresJournal

Make = Callable[..., Authorization]
Open = Callable[..., Coroutine[Any, Any, Authorization]]


@pytest.fixture
def leave_open(journal: PostgresJournal, make_intent: Make) -> Open:
    """Record an authorization that stays open: UNKNOWN or AWAITING_PAYER."""

    async def run(state: State = State.UNKNOWN, after_s: float = 0.0, **fields: Any) -> Authorization:
        intent = make_intent(**fields)
        await journal.record_intents([intent])
        intent.state, intent.response_code, intent.decision = state, "68", Decision.UNKNOWN
        await journal.record_outcomes([intent], [after_s])
        return intent

    return run


async def found(journal: PostgresJournal, record: Authorization) -> Authorization:
    now = await journal.find(record.merchant_id, record.id)
    assert now is not None
    return now


async def test_a_claim_carries_all_that_is_needed(journal: PostgresJournal, leave_open: Open, owner: UUID) -> None:
    record = await leave_open(payer_key=b"p" * 32)
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    assert follow_up.authorization == record
    assert (follow_up.operation, follow_up.attempts, follow_up.fence, follow_up.trace) == (Operation.REVERSAL, 0, 1, {})
    assert await journal.claim_follow_ups(owner, 10, 5) == []


async def test_what_is_not_due_waits(journal: PostgresJournal, leave_open: Open, owner: UUID) -> None:
    await leave_open(after_s=60)
    assert await journal.claim_follow_ups(owner, 10, 5) == []


async def test_ordered_for_a_payer_parallel_over_payers(
    journal: PostgresJournal, leave_open: Open, owner: UUID
) -> None:
    first, second, third = [await leave_open(payer_key=b"one", created_time_ms=1_000 + n) for n in range(3)]
    other = await leave_open(payer_key=b"two")
    free = [await leave_open(payer_key=b"") for _ in range(2)]  # of nobody: no order
    claimed = await journal.claim_follow_ups(owner, 10, 5)
    assert {each.authorization.id for each in claimed} == {first.id, other.id, *(each.id for each in free)}
    [mine] = [each for each in claimed if each.authorization.id == first.id]
    await journal.finish_follow_ups([(mine, FollowUpResult(None, retry_after_s=60))])
    assert await journal.claim_follow_ups(owner, 10, 5) == []  # backing off, the older one still blocks
    await journal.finish_follow_ups([(mine, FollowUpResult(State.REVERSED))])
    [then] = await journal.claim_follow_ups(owner, 10, 5)
    assert then.authorization.id == second.id
    await journal.finish_follow_ups([(then, FollowUpResult(State.DEAD_LETTER))])
    [last] = await journal.claim_follow_ups(owner, 10, 5)  # a dead letter does not block for ever
    assert last.authorization.id == third.id


async def test_racing_claimers_share_the_work(journal: PostgresJournal, leave_open: Open, owner: UUID) -> None:
    records = [await leave_open(payer_key=bytes([n % 10])) for n in range(40)]
    claims = await asyncio.gather(*(journal.claim_follow_ups(uuid4(), 10, 5) for _ in range(4)))
    ids = [each.authorization.id for claim in claims for each in claim]
    assert len(ids) == len(set(ids)) <= 10
    assert set(ids) <= {record.id for record in records}


async def test_the_lease_of_a_dead_process_ends_and_its_fence_no_longer_holds(
    journal: PostgresJournal, leave_open: Open, owner: UUID
) -> None:
    record = await leave_open()
    [late] = await journal.claim_follow_ups(uuid4(), 10, 0.05)
    assert await journal.claim_follow_ups(owner, 10, 5) == []
    await asyncio.sleep(0.06)
    [ours] = await journal.claim_follow_ups(owner, 10, 5)
    assert ours.fence > late.fence
    late.trace = {"stan": "late"}
    await journal.keep_follow_up_trace([late])
    await journal.finish_follow_ups([(late, FollowUpResult(State.DEAD_LETTER))])
    assert (await found(journal, record)).state is State.UNKNOWN
    await journal.finish_follow_ups([(ours, FollowUpResult(State.REVERSED))])
    assert (await found(journal, record)).state is State.REVERSED


async def test_what_is_given_up_is_free_at_once_and_only_by_whoever_has_it(
    journal: PostgresJournal, leave_open: Open, owner: UUID
) -> None:
    await leave_open()
    [first] = await journal.claim_follow_ups(uuid4(), 10, 600)
    assert await journal.claim_follow_ups(owner, 10, 600) == []
    await journal.release_follow_ups([first])
    [second] = await journal.claim_follow_ups(owner, 10, 600)
    await journal.release_follow_ups([first])
    assert await journal.claim_follow_ups(uuid4(), 10, 600) == []
    await journal.finish_follow_ups([(second, FollowUpResult(State.REVERSED))])


async def test_trace_and_attempts_are_durable(journal: PostgresJournal, leave_open: Open, owner: UUID) -> None:
    await leave_open()
    for attempt in range(3):
        [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
        assert follow_up.attempts == attempt
        assert follow_up.trace == ({} if attempt == 0 else {"stan": "7"})
        follow_up.trace = {"stan": "7"}
        await journal.keep_follow_up_trace([follow_up])
        await journal.finish_follow_ups([(follow_up, FollowUpResult(None))])


async def test_a_reversal_moves_the_state_and_nothing_that_was_answered(
    journal: PostgresJournal, leave_open: Open, owner: UUID
) -> None:
    record = await leave_open()
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    follow_up.authorization.response_code = "00"
    follow_up.authorization.approval_code = "late"
    follow_up.authorization.decision = Decision.APPROVED
    await journal.finish_follow_ups([(follow_up, FollowUpResult(State.REVERSED))])
    record.state = State.REVERSED
    assert await found(journal, record) == record
    assert await journal.claim_follow_ups(owner, 10, 5) == []


@pytest.mark.parametrize("state", [State.APPROVED, State.DECLINED])
async def test_an_inquiry_that_learns_the_outcome(
    journal: PostgresJournal, leave_open: Open, owner: UUID, state: State
) -> None:
    await leave_open(State.AWAITING_PAYER)
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    record = follow_up.authorization
    assert follow_up.operation is Operation.INQUIRY
    record.state, record.decision, record.response_code = state, Decision[state.name], "00"
    record.approval_code, record.approved_minor, record.captured_minor = "555555", 10_000, 10_000
    await journal.finish_follow_ups([(follow_up, FollowUpResult(state))])
    assert await found(journal, record) == record
    assert await journal.claim_follow_ups(owner, 10, 5) == []


async def test_an_inquiry_in_vain_opens_a_reversal(journal: PostgresJournal, leave_open: Open, owner: UUID) -> None:
    record = await leave_open(State.AWAITING_PAYER, payer_key=b"p")
    [inquiry] = await journal.claim_follow_ups(owner, 10, 5)
    inquiry.authorization.decision = Decision.UNKNOWN
    await journal.finish_follow_ups([(inquiry, FollowUpResult(State.UNKNOWN))])
    assert (await found(journal, record)).state is State.UNKNOWN
    [reversal] = await journal.claim_follow_ups(owner, 10, 5)
    assert (reversal.operation, reversal.authorization.id) == (Operation.REVERSAL, record.id)


async def test_a_move_that_the_table_refuses_is_tried_again(
    journal: PostgresJournal, leave_open: Open, owner: UUID
) -> None:
    """Closing it would leave the authorization open with nobody working on it (invariant 5)."""
    record = await leave_open()
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    await journal.finish_follow_ups([(follow_up, FollowUpResult(State.APPROVED))])
    assert (await found(journal, record)).state is State.UNKNOWN
    [again] = await journal.claim_follow_ups(owner, 10, 5)
    assert again.attempts == 1


async def test_a_dead_letter_is_kept_as_dead(
    journal: PostgresJournal, leave_open: Open, owner: UUID, database: asyncpg.Pool
) -> None:
    record = await leave_open()
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    follow_up.authorization.reason = "gave up after 1,000 repeats"
    await journal.finish_follow_ups([(follow_up, FollowUpResult(State.DEAD_LETTER))])
    assert (await found(journal, record)).state is State.DEAD_LETTER
    row = await database.fetchrow("SELECT state, detail FROM follow_ups")
    assert tuple(row) == (3, "gave up after 1,000 repeats")


async def test_many_results_in_one_transaction(journal: PostgresJournal, leave_open: Open, owner: UUID) -> None:
    records = [await leave_open() for _ in range(20)]
    claimed = await journal.claim_follow_ups(owner, 100, 5)
    results: list[tuple[FollowUp, FollowUpResult]] = [
        (each, FollowUpResult(State.REVERSED if number % 2 else None)) for number, each in enumerate(claimed)
    ]
    await journal.finish_follow_ups(results)
    states = [(await found(journal, record)).state for record in records]
    assert states.count(State.REVERSED) == 10
    assert len(await journal.claim_follow_ups(owner, 100, 5)) == 10
    await journal.finish_follow_ups([])
    await journal.keep_follow_up_trace([])


async def test_what_is_open_is_counted_by_kind(journal: PostgresJournal, leave_open: Callable[..., object]) -> None:
    assert await journal.open_follow_ups() == {}
    await leave_open()  # type: ignore[misc]
    await leave_open()  # type: ignore[misc]
    assert await journal.open_follow_ups() == {Operation.REVERSAL: 2}
