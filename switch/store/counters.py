"""Velocity windows in Redis: one round trip per batch, bounded in time, and free of cost while Redis is gone."""

import asyncio
import time
from collections.abc import Callable, Sequence
from zlib import crc32

from switch.store.bounded_redis import BoundedRedis, script_of

_SCRIPT = script_of("count_many.lua")


class RedisCounters:
    """Meets `switch.ports.Counters`: exact sliding windows on Redis's clock.

    timeout_s, connections, failures_to_open, rest_s: `BoundedRedis`'s.
    tags: over how many hash tags the subjects are spread, for a Redis Cluster; a batch costs a round trip for each.
    most_events: what a subject's count stops at, so that one subject cannot fill the memory.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.010,
        connections: int = 4,
        failures_to_open: int = 3,
        rest_s: float = 1.0,
        tags: int = 1,
        most_events: int = 10_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = BoundedRedis(
            url,
            timeout_s=timeout_s,
            connections=connections,
            failures_to_open=failures_to_open,
            rest_s=rest_s,
            monotonic_s=monotonic_s,
        )
        self._tags = tags
        self._most_events = most_events
        self.ready = self._redis.ready
        self.close = self._redis.close

    async def count_many(self, keys: Sequence[tuple[str, str]], window_s: int) -> list[int]:
        """Per (subject, event id) the subject's events of the last `window_s` seconds, this one included."""
        if not keys:
            return []
        counts: list[int] = await self._redis.bounded(lambda: self._count(keys, window_s))
        return counts

    async def _count(self, keys: Sequence[tuple[str, str]], window_s: int) -> list[int]:
        if self._tags == 1:
            return await self._evaluate(0, keys, window_s)
        places: dict[int, list[int]] = {}
        for place, (subject, _) in enumerate(keys):
            places.setdefault(crc32(subject.encode()) % self._tags, []).append(place)
        answers = await asyncio.gather(
            *(self._evaluate(tag, [keys[place] for place in of_tag], window_s) for tag, of_tag in places.items())
        )
        counts = [0] * len(keys)
        for of_tag, answer in zip(places.values(), answers, strict=True):
            for place, count in zip(of_tag, answer, strict=True):
                counts[place] = count
        return counts

    async def _evaluate(self, tag: int, keys: Sequence[tuple[str, str]], window_s: int) -> list[int]:
        prefix = f"window:{{{tag}}}:{window_s}:"
        arguments = [str(window_s * 1000), str(self._most_events)]
        arguments += [event_id for _, event_id in keys]
        counts: list[int] = await self._redis.run(_SCRIPT, [prefix + subject for subject, _ in keys], arguments)
        return counts
