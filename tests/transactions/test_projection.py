"""The list follows the journal: each event once, and what changes without one."""

from dataclasses import replace
from uuid import uuid4

import asyncpg
from transaction_scene import Scene

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.journal_event import EventKind
from switch.domain.money import Money
from switch.domain.states import Decision, Operation, State
from switch.store.feed_consumer import FeedConsumer
from switch.store.transactions import PostgresTransactions, project


async def row_of(scene: Scene, record: Authorization) -> asyncpg.Record:
    row = await scene.database.fetchrow(
        "SELECT * FROM merchant_transactions WHERE merchant_id = $1 AND id = $2", record.merchant_id, record.id
    )
    assert row is not None
    return row


def consumer(scene: Scene) -> FeedConsumer:
    return FeedConsumer(scene.database, "transactions", project)


def refund_of(record: Authorization, amount_minor: int) -> FollowOn:
    return FollowOn(
        uuid4(), record.id, record.acquirer_id, record.merchant_id, Operation.REFUND, Money(amount_minor, "CNY"),
        fingerprint=b"r", created_time_ms=record.created_time_ms,
    )  # fmt: skip


async def test_a_payment_is_listed_with_what_the_event_lacks(scene: Scene) -> None:
    record = await scene.paid(1_234)
    await scene.tell(scene.event(record))
    assert await consumer(scene).catch_up() == 1
    row = await row_of(scene, record)
    assert (row["state"], row["amount_minor"], row["captured_minor"]) == (State.APPROVED, 1_234, 1_234)
    assert (row["card_first6"], row["card_last4"], row["approval_code"]) == ("622588", "1234", "A1B2C3")
    assert row["reference"] == f"ours-{record.retrieval_reference}"
    assert await consumer(scene).catch_up() == 0


async def test_a_wallets_code_is_no_card(scene: Scene) -> None:
    record = await scene.paid(masked_credential="28**************12")
    await scene.tell(scene.event(record))
    await consumer(scene).catch_up()
    row = await row_of(scene, record)
    assert (row["card_first6"], row["card_last4"], row["masked_credential"]) == ("", "", "28**************12")


async def test_a_refund_under_way_is_not_refunded_yet_and_one_that_was_declined_never(scene: Scene) -> None:
    record = await scene.paid(1_000)
    refused, taken = refund_of(record, 300), refund_of(record, 200)
    _, original = await scene.journal.begin_follow_on(refused, None)
    assert original is not None
    assert original.refunded_minor == 300
    await scene.journal.begin_follow_on(taken, None)
    taken.state, taken.response_code = State.APPROVED, "00"
    await scene.journal.finish_follow_on(taken, original)
    await scene.tell(scene.event(record))
    refunded = scene.event(
        record, EventKind.REFUNDED, follow_on_id=taken.id, money=taken.money, reference="the refund's own"
    )
    await scene.tell(refunded)
    await consumer(scene).catch_up()
    row = await row_of(scene, record)
    assert row["refunded_minor"] == 200  # and not the 500 that are reserved
    assert row["reference"].startswith("ours-")
    refused.state, refused.response_code = State.DECLINED, "57"
    await scene.journal.finish_follow_on(refused, original)
    assert (await row_of(scene, record))["refunded_minor"] == 200


async def test_events_alone_do_where_the_journals_day_is_gone(scene: Scene) -> None:
    record = await scene.paid(1_000)
    await scene.database.execute("DELETE FROM authorizations WHERE merchant_id = $1", scene.merchant_id)
    await scene.tell(scene.event(record))
    await scene.tell(scene.event(record, EventKind.REFUNDED, follow_on_id=uuid4(), money=Money(250, "CNY")))
    await consumer(scene).catch_up()
    row = await row_of(scene, record)
    assert (row["state"], row["captured_minor"], row["refunded_minor"]) == (State.APPROVED, 1_000, 250)
    await scene.tell(scene.event(record, EventKind.UNDONE, money=Money(750, "CNY")))
    await consumer(scene).catch_up()
    row = await row_of(scene, record)
    assert (row["state"], row["captured_minor"], row["refunded_minor"]) == (State.REVERSED, 250, 250)


async def test_an_unknown_that_was_given_back_is_found_without_an_event(scene: Scene) -> None:
    record = await scene.paid(state=State.UNKNOWN, decision=Decision.UNKNOWN, approved_minor=0, captured_minor=0)
    await scene.tell(scene.event(record, EventKind.UNANSWERED))
    await consumer(scene).catch_up()
    assert (await row_of(scene, record))["state"] == State.UNKNOWN
    await scene.database.execute(
        "UPDATE authorizations SET state = 6 WHERE merchant_id = $1 AND id = $2", record.merchant_id, record.id
    )
    store = PostgresTransactions(scene.database)
    assert await store.refresh_open(60_000, 10) == 0  # looked at just now
    assert await store.refresh_open(-1, 10) == 1
    assert (await row_of(scene, record))["state"] == State.REVERSED
    assert await store.refresh_open(-1, 10) == 0


async def test_a_payment_with_its_operations(scene: Scene) -> None:
    record = await scene.paid()
    refund = replace(refund_of(record, 100))
    await scene.journal.begin_follow_on(refund, None)
    found = await PostgresTransactions(scene.database).find(scene.merchant_id, record.id)
    assert found is not None
    assert (found[0].id, [each.id for each in found[1]], found[2]) == (record.id, [refund.id], "")
    assert await PostgresTransactions(scene.database).find("another", record.id) is None
