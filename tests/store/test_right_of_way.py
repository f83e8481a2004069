"""The road goes first. A clock of the test's moves only by what is slept: no machine is too slow or too fast for it."""

import asyncio
import itertools
from collections.abc import Callable
from random import Random
from uuid import uuid4

import asyncpg
import pytest
from trade_told import made_up, put

from switch.store.feed_consumer import FeedConsumer, Span
from switch.store.right_of_way import Patience, Progress, RightOfWay, in_slices
from switch.store.sessions import Connection


class Day:
    """Seconds; slept: each sleep that was asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def clock_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


@pytest.fixture
def day() -> Day:
    return Day()


def way_of(day: Day, busy: Callable[[], bool], patience: Patience = Patience(3.0, 30.0)) -> RightOfWay:  # noqa: B008
    return RightOfWay(busy, patience, day.clock_s, day.sleep)


async def test_without_a_busy_road_nobody_waits_or_rests(day: Day) -> None:
    async with way_of(day, lambda: False).turn(lambda: 0.0):
        day.now_s += 5
    assert day.slept == []


async def test_a_follower_waits_while_the_road_is_busy_and_goes_when_it_is_not(day: Day) -> None:
    way = way_of(day, lambda: day.now_s < 1.0)
    async with way.turn(lambda: 0.0):
        assert 1.0 <= day.now_s < 1.1
    assert sum(day.slept) == day.now_s


async def test_behind_by_more_than_its_patience_it_insists_and_rests_as_long_as_it_worked(day: Day) -> None:
    way = way_of(day, lambda: True)
    async with way.turn(day.clock_s):
        assert 3.0 <= day.now_s < 3.1
        day.now_s += 0.2
    assert day.slept[-1] == pytest.approx(0.2)


async def test_far_behind_it_rests_no_more(day: Day) -> None:
    async with way_of(day, lambda: True).turn(lambda: 31.0):
        day.now_s += 0.2
    assert day.slept == []


async def test_followers_go_one_at_a_time_in_the_order_in_which_they_came(day: Day) -> None:
    way, went, under_way = way_of(day, lambda: False), [], 0

    async def follow(number: int) -> None:
        nonlocal under_way
        async with way.turn(lambda: 0.0):
            under_way += 1
            assert under_way == 1
            await asyncio.sleep(0)
            went.append(number)
            under_way -= 1

    await asyncio.gather(*(follow(number) for number in range(6)))
    assert went == list(range(6))


async def test_a_step_that_fails_leaves_its_turn(day: Day) -> None:
    way = way_of(day, lambda: True)
    with pytest.raises(RuntimeError):
        async with way.turn(lambda: 9.0):
            raise RuntimeError
    async with asyncio.timeout(20), way.turn(lambda: 9.0):
        pass


@pytest.mark.parametrize("holds", [1, 4, 25])
async def test_the_loop_is_given_back_after_what_a_slice_may_hold(holds: int) -> None:
    """Each item takes a second of the test's clock, a slice may hold `holds` of them."""
    day, given_back, over = Day(), [0.0], asyncio.Event()

    async def everybody_else() -> None:
        while not over.is_set():
            given_back.append(day.now_s)
            await asyncio.sleep(0)

    others = asyncio.create_task(everybody_else())
    async for _ in in_slices(range(100), hold_s=holds, clock_s=day.clock_s):
        day.now_s += 1
    given_back.append(day.now_s)
    over.set()
    await others
    assert max(later - before for before, later in itertools.pairwise(given_back)) == holds


def test_how_far_behind_it_is_by_what_it_saw(day: Day) -> None:
    progress = Progress(day.clock_s)
    progress.seen(100, 0, day.now_s)  # a hundred are there at second 0
    day.now_s = 10.0
    progress.seen(900, 60, day.now_s)
    assert (progress.behind_s(), progress.waiting) == (10.0, 840)
    day.now_s = 12.0
    progress.seen(950, 130, day.now_s)  # those of second 0 are done, those of second 10 are not
    assert progress.behind_s() == 12.0
    day.now_s = 13.0
    progress.seen(950, 950, day.now_s)
    assert (progress.behind_s(), progress.waiting) == (0.0, 0)


def test_a_follower_that_never_sees_the_end_is_only_behind_by_what_it_has_not_worked(day: Day) -> None:
    """Every second a hundred come, and by the next they are worked: always something waits, never for long."""
    progress = Progress(day.clock_s)
    for second in range(1, 60):
        day.now_s = float(second)
        progress.seen(second * 100, second * 100 - 100, day.now_s)
    assert progress.behind_s() == 1.0


async def test_followers_complete_though_the_road_is_busy_for_ever(database: asyncpg.Pool, day: Day) -> None:
    """Two of them, each event once, while new ones come."""
    await database.execute("DELETE FROM journal_events; DELETE FROM feed_cursors")
    merchant, random = f"m{uuid4().hex[:12]}", Random(3)
    way, seen, done = way_of(day, lambda: True), {"a": [0], "b": [0]}, asyncio.Event()

    def consumer_of(name: str) -> FeedConsumer:
        async def apply(_: Connection, span: Span) -> None:
            seen[name].append(span.until)
            assert span.after == seen[name][-2]
            if all(each[-1] == 200 for each in seen.values()):
                done.set()

        return FeedConsumer(database, name, apply, batch=7, right_of_way=way)

    consumers = [consumer_of(name) for name in seen]
    await put(database, made_up(random, merchant, 100))
    for each in consumers:
        each.start()
    await put(database, made_up(random, merchant, 100))
    async with asyncio.timeout(60):
        await done.wait()
    for each in consumers:
        await each.close()
    assert 0.05 in day.slept  # they did wait
