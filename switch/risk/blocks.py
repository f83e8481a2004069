"""Who no door lets in: addresses, each for a time, and those that an analyst's list blocks."""

from collections.abc import Callable, Mapping
from typing import Final

from switch.domain.risk import Subject
from switch.ports import Clock
from switch.risk.lists import Lists
from switch.risk.sources import Network, canonical, is_within, source_of
from switch.risk.subjects import address_key

MOST_BLOCKED: Final = 10_000
_NO_LISTS: Final = Lists()


class DoorBlocks:
    """Meets `switch.ports.signals.Blocked`.

    never: networks of which nothing is blocked, whoever says so: a proxy's address is everybody's. refused: told of
    each who was turned away.
    """

    def __init__(
        self, clock: Clock, never: tuple[Network, ...] = (), refused: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._never = never
        self._refused = refused
        self._until_s: dict[str, float] = {}
        self._lists: Callable[[], Lists] = lambda: _NO_LISTS

    def heed(self, lists: Callable[[], Lists]) -> None:
        """From now on: an address on a BLOCK list is refused, one on an ALLOW list is not, whatever it did."""
        self._lists = lists

    def may_block(self, source: str) -> bool:
        return bool(source) and not is_within(source, self._never)

    def take(self, blocks: Mapping[str, int]) -> None:
        """source -> for how many more milliseconds. Those that hold already are kept."""
        now_s = self._clock.monotonic_s()
        self._until_s = {source: until_s for source, until_s in self._until_s.items() if until_s > now_s}
        for source, left_ms in blocks.items():
            if len(self._until_s) >= MOST_BLOCKED and source not in self._until_s:
                break
            if self.may_block(source):
                self._until_s[source] = max(self._until_s.get(source, 0.0), now_s + left_ms / 1000)

    def holds(self, source: str) -> bool:
        until_s = self._until_s.get(source)
        return until_s is not None and self._clock.monotonic_s() < until_s

    def refuses(self, address: str) -> bool:
        lists = self._lists()
        if not address or not (self._until_s or len(lists)):
            return False
        source = source_of(address)
        held = self.holds(source)
        if len(lists) and source:
            held = self._by_lists(lists, {canonical(address), source}, held)
        if held:
            self._refused()
        return held

    def _by_lists(self, lists: Lists, names: set[str], held: bool) -> bool:
        """names: the address, and the network that it is counted with."""
        now_ms = self._clock.time_ms()
        standings = [lists.standing({Subject.IP: address_key(each)}, now_ms) for each in names]
        allowed = any(Subject.IP in each.allowed for each in standings)
        return not allowed and (held or any(each.blocks for each in standings))

    def __len__(self) -> int:
        """How many hold, but for those of lists."""
        now_s = self._clock.monotonic_s()
        return sum(until_s > now_s for until_s in self._until_s.values())
