"""What a verified notification does to the journal: it makes an open inquiry or refund due, and nothing else."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.states import Decision, Operation, State
from switch.ports import FollowUpResult, Hastened, Notice, StoreUnavailable
from switch.store.journal import PostgresJournal

Approve = Callable[..., Any]
MakeFollowOn = Callable[..., FollowOn]
LATER_S = 3_600.0


@pytest.fixture
async def awaiting(journal: PostgresJournal, make_intent: Callable[..., Authorization]) -> Authorization:
    """Its payer is typing; it is asked about in an hour."""
    return await _recorded(journal, make_intent(), State.AWAITING_PAYER)


async def _recorded(journal: PostgresJournal, intent: Authorization, state: State) -> Authorization:
    intent.channel, intent.trace = "alipay", {"out_trade_no": intent.id.hex}
    assert await journal.record_intents([intent]) == [None]
    if state is not State.SENT:
        intent.state, intent.decision = state, Decision.AWAITING_PAYER
        assert await journal.record_outcomes([intent], [LATER_S]) == [True]
    return intent


def notice_of(record: Authorization, **changes: Any) -> Notice:
    return replace(Notice("alipay", record.id.hex, event="e1"), **changes)


async def everything(database: asyncpg.Pool) -> list[Any]:
    return [await database.fetch(f"SELECT * FROM {name}") for name in ("authorizations", "follow_ons", "follow_ups")]


@pytest.mark.parametrize("with_merchant", [True, False])
async def test_an_open_inquiry_is_due_now(
    journal: PostgresJournal, awaiting: Authorization, owner: UUID, with_merchant: bool
) -> None:
    assert await journal.claim_follow_ups(owner, 10, 5) == []
    merchant_id = awaiting.merchant_id if with_merchant else None
    assert await journal.hasten(notice_of(awaiting), merchant_id, awaiting.id) is Hastened.DUE
    [follow_up] = await journal.claim_follow_ups(owner, 10, 5)
    assert (follow_up.operation, follow_up.authorization.id) == (Operation.INQUIRY, awaiting.id)
    await journal.finish_follow_ups([(follow_up, FollowUpResult(None, LATER_S))])
    assert await journal.claim_follow_ups(owner, 10, 5) == []  # it was asked; polling goes on as before


async def test_who_is_asking_already_asks_again_at_once(
    journal: PostgresJournal, awaiting: Authorization, owner: UUID, database: asyncpg.Pool
) -> None:
    """The question may have left before the payer confirmed."""
    await database.execute("UPDATE follow_ups SET due_time_ms = 0")
    [early] = await journal.claim_follow_ups(owner, 10, 5)
    assert await journal.hasten(notice_of(awaiting), awaiting.merchant_id, awaiting.id) is Hastened.DUE
    await journal.finish_follow_ups([(early, FollowUpResult(None, LATER_S))])
    [again] = await journal.claim_follow_ups(owner, 10, 5)
    await journal.finish_follow_ups([(again, FollowUpResult(None, LATER_S))])
    assert await journal.claim_follow_ups(owner, 10, 5) == []


@pytest.mark.parametrize("with_merchant", [True, False])
async def test_an_unknown_payment(journal: PostgresJournal, with_merchant: bool) -> None:
    unknown = uuid4()
    merchant_id = "merchant-1" if with_merchant else None
    assert await journal.hasten(Notice("alipay", unknown.hex), merchant_id, unknown) is Hastened.UNKNOWN


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (State.SENT, Hastened.IN_FLIGHT),
        (State.APPROVED, Hastened.FINAL),
        (State.DECLINED, Hastened.FINAL),
        (State.UNKNOWN, Hastened.BEING_REVERSED),
    ],
)
@pytest.mark.parametrize("with_merchant", [True, False])
async def test_where_nothing_is_to_be_asked_nothing_moves(
    journal: PostgresJournal, make_intent: Callable[..., Authorization], database: asyncpg.Pool, state: State,
    says: Hastened, with_merchant: bool,
) -> None:  # fmt: skip
    record = await _recorded(journal, make_intent(), state)
    before = await everything(database)
    merchant_id = record.merchant_id if with_merchant else None
    assert await journal.hasten(notice_of(record), merchant_id, record.id) is says
    assert await everything(database) == before


@pytest.mark.parametrize(
    "changes", [{"channel": "wechat"}, {"reference": uuid4().hex}, {"reference": ""}, {"reference": "merchant-1"}]
)
async def test_one_that_is_not_of_this_payment_moves_nothing(
    journal: PostgresJournal, awaiting: Authorization, database: asyncpg.Pool, changes: dict[str, str]
) -> None:
    """Signed by the channel, for another payment, and sent here."""
    before = await everything(database)
    said = await journal.hasten(notice_of(awaiting, **changes), awaiting.merchant_id, awaiting.id)
    assert (said, await everything(database)) == (Hastened.MISDIRECTED, before)


async def test_the_inquiry_has_ended_meanwhile(
    journal: PostgresJournal, awaiting: Authorization, database: asyncpg.Pool
) -> None:
    await database.execute("UPDATE follow_ups SET state = 2")
    assert await journal.hasten(notice_of(awaiting), awaiting.merchant_id, awaiting.id) is Hastened.FINAL


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (State.UNKNOWN, Hastened.DUE),
        (State.SENT, Hastened.IN_FLIGHT),
        (State.APPROVED, Hastened.FINAL),
        (State.DECLINED, Hastened.FINAL),
    ],
)
async def test_a_refund_is_found_by_its_own_name(
    journal: PostgresJournal, approve: Approve, make_follow_on: MakeFollowOn, owner: UUID, database: asyncpg.Pool,
    state: State, says: Hastened,
) -> None:  # fmt: skip
    original = await approve(channel="alipay", trace={"out_trade_no": "t1"})
    refund = make_follow_on(original, Operation.REFUND, 500, trace={"out_trade_no": "t1", "out_request_no": "r1"})
    other = make_follow_on(original, Operation.REFUND, 500, trace={"out_trade_no": "t1", "out_request_no": "r2"})
    for each, ends_as in ((refund, state), (other, State.UNKNOWN)):
        await journal.begin_follow_on(each, None)
        if ends_as is not State.SENT:
            each.state = ends_as
            await journal.finish_follow_on(each, original)
    await database.execute("UPDATE follow_ups SET due_time_ms = due_time_ms + 3600000")
    notice = Notice("alipay", "t1", refund_reference="r1")
    assert await journal.hasten(notice, original.merchant_id, original.id) is says
    due = [each.follow_on for each in await journal.claim_follow_ups(owner, 10, 5)]
    assert [each.id for each in due if each] == ([refund.id] if says is Hastened.DUE else [])
    strange = replace(notice, refund_reference="r3")
    assert await journal.hasten(strange, original.merchant_id, original.id) is Hastened.UNKNOWN


async def test_one_payment_at_a_time_is_looked_for_in_a_whole_day(
    journal: PostgresJournal, awaiting: Authorization, database: asyncpg.Pool
) -> None:
    """A peer that says again what has ended, and names no merchant, costs at most one search at a time."""
    first, second = uuid4(), uuid4()
    async with database.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE authorizations IN ACCESS EXCLUSIVE MODE")
        searching = asyncio.create_task(journal.hasten(Notice("alipay", first.hex), None, first))
        for _ in range(500):
            if await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                break
            await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable):
            await journal.hasten(Notice("alipay", second.hex), None, second)
    assert await searching is Hastened.UNKNOWN
    assert await journal.hasten(notice_of(awaiting), None, awaiting.id) is Hastened.DUE
