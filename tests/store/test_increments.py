"""Increments: a pre-authorization is raised once the channel said so, in the same transaction, and never before."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.money import LARGEST_AMOUNT_MINOR, Money
from switch.domain.states import Operation, State
from switch.ports import FollowUpResult
from switch.store.journal import PostgresJournal

CAPTURE, VOID, INCREMENT, REVERSAL = Operation.CAPTURE, Operation.VOID, Operation.INCREMENT, Operation.REVERSAL
Approve = Callable[..., Any]
MakeFollowOn = Callable[..., FollowOn]


@pytest.fixture
async def held(approve: Approve) -> Authorization:
    """A pre-authorization of 100.00, approved."""
    record: Authorization = await approve(operation=Operation.PRE_AUTHORIZATION)
    return record


async def ended(
    journal: PostgresJournal,
    follow_on: FollowOn,
    original: Authorization,
    state: State,
    amount_minor: int | None = None,
) -> FollowOn:
    stored, _ = await journal.begin_follow_on(follow_on, None)
    assert stored.state is State.SENT, stored.reason
    if amount_minor is not None:
        follow_on.money = Money(amount_minor, "CNY")
    follow_on.state, follow_on.response_code, follow_on.answered_time_ms = state, "00", 1
    await journal.finish_follow_on(follow_on, original)
    return follow_on


async def amounts(journal: PostgresJournal, original: Authorization) -> tuple[int, int, int]:
    now = await journal.find(original.merchant_id, original.id)
    assert now is not None
    return now.approved_minor, now.incremented_minor, now.captured_minor


async def codes(journal: PostgresJournal, original: Authorization) -> list[tuple[State, str]]:
    kept = await journal.find_follow_ons(original.merchant_id, original.id)
    return [(each.state, each.response_code) for each in kept if each.operation is INCREMENT]


async def test_an_approved_one_raises_and_can_be_captured_whole(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn
) -> None:
    await ended(journal, make_follow_on(held, INCREMENT, 5_000), held, State.APPROVED)
    assert (held.approved_minor, held.incremented_minor) == (15_000, 5_000)
    assert await amounts(journal, held) == (15_000, 5_000, 0)
    await ended(journal, make_follow_on(held, CAPTURE, 15_000), held, State.APPROVED)
    more, _ = await journal.begin_follow_on(make_follow_on(held, CAPTURE, 1), None)
    assert (more.state, more.response_code) == (State.DECLINED, "64")


async def test_one_that_was_approved_in_part_raises_by_that_part(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn
) -> None:
    await ended(journal, make_follow_on(held, INCREMENT, 5_000), held, State.APPROVED, amount_minor=2_000)
    assert await amounts(journal, held) == (12_000, 2_000, 0)
    [kept] = await journal.find_follow_ons(held.merchant_id, held.id)
    assert kept.money.amount_minor == 2_000


@pytest.mark.parametrize("state", [State.DECLINED, State.UNKNOWN, State.SENT])
async def test_until_it_is_approved_it_cannot_be_captured(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn, state: State
) -> None:
    increment = make_follow_on(held, INCREMENT, 5_000)
    if state is State.SENT:
        await journal.begin_follow_on(increment, None)
    else:
        await ended(journal, increment, held, state)
    assert await amounts(journal, held) == (10_000, 0, 0)
    capture, _ = await journal.begin_follow_on(make_follow_on(held, CAPTURE, 10_001), None)
    assert (capture.state, capture.response_code) == (State.DECLINED, "64")


async def test_a_repeat_raises_once(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn
) -> None:
    increment = make_follow_on(held, INCREMENT, 5_000)
    begun = await asyncio.gather(*(journal.begin_follow_on(replace(increment), None) for _ in range(5)))
    copies = [stored for stored, _ in begun]
    for each in copies:
        each.state, each.response_code = State.APPROVED, "00"
    await asyncio.gather(*(journal.finish_follow_on(each, replace(held)) for each in copies))
    assert await amounts(journal, held) == (15_000, 5_000, 0)


@pytest.mark.parametrize(
    ("state", "raised_minor"), [(State.APPROVED, 5_000), (State.DECLINED, 0), (State.DEAD_LETTER, 0)]
)
async def test_an_unknown_one_is_pursued_under_its_trace(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn, owner: UUID, state: State,
    raised_minor: int,
) -> None:  # fmt: skip
    increment = await ended(journal, make_follow_on(held, INCREMENT, 5_000), held, State.UNKNOWN)
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    assert (follow_up.operation, follow_up.follow_on, follow_up.trace) == (INCREMENT, increment, increment.trace)
    assert follow_up.follow_on is not None
    follow_up.follow_on.state = state
    await journal.finish_follow_ups([(follow_up, FollowUpResult(state, 60))])
    await journal.finish_follow_ups([(follow_up, FollowUpResult(state, 60))])  # its fence is gone
    assert await amounts(journal, held) == (10_000 + raised_minor, raised_minor, 0)


async def test_what_a_process_left_in_flight_is_pursued(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn, owner: UUID, database: asyncpg.Pool
) -> None:
    await journal.begin_follow_on(make_follow_on(held, INCREMENT, 5_000), None)
    await database.execute("UPDATE follow_ons SET created_time_ms = created_time_ms - 61000")
    await journal.claim_in_doubt(owner)
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    assert follow_up.operation is INCREMENT


async def test_the_whole_stays_within_the_width_of_the_amount(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn
) -> None:
    room = LARGEST_AMOUNT_MINOR - 10_000
    too_much, _ = await journal.begin_follow_on(make_follow_on(held, INCREMENT, room + 1), None)
    assert (too_much.state, too_much.response_code) == (State.DECLINED, "13")
    results = await asyncio.gather(
        *(journal.begin_follow_on(make_follow_on(held, INCREMENT, room // 2), None) for _ in range(5))
    )
    assert [stored.state for stored, _ in results].count(State.SENT) == 2


async def test_only_an_approved_pre_authorization_that_is_not_being_undone(
    journal: PostgresJournal, approve: Approve, held: Authorization, make_follow_on: MakeFollowOn
) -> None:
    of_sale, _ = await journal.begin_follow_on(make_follow_on(await approve(), INCREMENT, 1), None)
    nothing, _ = await journal.begin_follow_on(make_follow_on(held, INCREMENT, 0), None)
    dollars, _ = await journal.begin_follow_on(make_follow_on(held, INCREMENT, money=Money(1, "USD")), None)
    await journal.begin_follow_on(make_follow_on(held, VOID), None)
    of_undone, _ = await journal.begin_follow_on(make_follow_on(held, INCREMENT, 1), None)
    refused = [of_sale, nothing, dollars, of_undone]
    assert [(each.state, each.response_code) for each in refused] == [
        (State.DECLINED, code) for code in ("12", "13", "64", "12")
    ]


@pytest.mark.parametrize("amount_minor", [0, 10_000, 15_000])
async def test_a_void_undoes_it_whole(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn, amount_minor: int, owner: UUID
) -> None:
    """All of it, named as the original's amount, the raised amount or not at all; what was open is not repeated."""
    await ended(journal, make_follow_on(held, INCREMENT, 5_000), held, State.APPROVED)
    await ended(journal, make_follow_on(held, INCREMENT, 700), held, State.UNKNOWN)
    in_flight = make_follow_on(held, INCREMENT, 900)
    await journal.begin_follow_on(in_flight, None)
    await ended(journal, make_follow_on(held, VOID, amount_minor), held, State.APPROVED)
    assert held.state is State.VOIDED
    assert await journal.claim_follow_ups(owner, 10, 5) == []
    in_flight.state, in_flight.response_code = State.APPROVED, "00"
    await journal.finish_follow_on(in_flight, held)  # undone with the rest
    assert await amounts(journal, held) == (15_000, 5_000, 0)
    assert await codes(journal, held) == [(State.APPROVED, "00"), (State.DECLINED, "22"), (State.APPROVED, "00")]


async def test_the_resolvers_reversal_undoes_it_whole(
    journal: PostgresJournal, held: Authorization, make_follow_on: MakeFollowOn, owner: UUID
) -> None:
    await ended(journal, make_follow_on(held, INCREMENT, 700), held, State.UNKNOWN)
    [late] = await journal.claim_follow_ups(owner, 10, 5)
    await ended(journal, make_follow_on(held, REVERSAL), held, State.UNKNOWN)
    [reversal] = await journal.claim_follow_ups(owner, 10, 5)
    assert reversal.operation is REVERSAL
    await journal.finish_follow_ups([(reversal, FollowUpResult(State.REVERSED))])
    assert late.follow_on is not None
    late.follow_on.state = State.APPROVED
    await journal.finish_follow_ups([(late, FollowUpResult(State.APPROVED))])
    assert await amounts(journal, held) == (10_000, 0, 0)
    assert await codes(journal, held) == [(State.DECLINED, "22")]
    assert await journal.claim_follow_ups(owner, 10, 5) == []
