"""The script's windows at times of the test's own: it reads them from a list where it would ask Redis for the time."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio as redis
from exact_velocity import ExactVelocity
from hypothesis import given, settings
from velocity_story import DAY_MS, HOUR_MS, MINUTE_MS, Scene, Step, played, stories

from switch.domain.risk import Subject
from switch.domain.velocity import COUNTED_PAIRS, NEVER
from switch.ports.risk import Happening, Later, Mark, Sighting
from switch.risk.local_velocity import LocalVelocity
from switch.store import velocity as module
from switch.store.bounded_redis import Script, script_of
from switch.store.embedded import EmbeddedRedis
from switch.store.velocity import RedisVelocity

_ASKS = "call('TIME')"
_TOLD = "call('LRANGE', 'clock', 0, 1)"
TAP = {Subject.CARD: "ca" * 16, Subject.MERCHANT: "fe" * 16, Subject.USER: "05" * 16}


@pytest.fixture(autouse=True, scope="module")
def _times_of_our_own() -> Any:
    text = script_of("velocity.lua").text
    assert text.count(_ASKS) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SCRIPT", Script(text.replace(_ASKS, _TOLD)))
        yield


class Bench:
    """A velocity and its clock, which begins at the time that is: what Redis lets end by its own clock, does not."""

    def __init__(self, url: str) -> None:
        self.velocity = RedisVelocity(url, timeout_s=10)
        self._client = redis.Redis.from_url(url)
        self.now_ms = self.start_ms = int(time.time()) * 1000

    async def at(self, now_ms: int) -> None:
        self.now_ms = now_ms
        async with self._client.pipeline() as pipeline:
            await pipeline.delete("clock").rpush("clock", now_ms // 1000, now_ms % 1000 * 1000).execute()

    async def see(self, event_id: str, amount_minor: int = 1, subjects: dict[Subject, str] = TAP) -> dict[str, int]:
        [facts] = await self.velocity.see([Sighting(event_id, subjects, amount_minor)])
        return facts

    async def emptied(self) -> None:
        await self._client.flushall()
        await self.at(self.start_ms)

    async def close(self) -> None:
        await self.velocity.close()
        await self._client.aclose()


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    bench = Bench(redis_url)
    await bench.emptied()
    yield bench
    await bench.close()


def run(server: EmbeddedRedis, play: Callable[[Bench], Awaitable[None]]) -> None:
    async def scene() -> None:
        bench = Bench(server.url())
        try:
            await bench.emptied()
            await play(bench)
        finally:
            await bench.close()

    asyncio.run(scene())


async def told(bench: Bench, scene: Scene) -> dict[str, int] | None:
    if scene.sighting is not None:
        [facts] = await bench.velocity.see([scene.sighting])
        return facts
    await bench.velocity.tell([scene.happening] if scene.happening else [], [scene.mark] if scene.mark else [])
    return None


@settings(max_examples=60)
@given(story=stories)
def test_it_counts_as_this_process_does_and_within_the_bound(redis_server: EmbeddedRedis, story: list[Step]) -> None:
    async def play(bench: Bench) -> None:
        local, exact = LocalVelocity(lambda: bench.now_ms), ExactVelocity(list(COUNTED_PAIRS))
        for scene in played(story, bench.start_ms):
            await bench.at(scene.now_ms)
            facts = await told(bench, scene)
            if facts is None:
                local.note([scene.happening] if scene.happening else [], [scene.mark] if scene.mark else [])
                if scene.happening:
                    exact.tell(scene.happening, scene.now_ms)
                continue
            assert scene.sighting is not None
            assert facts == local.count(scene.sighting)
            exact.see(scene.sighting, scene.now_ms)
            for name, (least, most) in exact.bounds(scene.sighting, scene.now_ms).items():
                assert least <= facts[name] <= most, name

    run(redis_server, play)


@settings(max_examples=25)
@given(story=stories)
def test_batches_count_as_one_after_another_does(redis_server: EmbeddedRedis, story: list[Step]) -> None:
    """All at one time: a record that is met twice in a batch is read and written once."""
    sightings = [each.sighting for each in played(story, 0) if each.sighting is not None]

    async def play(bench: Bench) -> None:
        alone = [facts for each in sightings for facts in await bench.velocity.see([each])]
        await bench.emptied()
        assert await bench.velocity.see(sightings) == alone

    run(redis_server, play)


@pytest.mark.parametrize("after_edge_ms", [0, 1, -1])
@pytest.mark.parametrize(
    ("name", "length_ms"),
    [("1m", MINUTE_MS), ("10m", 10 * MINUTE_MS), ("1h", HOUR_MS), ("1d", DAY_MS), ("30d", 30 * DAY_MS)],
)
async def test_a_window_ends_to_the_millisecond(bench: Bench, name: str, length_ms: int, after_edge_ms: int) -> None:
    twelfth_ms = length_ms // 12
    edge_ms = (bench.now_ms // twelfth_ms + 2) * twelfth_ms
    paid_ms = edge_ms + after_edge_ms
    began_ms = paid_ms // twelfth_ms * twelfth_ms
    await bench.at(paid_ms)
    await bench.see("1", 5)
    await bench.at(began_ms + 13 * twelfth_ms - 1)
    assert (await bench.see("2", 7))[f"card_sum_{name}"] == 12
    await bench.at(began_ms + 13 * twelfth_ms)
    assert (await bench.see("3", 1))[f"card_sum_{name}"] == 8


async def test_a_repeat_is_told_the_totals_of_its_own_time(bench: Bench) -> None:
    await bench.see("1", 5)
    await bench.at(bench.start_ms + 2 * HOUR_MS)
    facts = await bench.see("1", 5)
    assert (facts["card_count_1m"], facts["card_count_1h"], facts["card_count_1d"]) == (0, 0, 1)
    assert (facts["card_age_minutes"], facts["card_idle_minutes"]) == (0, NEVER)
    await bench.see("2", 5)
    await bench.at(bench.start_ms + 3 * HOUR_MS)
    assert (await bench.see("2", 5))["card_idle_minutes"] == 120
    assert (await bench.see("1", 5))["card_idle_minutes"] == 60


async def test_an_event_is_remembered_for_a_day(bench: Bench) -> None:
    for number in range(8):
        await bench.at(bench.now_ms + 7 * HOUR_MS)
        await bench.see(str(number))
        await bench.at(bench.now_ms + DAY_MS)
        facts = await bench.see(str(number))
        assert facts["card_count_30d"] == number + 1


async def test_a_clock_that_goes_back_loses_nothing_and_keeps_nothing_for_ever(bench: Bench) -> None:
    others = [TAP | {Subject.CARD: f"{number:08x}" * 4} for number in range(1, 4)]
    for number, subjects in enumerate(others):
        await bench.at(bench.start_ms + number * 20 * MINUTE_MS)
        await bench.see(f"before {number}", 1, subjects)
    await bench.velocity.tell(
        [Happening("1", Later.DECLINES, TAP, bench.now_ms)], [Mark("signed_in", TAP[Subject.USER], bench.now_ms)]
    )
    await bench.at(bench.start_ms - 3 * HOUR_MS)
    facts = await bench.see("back")
    assert (facts["merchant_count_1m"], facts["merchant_count_1h"], facts["merchant_cards_1h"]) == (2, 4, 4)
    assert (facts["merchant_declines_1h"], facts["user_signed_in_minutes"], facts["merchant_age_minutes"]) == (1, 0, 0)
    await bench.at(bench.now_ms + HOUR_MS + 5 * MINUTE_MS)
    facts = await bench.see("an hour later")
    assert (facts["merchant_count_1h"], facts["merchant_count_1d"], facts["merchant_cards_1h"]) == (1, 5, 1)
    assert (facts["merchant_declines_1h"], facts["merchant_declines_1d"]) == (0, 1)


async def test_a_decline_leaves_its_window_though_no_payment_does(bench: Bench) -> None:
    edge_ms = (bench.now_ms // 300_000 + 1) * 300_000
    await bench.at(edge_ms)
    await bench.velocity.tell([Happening("1", Later.DECLINES, TAP, edge_ms)])
    for minutes in (6, 8):  # these leave a stretch later
        await bench.at(edge_ms + minutes * MINUTE_MS)
        await bench.see(f"after {minutes}")
    await bench.at(edge_ms + 13 * 300_000 - 2)
    assert (await bench.see("1"))["card_declines_1h"] == 1
    await bench.at(bench.now_ms + 1)
    assert (await bench.see("2"))["card_declines_1h"] == 1
    await bench.at(bench.now_ms + 1)
    assert (await bench.see("3"))["card_declines_1h"] == 0


async def test_what_is_told_late_and_in_no_order_leaves_in_order(bench: Bench) -> None:
    exact = ExactVelocity([])
    ago_ms = [(number * 7919 % 23) * 3 * HOUR_MS for number in range(40)]
    for number, each in enumerate(ago_ms):
        for what in (Later.REFUNDS, Later.DECLINES):
            happening = Happening(str(number), what, TAP, bench.now_ms - each, 10 + number)
            await bench.velocity.tell([happening])
            exact.tell(happening, bench.now_ms)
    for number in range(120):
        await bench.at(bench.now_ms + (20 * MINUTE_MS if number < 100 else 40 * HOUR_MS))
        facts = await bench.see(str(number))
        exact.see(Sighting(str(number), TAP, 1), bench.now_ms)
        for name, (least, most) in exact.bounds(Sighting(str(number), TAP, 1), bench.now_ms).items():
            assert least <= facts[name] <= most, name


async def test_another_is_not_found_across_the_border_of_two(bench: Bench) -> None:
    """Its name is the end of one entry of the list and the beginning of the next."""
    first = "0123456789abcdef"
    stretch = struct.pack("<I", bench.now_ms // 300_000).hex()
    second = first[8:] + stretch
    for number, start in enumerate((first, second, first, second), 1):
        facts = await bench.see(str(number), 1, {Subject.MERCHANT: "fe" * 16, Subject.CARD: start * 2})
        assert facts["merchant_cards_1h"] == min(number, 2)


async def test_many_cells_and_many_others_slide(bench: Bench) -> None:
    """A merchant of many hours: every cell of every window, and a list that ends in the middle."""
    exact = ExactVelocity([])
    for number in range(400):
        await bench.at(bench.now_ms + (4_000 if number % 40 else 9 * HOUR_MS) + 37 * number)
        subjects = {Subject.MERCHANT: "fe" * 16, Subject.CARD: f"{number % 90 + 1:08x}" * 4}
        facts = await bench.see(str(number), number, subjects)
        sighting = Sighting(str(number), subjects, number)
        exact.see(sighting, bench.now_ms)
        for name, (least, most) in exact.bounds(sighting, bench.now_ms).items():
            assert least <= facts[name] <= most, name
