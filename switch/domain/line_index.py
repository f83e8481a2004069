"""Which line of a bill has a name: eight bytes a line, where a dictionary of names takes a hundred and more. Pure."""

from array import array
from collections.abc import Sequence
from typing import Final

from switch.domain.bill import BillKind, BillLine
from switch.domain.packed_lines import PackedLines

_LOW: Final = (1 << 32) - 1
_LEAST_SLOTS: Final = 16


class LineIndex:
    """Open addressing: a slot holds a line's number + 1 and 32 bits of its name's hash. At most half of them are taken.

    repeated: the lines, by number, whose kind and name an earlier line has.
    """

    def __init__(self, lines: Sequence[BillLine]) -> None:
        self._lines = lines
        slots = _LEAST_SLOTS
        while slots < 2 * len(lines):
            slots *= 2
        self._mask = slots - 1
        self._numbers, self._prints = array("I", bytes(4 * slots)), array("I", bytes(4 * slots))
        self.repeated: list[int] = []
        names = lines.names() if isinstance(lines, PackedLines) else ((each.kind, each.reference) for each in lines)
        for number, (kind, reference) in enumerate(names):
            self._add(number, kind, reference)

    def find(self, kind: BillKind, reference: str) -> int | None:
        """The number of the first line of that kind and name."""
        found = self._numbers[self._slot(kind, reference)]
        return found - 1 if found else None

    def _add(self, number: int, kind: BillKind, reference: str) -> None:
        slot = self._slot(kind, reference)
        if self._numbers[slot]:
            self.repeated.append(number)
            return
        self._numbers[slot] = number + 1
        self._prints[slot] = hash((kind, reference)) >> 20 & _LOW

    def _slot(self, kind: BillKind, reference: str) -> int:
        """Its own slot, or the free one where it would go."""
        hashed = hash((kind, reference))
        slot, wanted = hashed & self._mask, hashed >> 20 & _LOW
        while found := self._numbers[slot]:
            if self._prints[slot] == wanted and self._is(found - 1, kind, reference):
                return slot
            slot = slot + 1 & self._mask
        return slot

    def _is(self, number: int, kind: BillKind, reference: str) -> bool:
        line = self._lines[number]
        return line.reference == reference and line.kind is kind
