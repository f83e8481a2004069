"""The windows in Redis, beside those in memory; and that they need no Redis to be harmless."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

from switch.ports import CountersUnavailable
from switch.ports.signals import Note, Noted, SignalWindows
from switch.risk.memory_windows import MemorySignalWindows
from switch.store.signal_windows import RedisSignalWindows

LONG_MS = 3_600_000


@pytest.fixture
async def windows(redis_url: str) -> AsyncIterator[RedisSignalWindows]:
    windows = RedisSignalWindows(redis_url, timeout_s=2.0)
    yield windows
    await windows.close()


@pytest.fixture(params=["redis", "memory"])
def either(request: pytest.FixtureRequest, windows: RedisSignalWindows) -> SignalWindows:
    return windows if request.param == "redis" else MemorySignalWindows(lambda: time.monotonic_ns() // 1_000_000)


async def test_different_elements_count_once_each(either: SignalWindows) -> None:
    notes = [Note("k", each, LONG_MS) for each in ("a", "b", "a", "", "c")]
    noted = await either.note([*notes, Note("other", "a", LONG_MS)])
    assert [each.count for each in noted] == [1, 2, 2, 2, 3, 1]
    assert [each.before_ms is None for each in noted] == [True, True, False, True, True, True]


async def test_a_whole_note_answers_all_with_their_ages(either: SignalWindows) -> None:
    await either.note([Note("k", "a", LONG_MS), Note("k", "b", LONG_MS)])
    [noted] = await either.note([Note("k", "c", LONG_MS, whole=True)])
    assert set(noted.ages_ms) == {"a", "b", "c"}
    assert noted.ages_ms["a"] >= noted.ages_ms["c"] == 0


async def test_who_only_looks_leaves_nothing(either: SignalWindows) -> None:
    looked = await either.note([Note("k", "", LONG_MS, whole=True), Note("k", "", LONG_MS)])
    assert looked == [Noted(0), Noted(0)]


async def test_what_is_older_than_the_window_is_forgotten(either: SignalWindows) -> None:
    await either.note([Note("k", "a", LONG_MS)])
    async with asyncio.timeout(30):
        while True:
            [noted] = await either.note([Note("k", "b", 1)])
            if noted.count == 1:
                break
    [noted] = await either.note([Note("k", "a", LONG_MS)])
    assert noted.before_ms is None


async def test_so_many_are_kept_and_they_are_the_newest(either: SignalWindows) -> None:
    noted = await either.note([Note("k", f"{number:04}", LONG_MS) for number in range(1_050)])
    assert noted[-1].count == 1_000
    [last] = await either.note([Note("k", "1049", LONG_MS)])
    assert last.before_ms is not None


async def test_blocks_are_shared_and_the_longer_holds(either: SignalWindows) -> None:
    assert await either.blocks() == {}
    await either.block("203.0.113.7", LONG_MS)
    await either.block("203.0.113.7", 1_000)
    await either.block("2001:db8::/64", 2 * LONG_MS)
    left = await either.blocks()
    assert set(left) == {"203.0.113.7", "2001:db8::/64"}
    assert LONG_MS - 60_000 < left["203.0.113.7"] <= LONG_MS


async def test_a_block_ends(either: SignalWindows) -> None:
    await either.block("203.0.113.7", 1)
    async with asyncio.timeout(30):
        while True:
            if not await either.blocks():
                break


async def test_nothing_stays_in_redis_for_ever(windows: RedisSignalWindows, redis_url: str) -> None:
    await windows.note([Note("k", "a", LONG_MS)])
    await windows.block("203.0.113.7", LONG_MS)
    client = redis.Redis.from_url(redis_url)
    for key in ("signals:{0}:k", "signals:{0}:blocks"):
        assert 0 < await client.pttl(key) <= LONG_MS
    await client.aclose()


async def test_without_redis_it_fails_within_its_time() -> None:
    windows = RedisSignalWindows("redis://127.0.0.1:1", timeout_s=0.2)
    with pytest.raises(CountersUnavailable):
        await windows.note([Note("k", "a", LONG_MS)])
    with pytest.raises(CountersUnavailable):
        await windows.blocks()
    await windows.close()
