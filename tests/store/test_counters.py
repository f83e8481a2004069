import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from switch.ports import CountersUnavailable
from switch.store.counters import RedisCounters
from switch.store.embedded import EmbeddedRedis

# What a test waits for Redis at most: other work on the machine is no outage.
PATIENT_S = 2.0


@pytest.fixture
async def counters(redis_url: str) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(redis_url, timeout_s=PATIENT_S)
    yield counters
    await counters.close()


async def test_counts_in_order_and_each_event_once(counters: RedisCounters) -> None:
    keys = [("card:a", "1"), ("card:b", "1"), ("card:a", "2"), ("card:a", "1"), ("card:a", "3")]
    assert await counters.count_many(keys, 60) == [1, 1, 2, 2, 3]
    assert await counters.count_many(keys, 60) == [3, 1, 3, 3, 3]
    assert await counters.count_many([], 60) == []


async def test_the_window_slides(counters: RedisCounters) -> None:
    assert await counters.count_many([("card", "1")], 1) == [1]
    await asyncio.sleep(0.6)
    assert await counters.count_many([("card", "2"), ("card", "1")], 1) == [2, 2]
    await asyncio.sleep(0.6)
    assert await counters.count_many([("card", "3")], 1) == [2]  # the first is out of the window, the second is not


async def test_windows_of_different_length_do_not_disturb_each_other(counters: RedisCounters) -> None:
    await counters.count_many([("card", "1")], 3_600)
    assert await counters.count_many([("card", "2")], 1) == [1]
    assert await counters.count_many([("card", "2")], 3_600) == [2]


async def test_keys_expire_and_carry_a_hash_tag(counters: RedisCounters, redis_url: str) -> None:
    await counters.count_many([("card:x", "1")], 60)
    async with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert await client.keys("*") == ["window:{0}:60:card:x"]
        assert 0 < await client.pttl("window:{0}:60:card:x") <= 60_000


async def test_spread_over_hash_tags_the_answers_stay_in_order(redis_url: str) -> None:
    counters = RedisCounters(redis_url, timeout_s=PATIENT_S, tags=4)
    keys = [(f"card:{number}", str(event)) for number in range(20) for event in range(number % 3 + 1)]
    expected = [event + 1 for number in range(20) for event in range(number % 3 + 1)]
    assert await counters.count_many(keys, 60) == expected
    await counters.close()


async def test_a_subject_cannot_fill_the_memory(redis_url: str) -> None:
    counters = RedisCounters(redis_url, timeout_s=PATIENT_S, most_events=10)
    counts = await counters.count_many([("card", str(number)) for number in range(25)], 60)
    assert counts == [*range(1, 11), *[10] * 15]
    await counters.close()


async def test_concurrent_batches_count_exactly(counters: RedisCounters) -> None:
    batches = [[("card", f"{batch}-{number}") for number in range(50)] for batch in range(8)]
    counts = await asyncio.gather(*(counters.count_many(batch, 60) for batch in batches))
    assert sorted(count for batch in counts for count in batch) == list(range(1, 401))


async def test_gone_then_free_of_cost_then_back(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    now_s = 0.0
    counters = RedisCounters(await server.start(), timeout_s=PATIENT_S, rest_s=10, monotonic_s=lambda: now_s)
    assert await counters.count_many([("card", "1")], 60) == [1]
    await server.stop()
    for _ in range(3):
        with pytest.raises(CountersUnavailable):
            await counters.count_many([("card", "2")], 60)
    started_s = time.perf_counter()
    for _ in range(200):
        with pytest.raises(CountersUnavailable, match="resting"):
            await counters.count_many([("card", "2")], 60)
    assert time.perf_counter() - started_s < PATIENT_S
    await server.start()
    assert await counters.ready()
    with pytest.raises(CountersUnavailable, match="resting"):
        await counters.count_many([("card", "2")], 60)
    now_s = 11.0
    assert await counters.count_many([("card", "2")], 60) == [1]  # and the script is there again
    assert await counters.count_many([("card", "3")], 60) == [2]
    await counters.close()
    await server.stop()


async def test_a_silent_redis_costs_no_more_than_the_timeout(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(silent, tmp_path / "s")
    counters = RedisCounters(f"unix://{tmp_path / 's'}", timeout_s=0.02)
    started_s = time.perf_counter()
    with pytest.raises(CountersUnavailable):
        await counters.count_many([("card", "1")], 60)
    assert time.perf_counter() - started_s < PATIENT_S
    assert not await counters.ready()
    await counters.close()
    server.close()
    await server.wait_closed()
