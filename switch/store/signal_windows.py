"""What doors told, counted in Redis over all processes; and the addresses that no door lets in.

`signals.lua` has the layout. All keys have one hash tag: in a Redis Cluster they are one node's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from switch.ports.signals import Note, Noted
from switch.store.bounded_redis import BoundedRedis, script_of

_SCRIPT = script_of("signals.lua")
_PREFIX: Final = "signals:{0}:"
_BLOCKS: Final = _PREFIX + "blocks"
_MOST_IN_A_CALL: Final = 128  # all of Redis waits for the end of a script


class RedisSignalWindows:
    """Meets `switch.ports.signals.SignalWindows`, on Redis's clock. The figures are `BoundedRedis`'s."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.25,
        connections: int = 2,
        failures_to_open: int = 3,
        rest_s: float = 1.0,
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
        self.close = self._redis.close

    async def note(self, notes: Sequence[Note]) -> list[Noted]:
        noted: list[Noted] = []
        for first in range(0, len(notes), _MOST_IN_A_CALL):
            part = notes[first : first + _MOST_IN_A_CALL]
            arguments = ["note"]
            for each in part:
                arguments += [each.element, str(each.window_ms), "1" if each.whole else "0"]
            answers = await self._run([_PREFIX + each.key for each in part], arguments)
            noted += map(_noted, answers)
        return noted

    async def block(self, source: str, block_ms: int) -> None:
        await self._run([_BLOCKS], ["block", source, str(block_ms)])

    async def blocks(self) -> Mapping[str, int]:
        answer = await self._run([_BLOCKS], ["blocks"])
        return {source.decode(): left_ms for source, left_ms in _pairs(answer)}

    async def _run(self, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        return await self._redis.bounded(lambda: self._redis.run(_SCRIPT, keys, arguments))


def _noted(answer: list[Any]) -> Noted:
    count, before_ms, *whole = answer
    ages_ms = {element.decode(): age_ms for element, age_ms in _pairs(whole)}
    return Noted(count, None if before_ms < 0 else before_ms, ages_ms)


def _pairs(flat: list[Any]) -> "zip[tuple[Any, Any]]":
    return zip(flat[::2], flat[1::2], strict=True)
