"""The lines of a large bill in a tenth of the memory that as many `BillLine`s take."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

from switch.domain.bill import BillKind, BillLine
from switch.domain.money import Money

_KINDS: Final = (BillKind.PAYMENT, BillKind.REFUND, BillKind.REVERSAL)
"""In the order of their stored numbers, from 1."""

_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_SEPARATOR: Final = "\0"


class PackedLines(Sequence[BillLine]):
    """Lines are only added. What is read is made anew each time: equal, but not the same.

    >>> lines = PackedLines([BillLine(BillKind.PAYMENT, "a", Money(1, "CNY"), 2, "", "c", 3)])
    >>> lines[0] == BillLine(BillKind.PAYMENT, "a", Money(1, "CNY"), 2, "", "c", 3), len(lines)
    (True, 1)
    """

    def __init__(self, lines: Iterable[BillLine] = ()) -> None:
        self._kinds = bytearray()
        self._currencies = bytearray()
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._amounts, self._times, self._fees = array("q"), array("q"), array("q")
        self._texts, self._starts = bytearray(), array("Q", [0])
        self._last: tuple[int, BillLine] | None = None
        for each in lines:
            self.append(each)

    def append(self, line: BillLine) -> None:
        """Raises ValueError for a text with a NUL, which no channel's name has."""
        texts = (line.reference, line.original_reference, line.channel_reference)
        text = _SEPARATOR.join(texts)
        if text.count(_SEPARATOR) != 2:
            raise ValueError("a NUL in a bill's line")
        code = self._codes.get(line.money.currency)
        if code is None:
            code = self._codes[line.money.currency] = len(self._names)
            self._names.append(line.money.currency)
        self._currencies.append(code)
        self._kinds.append(_NUMBERS[line.kind])
        self._amounts.append(line.money.amount_minor)
        self._times.append(line.time_ms)
        self._fees.append(line.fee_minor)
        self._texts += text.encode()
        self._starts.append(len(self._texts))

    def __len__(self) -> int:
        return len(self._kinds)

    def __eq__(self, other: object) -> bool:
        """Whether other has the same lines in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, number: int) -> BillLine: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[BillLine]: ...

    def __getitem__(self, number: int | slice) -> BillLine | Sequence[BillLine]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if self._last is not None and self._last[0] == number:
            return self._last[1]  # who looks for a line looks at it next
        if not 0 <= number < len(self):
            raise IndexError(number)
        reference, original, channel_reference = self._text(number).split(_SEPARATOR)
        money = Money(self._amounts[number], self._names[self._currencies[number]])
        line = BillLine(
            _KINDS[self._kinds[number]], reference, money, self._times[number], original, channel_reference,
            self._fees[number],
        )  # fmt: skip
        self._last = (number, line)
        return line

    def rows(self) -> Iterator[tuple[int, int, str, str, str, int, str, int, int]]:
        """(number from 0, kind 1 to 3, reference, original_reference, channel_reference, amount_minor, currency,
        fee_minor, time_ms) of each: what is kept of a line."""
        for number, kind in enumerate(self._kinds):
            reference, original, channel_reference = self._text(number).split(_SEPARATOR)
            currency = self._names[self._currencies[number]]
            yield (
                number, kind + 1, reference, original, channel_reference, self._amounts[number], currency,
                self._fees[number], self._times[number],
            )  # fmt: skip

    def names(self) -> Iterator[tuple[BillKind, str]]:
        """(kind, reference) of each."""
        for number, kind in enumerate(self._kinds):
            yield _KINDS[kind], self._text(number).partition(_SEPARATOR)[0]

    def money(self) -> Iterator[tuple[BillKind, int, str, int]]:
        """(kind, amount_minor, currency, fee_minor) of each."""
        for kind, amount_minor, currency, fee_minor in zip(
            self._kinds, self._amounts, self._currencies, self._fees, strict=True
        ):
            yield _KINDS[kind], amount_minor, self._names[currency], fee_minor

    def digest(self) -> bytes:
        """SHA-256 over all lines, in their order."""
        whole = hashlib.sha256(",".join(self._names).encode())
        columns = (self._kinds, self._currencies, self._amounts, self._times, self._fees, self._starts, self._texts)
        for each in columns:
            whole.update(memoryview(each).cast("B"))
        return whole.digest()

    def _text(self, number: int) -> str:
        return self._texts[self._starts[number] : self._starts[number + 1]].decode()


def stored_kind(kind: BillKind) -> int:
    """
    >>> stored_kind(BillKind.PAYMENT)
    1
    """
    return _NUMBERS[kind] + 1


def kind_from(number: int) -> BillKind:
    return _KINDS[number - 1]
