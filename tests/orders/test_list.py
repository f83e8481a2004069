"""Lists of orders: few are found among many without all being read."""

from uuid import UUID

from switch.domain.order import OrderFilter, OrderState
from switch.store import orders
from switch.store.order_rows import order_row

NEWEST = UUID(int=(1 << 128) - 1)


async def test_a_rare_state_is_not_looked_for_among_all_orders(scene):
    closed = sorted([await scene.create() for _ in range(3)], key=lambda each: each.id)  # of one millisecond
    for each in closed:
        await scene.desk.close(scene.merchant_id, each.id, "user/ann")
    many = await scene.create()
    columns = ", ".join(f"${each + 1}" for each in range(len(order_row(many))))
    rows = []
    for number in range(1, 3_000):
        many.id, many.key = UUID(int=many.id.int + 1), f"many {number}"
        rows.append(order_row(many))
    await scene.database.executemany(f"INSERT INTO orders VALUES ({columns})", rows)

    wanted = OrderFilter(frozenset({OrderState.CLOSED, OrderState.REFUNDED}))
    found = await scene.store.list(scene.merchant_id, wanted, NEWEST, 2)
    assert [each.id for each in found] == [each.id for each in reversed(closed)][:2]
    assert [each.id for each in await scene.store.list(scene.merchant_id, wanted, found[-1].id, 2)] == [closed[0].id]
    async with scene.database.acquire() as connection:
        arguments = scene.merchant_id, NEWEST, UUID(int=0), 2, sorted(wanted.states)
        plan = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {orders._LIST_STATES}", *arguments)
    assert not [row[0] for row in plan if "Rows Removed by Filter" in row[0]]
