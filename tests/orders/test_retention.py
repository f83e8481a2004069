"""Orders that ended long ago are dropped, but none that was paid, and none that still owes something."""

import asyncio
from dataclasses import replace

import pytest
from order_scene import until

from switch.domain.order import OrderState, PaymentState
from switch.domain.states import Operation, State
from switch.orders.retention import Retention
from switch.ports import Declined, StoreUnavailable
from switch.store import orders

DAY_MS = 86_400_000


async def age(scene, days):
    await scene.database.execute("UPDATE orders SET changed_time_ms = now_ms() - $1", days * DAY_MS)


async def left(scene):
    rows = await scene.database.fetch("SELECT id FROM orders")
    return {row["id"].int for row in rows}


async def closed(scene):
    order = await scene.create()
    return await scene.desk.close(scene.merchant_id, order.id, "user/ann")


async def test_what_was_never_paid_goes_after_its_time_with_its_payments(scene):
    order = await scene.create()
    scene.wallet.sale = Declined("51")
    await scene.desk.pay(order, scene.paying())
    await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    await age(scene, 29.99)
    assert await scene.retention.turn() == 0
    assert len(await left(scene)) == 1
    await age(scene, 30.01)
    assert await scene.retention.turn() == 1
    assert await left(scene) == set()
    assert await scene.payments_of(order) == []


async def test_what_was_paid_stays_unless_it_is_told_otherwise(scene):
    _, payment = await scene.desk.pay(await scene.create(), scene.paying())
    refunded, second = await scene.desk.pay(await scene.create(), scene.paying())
    await scene.database.execute("UPDATE orders SET state = 7 WHERE id = $1", refunded.id)
    await age(scene, 3_000)
    assert await scene.retention.turn() == 0
    for_a_year = Retention(scene.store, replace(scene.settings, paid_kept_days=365))
    await scene.database.execute("UPDATE orders SET changed_time_ms = now_ms() WHERE id = $1", refunded.id)
    assert await for_a_year.turn() == 1
    assert await left(scene) == {refunded.id.int}
    assert payment.state is second.state is PaymentState.WON


async def test_an_open_order_stays_however_old(scene):
    await scene.create()
    await age(scene, 3_000)
    assert await scene.retention.turn() == 0


async def test_who_is_still_owed_something_keeps_his_order(scene):
    order = await scene.create()
    payment = await scene.desk.channel_code(order, "alipay")
    scene.wallet.scan(payment, 1_250)
    await scene.desk.close(scene.merchant_id, order.id, "user/ann")
    await scene.database.execute("UPDATE follow_ups SET due_time_ms = 0")
    await scene.resolver.turn()
    await age(scene, 31)
    assert await scene.retention.turn() == 0
    await scene.work()
    assert scene.wallet.count(Operation.REFUND) == 1
    assert await scene.retention.turn() == 1
    record = await scene.payments.find(scene.merchant_id, payment.authorization_id)
    assert (record.state, record.refunded_minor) == (State.APPROVED, 1_250)


async def test_a_dropped_order_is_paid_by_nobody(scene):
    order = await closed(scene)
    await age(scene, 31)
    await scene.retention.turn()
    assert (await scene.ask(scene.scanned(order))).response_code == "25"


async def test_it_goes_in_batches_and_two_at_once_drop_each_once(scene):
    kept = await scene.create()
    for _ in range(10):
        await closed(scene)
    await age(scene, 31)
    dropped = await asyncio.gather(*(scene.store.drop(False, 30 * DAY_MS, 4) for _ in range(2)))
    assert sum(dropped) == 8
    assert await scene.store.drop(False, 30 * DAY_MS, 4) == 2
    assert await left(scene) == {kept.id.int}


@pytest.mark.parametrize(("statement", "index"), [("_DROP_UNPAID", "unpaid"), ("_DROP_PAID", "paid")])
async def test_what_is_kept_is_not_looked_through(scene, statement, index):
    async with scene.database.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN {getattr(orders, statement)}", DAY_MS, 10)
    assert any(f"orders_ended_{index}" in row[0] for row in plan)


async def test_it_goes_on_by_itself_after_an_outage(scene):
    await closed(scene)
    await age(scene, 31)
    drop, failures = scene.store.drop, []

    async def away_at_first(*arguments):
        if not failures:
            failures.append(1)
            raise StoreUnavailable("away")
        return await drop(*arguments)

    scene.store.drop = away_at_first
    retention = Retention(scene.store, replace(scene.settings, drop_s=0.01))
    retention.start()

    async def gone():
        return not await left(scene)

    await until(gone)
    await retention.close()
    assert failures == [1]


async def test_a_payment_that_is_refunded_after_its_order_went_is_nobodys(scene):
    order, payment = await scene.desk.pay(await scene.create(), scene.paying())
    await age(scene, 31)
    assert await scene.store.drop(True, DAY_MS, 10) == 1
    assert order.state is OrderState.PAID
    assert await scene.database.fetchval("SELECT count(*) FROM order_payments") == 0
    assert (await scene.payments.find(scene.merchant_id, payment.authorization_id)).state is State.APPROVED
