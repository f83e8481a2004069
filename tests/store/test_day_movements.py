"""A channel's day as the journal tells it: what should be in a bill, what may be, what may not."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.bill import BillKind
from switch.domain.movement import Movement, Standing
from switch.domain.states import Decision, Operation, State
from switch.ports import FollowUpResult
from switch.store.day_movements import day_movements
from switch.store.journal import PostgresJournal

PAYMENT, REFUND, REVERSAL = BillKind.PAYMENT, BillKind.REFUND, BillKind.REVERSAL
HOUR_MS = 3_600_000
MakeFollowOn = Callable[..., FollowOn]
Make = Callable[..., Any]
Story = tuple[BillKind, str, int, Standing]


async def movements(
    database: asyncpg.Pool, from_ms: int = 0, until_ms: int = 0, channel: str = "pay"
) -> list[Movement]:
    now_ms = int(time.time() * 1000)
    bounds = from_ms or now_ms - HOUR_MS, until_ms or now_ms + HOUR_MS
    async with database.acquire() as connection:
        return [each async for each in day_movements(connection, channel, *bounds)]


async def story(database: asyncpg.Pool, **bounds: Any) -> list[Story]:
    found = await movements(database, **bounds)
    return sorted((each.kind, each.reference, each.money.amount_minor, each.standing) for each in found)


@pytest.fixture
def sell(journal: PostgresJournal, make_intent: Make) -> Make:
    async def run(name: str, state: State, **fields: Any) -> Authorization:
        intent = make_intent(channel="pay", trace={"out_trade_no": name}, **fields)
        assert await journal.record_intents([intent]) == [None]
        if state is State.SENT:
            return intent  # type: ignore[no-any-return]
        decisions = {
            State.APPROVED: Decision.APPROVED,
            State.DECLINED: Decision.DECLINED,
            State.UNKNOWN: Decision.UNKNOWN,
        }
        intent.state, intent.decision = state, decisions.get(state, Decision.AWAITING_PAYER)
        if state is State.APPROVED:
            intent.approved_minor = intent.money.amount_minor
            intent.captured_minor = 0 if intent.operation is Operation.PRE_AUTHORIZATION else intent.approved_minor
        intent.answered_time_ms = intent.created_time_ms + 20
        assert await journal.record_outcomes([intent], [0.0]) == [True]
        return intent  # type: ignore[no-any-return]

    return run


@pytest.fixture
def later(journal: PostgresJournal, make_follow_on: MakeFollowOn) -> Make:
    async def run(
        original: Authorization, operation: Operation, name: str, amount_minor: int, state: State
    ) -> FollowOn:
        trace = {"out_trade_no": original.trace["out_trade_no"], "out_refund_no": name}
        follow_on = make_follow_on(original, operation, amount_minor, trace=trace)
        stored, _ = await journal.begin_follow_on(follow_on, None)
        assert stored.state is State.SENT, stored.reason
        if state is not State.SENT:
            follow_on.state, follow_on.response_code = state, "00"
            follow_on.answered_time_ms = follow_on.created_time_ms + 20
            await journal.finish_follow_on(follow_on, original)
        return follow_on

    return run


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        (State.APPROVED, Standing.DONE),
        (State.DECLINED, Standing.REFUSED),
        (State.SENT, Standing.OPEN),
        (State.AWAITING_PAYER, Standing.OPEN),
    ],
)
async def test_a_sale(database: asyncpg.Pool, sell: Make, state: State, standing: Standing) -> None:
    sale = await sell("t1", state)
    [found] = await movements(database)
    assert (found.kind, found.reference, found.money, found.standing) == (PAYMENT, "t1", sale.money, standing)
    assert str(sale.id) in found.record


async def test_an_unknown_sale_may_be_there_and_reversed(database: asyncpg.Pool, sell: Make) -> None:
    await sell("t1", State.UNKNOWN)
    assert await story(database) == [
        (PAYMENT, "t1", 10_000, Standing.OPEN),
        (REVERSAL, "t1", 10_000, Standing.POSSIBLE),
    ]


async def test_a_pre_authorization_is_no_movement_and_its_captures_are(
    database: asyncpg.Pool, sell: Make, later: Make
) -> None:
    held = await sell("t1", State.APPROVED, operation=Operation.PRE_AUTHORIZATION)
    await later(held, Operation.INCREMENT, "i1", 5_000, State.APPROVED)
    await later(held, Operation.CAPTURE, "c1", 12_000, State.APPROVED)
    await later(held, Operation.CAPTURE, "c2", 1_000, State.UNKNOWN)
    await later(held, Operation.CAPTURE, "c3", 500, State.DECLINED)
    assert await story(database) == [
        (PAYMENT, "c1", 12_000, Standing.DONE),
        (PAYMENT, "c2", 1_000, Standing.OPEN),
        (PAYMENT, "c3", 500, Standing.REFUSED),
    ]
    assert {each.original_reference for each in await movements(database)} == {"t1"}


async def test_refunds(database: asyncpg.Pool, sell: Make, later: Make) -> None:
    sale = await sell("t1", State.APPROVED)
    await later(sale, Operation.REFUND, "r1", 400, State.APPROVED)
    await later(sale, Operation.REFUND, "r2", 300, State.SENT)
    assert await story(database) == [
        (PAYMENT, "t1", 10_000, Standing.DONE),
        (REFUND, "r1", 400, Standing.DONE),
        (REFUND, "r2", 300, Standing.OPEN),
    ]


async def test_a_voided_sale_and_what_voided_it(database: asyncpg.Pool, sell: Make, later: Make) -> None:
    sale = await sell("t1", State.APPROVED)
    await later(sale, Operation.VOID, "v1", 0, State.APPROVED)
    assert await story(database) == [
        (PAYMENT, "t1", 10_000, Standing.UNDONE),
        (REVERSAL, "v1", 10_000, Standing.UNDONE),
    ]
    [reversal] = [each for each in await movements(database) if each.kind is REVERSAL]
    assert (reversal.original_reference, reversal.also) == ("t1", ("t1",))


@pytest.mark.parametrize(("state", "standing"), [(State.UNKNOWN, Standing.DOUBTFUL), (State.APPROVED, Standing.UNDONE)])
async def test_what_the_resolver_reversed(
    database: asyncpg.Pool, journal: PostgresJournal, sell: Make, later: Make, owner: UUID, state: State,
    standing: Standing,
) -> None:  # fmt: skip
    """Known under the reversal's own name and under that of the void that stayed silent."""
    sale = await sell("t1", state)
    if state is State.APPROVED:
        await later(sale, Operation.VOID, "v1", 0, State.UNKNOWN)
        assert (REVERSAL, "v1", 10_000, Standing.OPEN) in await story(database)
    [reversal] = await journal.claim_follow_ups(owner, 10, 5)
    reversal.trace = {"message_id": "m1"}
    await journal.keep_follow_up_trace([reversal])
    await journal.finish_follow_ups([(reversal, FollowUpResult(State.REVERSED))])
    payment, undoing = sorted(await movements(database), key=lambda each: each.kind)
    assert (payment.reference, payment.standing) == ("t1", standing)
    assert (undoing.reference, undoing.standing, undoing.original_reference) == ("m1", standing, "t1")
    assert undoing.also == (("v1", "t1") if state is State.APPROVED else ("t1",))


async def test_a_reversal_that_found_nothing_to_do_adds_nothing(
    database: asyncpg.Pool, journal: PostgresJournal, sell: Make, later: Make, make_follow_on: MakeFollowOn
) -> None:
    """Asked a day later, it is not a movement of that day."""
    sale = await sell("t1", State.APPROVED)
    await later(sale, Operation.REVERSAL, "v1", 0, State.APPROVED)
    await database.execute("UPDATE follow_ons SET answered_time_ms = answered_time_ms - 86400000")
    again, _ = await journal.begin_follow_on(make_follow_on(sale, Operation.REVERSAL), None)
    assert (again.state, again.reason) == (State.APPROVED, "nothing is held: original is REVERSED")
    assert [each.kind for each in await movements(database)] == [PAYMENT]


async def test_other_channels_and_other_days_are_left_out(database: asyncpg.Pool, sell: Make, approve: Make) -> None:
    sale = await sell("t1", State.APPROVED)
    await approve(channel="unionpay")
    at_ms = sale.answered_time_ms
    assert len(await movements(database, at_ms, at_ms + 1)) == 1
    assert await movements(database, at_ms + 1, at_ms + HOUR_MS) == []
    assert await movements(database, at_ms - HOUR_MS, at_ms) == []
    assert [each.reference for each in await movements(database, channel="unionpay")] == ["-000001"]


async def test_many_are_read_in_chunks(database: asyncpg.Pool, journal: PostgresJournal, make_intent: Make) -> None:
    intents = [make_intent(channel="pay", trace={"out_trade_no": f"t{number}"}) for number in range(4_500)]
    await journal.record_intents(intents)
    found = await movements(database)
    assert len({each.reference for each in found}) == len(found) == 4_500
