"""What may be lost: counters; and the clock."""

from collections.abc import Sequence
from typing import Protocol


class CountersUnavailable(Exception):
    """Redis is gone: risk continues by policy."""


class Counters(Protocol):
    async def count_many(self, keys: Sequence[tuple[str, str]], window_s: int) -> list[int]:
        """For each (subject, event id): record the event once, return how many events the subject had in the window.

        One round trip for all. The same event id counted again changes nothing.
        """


class Clock(Protocol):
    def time_ms(self) -> int:
        """Unix time in milliseconds."""

    def monotonic_s(self) -> float:
        """`loop.time()`: deadlines are counted on it."""
