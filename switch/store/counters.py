"""Velocity windows in Redis: one round trip per batch, bounded in time, and free of cost while Redis is gone."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from switch.ports import CountersUnavailable

log = structlog.get_logger()

_SCRIPT = (Path(__file__).parent / "count_many.lua").read_text()
_SCRIPT_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # the name Redis gives it


class RedisCounters:
    """Meets `switch.ports.Counters`: exact sliding windows on Redis's clock.

    timeout_s bounds connecting and every operation. After `failures_to_open` failures in a row calls fail at once,
    without touching a socket, until `rest_s` has passed; then one of them tries again.
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
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = redis.Redis.from_pool(pool)
        self._execute: Callable[..., Awaitable[Any]] = self._redis.execute_command
        self._failures_to_open = failures_to_open
        self._rest_s = rest_s
        self._tags = tags
        self._most_events = most_events
        self._monotonic_s = monotonic_s
        self._failures = 0
        self._closed_until_s = 0.0

    async def count_many(self, keys: Sequence[tuple[str, str]], window_s: int) -> list[int]:
        """Per (subject, event id) the subject's events of the last `window_s` seconds, this one included."""
        if not keys:
            return []
        if self._closed_until_s and not self._try_again():
            raise CountersUnavailable("resting after failures")
        try:
            counts = await self._count(keys, window_s)
        except (RedisError, OSError) as error:
            self._failed(error)
            raise CountersUnavailable(f"{type(error).__name__}: {error}") from error
        if self._failures:
            log.info("counters_recovered")
        self._failures, self._closed_until_s = 0, 0.0
        return counts

    def _try_again(self) -> bool:
        now_s = self._monotonic_s()
        if now_s < self._closed_until_s:
            return False
        self._closed_until_s = now_s + self._rest_s  # for the others: one tries, they wait for its result
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= self._failures_to_open:
            self._closed_until_s = self._monotonic_s() + self._rest_s
        if self._failures == self._failures_to_open:
            log.warning("counters_unavailable", error=f"{type(error).__name__}: {error}")

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
        arguments = [prefix + subject for subject, _ in keys]
        arguments += [str(window_s * 1000), str(self._most_events)]
        arguments += [event_id for _, event_id in keys]
        try:
            answer = await self._execute("EVALSHA", _SCRIPT_SHA, len(keys), *arguments)
        except NoScriptError:  # a Redis that was restarted
            answer = await self._execute("EVAL", _SCRIPT, len(keys), *arguments)
        counts: list[int] = answer
        return counts

    async def ready(self) -> bool:
        """Whether Redis answers now: for a health page, not for the hot path."""
        try:
            await self._execute("PING")
        except (RedisError, OSError):
            return False
        return True

    async def close(self) -> None:
        await self._redis.aclose()
