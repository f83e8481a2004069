"""A channel's daily bill against our records of that day: every line and every record gets one verdict (invariant 16).

Pure. The records are given one at a time and not kept, so that a day of millions needs the memory of its bill, which
is small where its lines are packed (`switch.domain.packed_lines`).
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.line_index import LineIndex
from switch.domain.movement import Movement, Standing


class Verdict(StrEnum):
    MATCH = "match"
    OURS_ONLY = "ours only"
    THEIRS_ONLY = "theirs only"
    DIFFERS = "differs"
    DUPLICATE = "duplicate in bill"
    OPEN = "open"  # our record has not ended; the bill may have it or not
    CANCELLED_OUT = "cancelled out"  # a payment and what undid it: neither is in the bill
    REFUSED = "refused"  # no money moved, and the bill has nothing of it
    NEIGHBOUR = "neighbouring day"  # near midnight: to be found in the bill of the day before or after


BREAKS: Final = frozenset({Verdict.OURS_ONLY, Verdict.THEIRS_ONLY, Verdict.DIFFERS, Verdict.DUPLICATE})
"""What a person must look at."""

_UNDONE: Final = frozenset({Standing.UNDONE, Standing.DOUBTFUL})


@dataclass(frozen=True, slots=True)
class Finding:
    """detail: what differs, or what our record says instead. At least one of `ours` and `line` is there."""

    verdict: Verdict
    ours: Movement | None
    line: BillLine | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """[from_ms, until_ms), Unix time. tolerance_ms: so near to either end the channel's clock may say another day.

    Records of the tolerance on both sides are given to the comparison, too: a line may be theirs.
    """

    from_ms: int
    until_ms: int
    tolerance_ms: int

    def holds(self, time_ms: int) -> bool:
        return self.from_ms <= time_ms < self.until_ms

    def near_an_end(self, time_ms: int) -> bool:
        return not self.from_ms + self.tolerance_ms <= time_ms < self.until_ms - self.tolerance_ms


class Comparison:
    """`take` each of our movements once, in any order, then read `rest`."""

    def __init__(self, bill: Bill, day: Day) -> None:
        self._day = day
        self._lines = bill.lines
        self._taken = bytearray(len(bill.lines))
        self._index = LineIndex(bill.lines)
        for number in self._index.repeated:
            self._taken[number] = 1
        self._refused: dict[int, Movement] = {}
        self._unmatched: list[Movement] = []
        # Of what was undone: whether the bill has it. Payments by their own name, reversals by their payment's.
        self._undone: dict[BillKind, dict[str, bool]] = {BillKind.PAYMENT: {}, BillKind.REVERSAL: {}}

    def take(self, ours: Movement) -> Finding | None:
        """The verdict, or None where it is known only when all is seen: `rest` has it then."""
        number = self._line_of(ours)
        self._note_undone(ours, in_bill=number is not None)
        if number is None:
            return self._missing(ours)
        line = self._lines[number]
        if ours.standing is Standing.REFUSED:
            self._refused[number] = ours
            return None
        self._taken[number] = 1
        if ours.standing in (Standing.OPEN, Standing.POSSIBLE):
            return Finding(Verdict.OPEN, ours, line)
        detail = differences(ours, line)
        return Finding(Verdict.DIFFERS if detail else Verdict.MATCH, ours, line, detail)

    def rest(self) -> Iterator[Finding]:
        """What the last of our movements decided: what only one side has, and what is there twice."""
        for number in self._index.repeated:
            yield Finding(Verdict.DUPLICATE, None, self._lines[number])
        unmatched = yield from self._other_kinds()
        for ours in unmatched:
            finding = self._one_sided(ours)
            if finding is not None:
                yield finding
        for number, taken in enumerate(self._taken):
            if not taken:
                refused, line = self._refused.get(number), self._lines[number]
                yield Finding(Verdict.THEIRS_ONLY, refused, line, f"ours: {refused.record}" if refused else "")

    def _line_of(self, ours: Movement) -> int | None:
        """The first line of that kind and name which no other record has taken."""
        for name in (ours.reference, *ours.also):
            number = self._index.find(ours.kind, name)
            if number is not None and not self._taken[number]:
                return number
        return None

    def _missing(self, ours: Movement) -> Finding | None:
        if ours.standing is Standing.POSSIBLE:
            return None
        if ours.standing is Standing.OPEN:
            return Finding(Verdict.OPEN, ours, None) if self._day.holds(ours.time_ms) else None
        if ours.standing is Standing.REFUSED:
            return Finding(Verdict.REFUSED, ours, None) if self._day.holds(ours.time_ms) else None
        self._unmatched.append(ours)
        return None

    def _other_kinds(self) -> Generator[Finding, None, list[Movement]]:
        """Lines of our name and another kind than ours. Returns, as a generator does, what is left of our records."""
        left: list[Movement] = []
        for ours in self._unmatched:
            number = self._line_of_another_kind(ours)
            if number is None:
                left.append(ours)
                continue
            self._taken[number] = 1
            self._note_undone(ours, in_bill=True)
            line = self._lines[number]
            detail = ", ".join(filter(None, (f"kind: {ours.kind} {line.kind}", differences(ours, line))))
            yield Finding(Verdict.DIFFERS, ours, line, detail)
        return left

    def _line_of_another_kind(self, ours: Movement) -> int | None:
        names = (ours.reference, *ours.also)
        numbers = (self._index.find(kind, name) for kind in BillKind for name in names)
        return next((each for each in numbers if each is not None and not self._taken[each]), None)

    def _note_undone(self, ours: Movement, *, in_bill: bool) -> None:
        if ours.standing in _UNDONE and ours.kind in self._undone:
            name = ours.reference if ours.kind is BillKind.PAYMENT else ours.original_reference
            self._undone[ours.kind][name] = in_bill

    def _one_sided(self, ours: Movement) -> Finding | None:
        if not self._day.holds(ours.time_ms):
            return None  # its own day's comparison classifies it
        if self._cancelled_out(ours):
            return Finding(Verdict.CANCELLED_OUT, ours, None)
        if self._day.near_an_end(ours.time_ms):
            return Finding(Verdict.NEIGHBOUR, ours, None)
        return Finding(Verdict.OURS_ONLY, ours, None)

    def _cancelled_out(self, ours: Movement) -> bool:
        """Whether the bill has neither the payment nor what undid it, and may leave out both."""
        if ours.standing not in _UNDONE:
            return False
        if ours.kind is BillKind.REVERSAL:
            return self._undone[BillKind.PAYMENT].get(ours.original_reference) is False
        # Undone on another day: then this day's bill has it, unless it never was.
        return not self._undone[BillKind.REVERSAL].get(ours.reference, ours.standing is Standing.UNDONE)


def differences(ours: Movement, line: BillLine) -> str:
    """Ours and theirs of all that differs, or ""."""
    found = []
    if ours.money.amount_minor != line.money.amount_minor:
        found.append(f"amount: {ours.money.amount_minor} {line.money.amount_minor}")
    if ours.money.currency != line.money.currency:
        found.append(f"currency: {ours.money.currency} {line.money.currency}")
    if line.fee_minor and (line.fee_minor < 0) == (line.kind is BillKind.PAYMENT):
        found.append(f"fee: {line.fee_minor} of a {line.kind}")
    return ", ".join(found)
