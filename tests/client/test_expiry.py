import asyncio

from switch.client.expiry import Expiries


async def test_numbers_come_due_in_their_order_and_not_before():
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    rung: list[tuple[float, list[int]]] = []
    done = asyncio.Event()

    def expire(numbers: list[int]) -> None:
        rung.append((loop.time() - begun_s, numbers))
        if sum(len(each) for _, each in rung) == 4:
            done.set()

    expiries = Expiries(loop, expire)
    expiries.add(3, begun_s + 0.08)
    expiries.add(1, begun_s + 0.02)
    expiries.add(2, begun_s + 0.02)
    expiries.add(4, begun_s + 0.08)
    await asyncio.wait_for(done.wait(), 30)
    assert [number for _, numbers in rung for number in numbers] == [1, 2, 3, 4]
    assert rung[0][0] >= 0.02
    assert rung[-1][0] >= 0.08
    expiries.close()


async def test_nothing_rings_after_close():
    loop = asyncio.get_running_loop()
    rung: list[list[int]] = []
    expiries = Expiries(loop, rung.append)
    expiries.add(1, loop.time() + 0.01)
    expiries.close()
    await asyncio.sleep(0.05)
    assert rung == []
