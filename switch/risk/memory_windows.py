"""The signals' windows in this process's memory: while Redis is gone."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from switch.ports.signals import Note, Noted

_MOST_ELEMENTS: Final = 1000


class MemorySignalWindows:
    """Meets `switch.ports.signals.SignalWindows`, for one process.

    now_ms: milliseconds of any clock that does not go back. most_keys: those noted last are kept.
    """

    def __init__(self, now_ms: Callable[[], int], most_keys: int = 10_000) -> None:
        self._now_ms = now_ms
        self._most_keys = most_keys
        self._keys: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()
        self._blocks: dict[str, int] = {}

    async def note(self, notes: Sequence[Note]) -> list[Noted]:
        return [self._note(each) for each in notes]

    async def block(self, source: str, block_ms: int) -> None:
        self._blocks[source] = max(self._blocks.get(source, 0), self._now_ms() + block_ms)

    async def blocks(self) -> Mapping[str, int]:
        now_ms = self._now_ms()
        self._blocks = {source: until_ms for source, until_ms in self._blocks.items() if until_ms > now_ms}
        return {source: until_ms - now_ms for source, until_ms in self._blocks.items()}

    def __len__(self) -> int:
        """Keys that are held."""
        return len(self._keys)

    def _note(self, note: Note) -> Noted:
        now_ms = self._now_ms()
        times = self._keys.pop(note.key, None) or OrderedDict()
        while times and next(iter(times.values())) <= now_ms - note.window_ms:
            times.popitem(last=False)
        before_ms = None
        if note.element:
            last_ms = times.pop(note.element, None)
            before_ms = None if last_ms is None else now_ms - last_ms
            times[note.element] = now_ms
            if len(times) > _MOST_ELEMENTS:
                times.popitem(last=False)
        if times:
            self._keys[note.key] = times
            if len(self._keys) > self._most_keys:
                self._keys.popitem(last=False)
        ages_ms = {element: now_ms - time_ms for element, time_ms in times.items()} if note.whole else {}
        return Noted(len(times), before_ms, ages_ms)
