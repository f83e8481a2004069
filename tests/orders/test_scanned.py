"""An order's QR that a payer scans with his own bank's app: his acquirer asks, and the order is paid once at most."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from order_scene import until

from switch.domain.journal_event import EventKind
from switch.domain.money import Money
from switch.domain.order import OrderState, PaymentState
from switch.domain.refusals import NotPossible
from switch.domain.states import Decision, Operation, State
from switch.payments.errors import ContentDiffers, Unavailable
from switch.payments.road import Road
from switch.ports import Approved, Declined, OrderRefused, Phase, StoreUnavailable, Unknown


def held(scene):
    """What stays with the merchant of every payment."""
    return {identity: amount for identity, amount in scene.wallet.held.items() if amount}


# --- paid -------------------------------------------------------------------------------------------------------------


async def test_it_is_paid_as_by_any_other_means(scene):
    order = await scene.create()
    record = await scene.ask(scene.scanned(order))
    assert (record.decision, record.acquirer_id) == (Decision.APPROVED, "bank")
    assert (await scene.now(order)).state is OrderState.PAYING
    await scene.work(1)
    order = await scene.now(order)
    assert (order.state, order.paid_by) == (OrderState.PAID, record.id)
    assert held(scene) == {record.id: 1_250}


async def test_the_journals_event_brings_it_to_the_order_at_once(scene):
    order = await scene.create()
    await scene.ask(scene.scanned(order))
    [payment] = await scene.payments_of(order)
    assert await scene.pursuit.turn() == 0
    await scene.event(EventKind.APPROVED, payment, 1_250)
    assert await scene.pursuit.turn() == 1
    assert (await scene.now(order)).state is OrderState.PAID


async def test_a_repeat_is_the_same_answer_and_one_payment(scene):
    order = await scene.create()
    request = scene.scanned(order)
    first, *others = await asyncio.gather(*(scene.ask(request) for _ in range(4)))
    await scene.work(1)
    assert [each.id for each in others] == [first.id] * 3
    assert (await scene.ask(request)).decision is Decision.APPROVED
    assert scene.wallet.count(Operation.SALE) == 1
    assert len(await scene.payments_of(order)) == 1


async def test_a_decline_leaves_it_to_others(scene):
    order = await scene.create()
    scene.wallet.sale = Declined("51")
    assert (await scene.ask(scene.scanned(order))).response_code == "51"
    await scene.work(1)
    scene.wallet.sale = Approved()
    assert (await scene.ask(scene.scanned(order))).decision is Decision.APPROVED
    await scene.work(1)
    assert (await scene.now(order)).state is OrderState.PAID


async def test_payments_that_are_no_orders_pass_by(scene):
    order = await scene.create()
    record = await scene.ask(scene.scanned(order, scanned_order=None))
    assert record.decision is Decision.APPROVED
    assert "order" not in scene.town.observed.batches
    assert (await scene.now(order)).state is OrderState.OPEN


# --- declined before any channel is asked -----------------------------------------------------------------------------


async def refused(scene, request):
    record = await scene.ask(request)
    assert (record.state, record.stage) == (State.DECLINED, "order")
    return record.response_code, record.reason


async def test_what_is_not_there_is_not_paid(scene):
    order = await scene.create()
    assert await refused(scene, scene.scanned(order, scanned_order=uuid4())) == ("25", "there is no such order")
    other = replace(order.merchant, id="other")
    assert await refused(scene, scene.scanned(order, merchant=other)) == ("25", "there is no such order")
    assert scene.wallet.asked == []


@pytest.mark.parametrize("money", [Money(1_249, "CNY"), Money(1_251, "CNY"), Money(1_250, "USD")])
async def test_another_amount_than_the_orders_is_not_taken(scene, money):
    """A right CRC proves nothing: whoever writes a QR may write any amount into it."""
    order = await scene.create()
    assert await refused(scene, scene.scanned(order, money=money)) == ("13", "is not the order's amount")
    assert ((await scene.now(order)).state, scene.wallet.asked) == (OrderState.OPEN, [])


async def test_a_paid_order_is_not_paid_again(scene):
    order, _ = await scene.desk.pay(await scene.create(), scene.paying())
    assert await refused(scene, scene.scanned(order)) == ("12", "the order is PAID")
    assert scene.wallet.count(Operation.SALE) == 1


async def test_a_closed_order_is_not_paid(scene):
    order = await scene.create()
    await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    assert await refused(scene, scene.scanned(order)) == ("12", "the order is CLOSED")
    assert scene.wallet.asked == []


async def test_an_order_is_paid_until_its_time_and_not_after(scene):
    order = await scene.create(lives_s=60)
    scene.clock.ahead_ms = 60_000
    assert await refused(scene, scene.scanned(order)) == ("12", "the order is EXPIRED")
    assert scene.wallet.asked == []


async def test_where_there_are_no_orders_none_is_paid(scene):
    order = await scene.create()
    road = Road(replace(scene.world, orders=None), replace(scene.town.settings, answer_budget_ms=20_000))
    record = await road.enter(scene.scanned(order), 20.0)
    await road.close()
    assert (record.response_code, record.stage, scene.wallet.asked) == ("40", "order", [])


# --- races ------------------------------------------------------------------------------------------------------------


async def test_of_payers_at_once_one_pays_and_the_others_are_not_charged(scene):
    order = await scene.create()
    records = await asyncio.gather(
        *(scene.ask(scene.scanned(order)) for _ in range(4)),
        *(scene.desk.pay(order, scene.paying()) for _ in range(2)),
        return_exceptions=True,
    )
    await scene.work(2)
    assert (await scene.now(order)).state is OrderState.PAID
    assert list((held(scene)).values()) == [1_250]
    assert scene.wallet.count(Operation.SALE) == 1
    assert scene.wallet.count(Operation.REFUND) == 0
    assert (
        sum(isinstance(each, NotPossible) for each in records)
        + sum(getattr(each, "stage", "") == "order" for each in records)
        == len(records) - 1
    )


async def test_two_of_one_batch_see_each_other(scene):
    order, other = await scene.create(), await scene.create()
    presented = [(uuid4(), scene.scanned(each)) for each in (order, other, order)]
    busy = OrderRefused("12", "somebody is paying it just now")
    assert await scene.scanned_orders.begin(presented, scene.clock.time_ms()) == [None, None, busy]
    assert [(await scene.now(each)).state for each in (order, other)] == [OrderState.PAYING] * 2


async def test_batches_of_the_same_orders_in_any_order_do_not_wait_in_a_circle(scene):
    orders = [await scene.create() for _ in range(6)]
    batches = [[(uuid4(), scene.scanned(each)) for each in (orders, orders[::-1])[turn % 2]] for turn in range(8)]
    results = await asyncio.gather(*(scene.scanned_orders.begin(each, scene.clock.time_ms()) for each in batches))
    assert sum(each is None for result in results for each in result) == len(orders)


async def test_a_wallet_that_was_sooner_keeps_it_and_the_card_is_given_back(scene):
    order = await scene.create()
    code = await scene.desk.channel_code(order, "alipay")
    record = await scene.ask(scene.scanned(order))
    scene.wallet.scan(code, 1_250)
    await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
    await scene.resolver.turn()
    await scene.database.execute(
        "UPDATE order_payments SET due_time_ms = 0 WHERE authorization_id = $1", code.authorization_id
    )
    assert await scene.pursuit.turn() == 1
    assert (await scene.now(order)).paid_by == code.authorization_id
    await scene.work()
    assert held(scene) == {code.authorization_id: 1_250}
    assert (record.decision, scene.wallet.count(Operation.REFUND)) == (Decision.APPROVED, 1)


async def paying(scene, order):
    """(task, what lets its channel answer)"""
    answer, script = asyncio.Event(), scene.town.first.script

    def slowly(request):
        reply = asyncio.get_running_loop().create_future()

        async def later():
            await answer.wait()
            reply.set_result(script(request))

        tasks.append(asyncio.create_task(later()))
        return reply

    tasks = []
    send = scene.town.first.send
    scene.town.first.send = lambda requests: [slowly(each) for each in requests]
    task = asyncio.create_task(scene.ask(scene.scanned(order)))

    async def begun():
        return bool(tasks)

    await until(begun)
    scene.town.first.send = send
    return task, answer


async def test_neither_closing_nor_expiry_overtakes_a_payment_under_way(scene):
    order = await scene.create(lives_s=60)
    task, answer = await paying(scene, order)
    with pytest.raises(NotPossible, match="under way"):
        await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    scene.clock.ahead_ms = 61_000
    assert await scene.pursuit.expire() == 0
    assert await refused(scene, scene.scanned(order)) == ("12", "the order is EXPIRED")
    answer.set()
    record = await task
    await scene.work(1)
    assert ((await scene.now(order)).state, (await scene.now(order)).paid_by) == (OrderState.PAID, record.id)


# --- the same key, other content --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_names_an_order", [True, False])
async def test_a_key_that_was_used_pays_no_other_order(scene, first_names_an_order):
    order, other = await scene.create(), await scene.create()
    request = scene.scanned(order)
    first = request if first_names_an_order else replace(request, scanned_order=None)
    assert (await scene.ask(first)).decision is Decision.APPROVED
    with pytest.raises(ContentDiffers):
        await scene.ask(replace(request, scanned_order=other.id))
    await scene.work(2)
    assert (await scene.now(other)).state is OrderState.OPEN
    assert await scene.payments_of(other) == []
    assert (await scene.now(order)).state is (OrderState.PAID if first_names_an_order else OrderState.OPEN)


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
async def test_a_database_that_fails_at_the_order_sends_nothing(scene, begun):
    """Whether the payment was begun is not known: what the journal says of it ends it."""
    order, begin = await scene.create(), scene.scanned_orders.begin

    async def failing(presented, now_ms):
        if begun:
            await begin(presented, now_ms)
        raise StoreUnavailable("the answer was lost")

    scene.scanned_orders.begin = failing
    record = await scene.ask(scene.scanned(order))
    assert (record.state, record.response_code, scene.wallet.asked) == (State.DECLINED, "96", [])
    scene.scanned_orders.begin = begin
    await scene.work(2)
    assert [each.state for each in await scene.payments_of(order)] == [PaymentState.FAILED] * begun
    assert (await scene.ask(scene.scanned(order))).decision is Decision.APPROVED
    await scene.work(1)
    assert (await scene.now(order)).state is OrderState.PAID


async def test_a_part_of_the_amount_is_given_back_by_itself(scene):
    order = await scene.create()
    scene.wallet.sale = Approved("10", approved_minor=1_000)
    record = await scene.ask(scene.scanned(order))
    scene.wallet.held[record.id] = 1_000
    await scene.work()
    assert [each.state for each in await scene.payments_of(order)] == [PaymentState.UNDONE]
    assert (held(scene), (await scene.now(order)).state) == ({}, OrderState.PAYING)


async def test_an_outcome_in_doubt_is_reversed_and_pays_nothing(scene):
    order = await scene.create()
    scene.wallet.sale = Unknown(Phase.SENT, "silent")
    record = await scene.ask(scene.scanned(order))
    await scene.work()
    assert [each.state for each in await scene.payments_of(order)] == [PaymentState.UNDONE]
    assert record.id in scene.wallet.closed
    assert (await scene.now(order)).state is OrderState.PAYING


async def test_a_process_that_dies_between_beginning_and_sending_leaves_the_order_to_others(scene):
    """Its authorization stays SENT: whoever takes it over reverses it, and the order is told."""
    order = await scene.create()
    begin, ownership = scene.scanned_orders.begin, scene.world.ownership

    async def then_dies(presented, now_ms):
        refusals = await begin(presented, now_ms)
        ownership.may_send = lambda: False
        return refusals

    scene.scanned_orders.begin = then_dies
    with pytest.raises(Unavailable, match="lost its lease"):
        await scene.ask(scene.scanned(order))
    del ownership.may_send
    await scene.database.execute("UPDATE processes SET lease_until_ms = now_ms() WHERE owner = $1", ownership.owner)
    assert await scene.journal.claim_in_doubt(uuid4()) == 1
    await scene.work()
    assert [each.state for each in await scene.payments_of(order)] == [PaymentState.UNDONE]
    assert held(scene) == {}
