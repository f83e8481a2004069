"""Reads the network's settlement file of a day into a bill. Pure; its layout is data in `format` ([U]).

What does not add up is refused as a whole: a bill of which one line cannot be believed settles nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

from adapters.unionpay.format import (
    SETTLEMENT_KINDS,
    SETTLEMENT_LINE,
    SETTLEMENT_TOTALS,
    TOTALS_MARK,
    Column,
)
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.line_index import LineIndex
from switch.domain.money import Money
from switch.domain.packed_lines import PackedLines
from switch.ports import BillRefused

_ZONE = ZoneInfo("Asia/Shanghai")
_NO_ORIGINAL = "0" * 10 + "-" + "0" * 6
_CURRENCIES = {"156": "CNY"}
_FEE_SIGNS = {"D": 1, "C": -1}


_LONGEST_LINE: Final = max(
    sum(each.width for each in columns) + len(columns) for columns in (SETTLEMENT_LINE, SETTLEMENT_TOTALS)
)
"""Bytes, with its ending."""


@dataclass(slots=True)
class _Read:
    """What one file has said so far, and the hash of it."""

    lines: int = 0
    paid_minor: int = 0
    returned_minor: int = 0
    hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)


def read_bill(channel: str, day: date, institution: str, files: Iterable[BinaryIO], *, totals: bool = True) -> Bill:
    """The bill in the files (batches) of that day, each read line by line. institution: our DE33. totals: each file
    ends in a line of totals.

    Raises BillRefused: malformed (a line that is none, or a movement named twice), foreign (another day's or
    institution's), totals (lines missing or added, amounts changed), hash (anything else was changed).
    """
    lines = PackedLines()
    for file in files:
        _read_file(day, institution, file, totals, lines)
    if LineIndex(lines).repeated:
        raise BillRefused("malformed", "a movement is named twice")
    return Bill(channel, day, lines)


def _read_file(day: date, institution: str, file: BinaryIO, totals: bool, lines: PackedLines) -> None:
    """The last line is known as such once nothing follows it."""
    read, last = _Read(), b""
    while line := file.readline(_LONGEST_LINE + 1):
        if last:
            _take(last, read, institution, lines)
        last = line
    if not totals:
        if last:
            _take(last, read, institution, lines)
        return
    if not last.startswith(TOTALS_MARK.encode("ascii")):
        raise BillRefused("totals", "the line of totals is missing")
    _agree(_cells(_row(last), SETTLEMENT_TOTALS, read.lines + 1), read, day, institution)


def _take(row: bytes, read: _Read, institution: str, lines: PackedLines) -> None:
    read.lines += 1
    line = _line(_cells(_row(row), SETTLEMENT_LINE, read.lines), institution)
    if line.kind is BillKind.PAYMENT:
        read.paid_minor += line.money.amount_minor
    else:
        read.returned_minor += line.money.amount_minor
    read.hash.update(row)
    lines.append(line)


def _row(line: bytes) -> str:
    if not line.endswith(b"\n"):
        raise BillRefused("malformed", "a line is too long, or the last one does not end")
    try:
        return line[:-1].decode("ascii")
    except UnicodeDecodeError:
        raise BillRefused("malformed", "it is not ASCII") from None


def _cells(row: str, columns: Sequence[Column], number: int) -> dict[str, str]:
    if len(row) != sum(each.width for each in columns) + len(columns) - 1:
        raise BillRefused("malformed", f"line {number} has another length")
    cells: dict[str, str] = {}
    at = 0
    for column in columns:
        cell = row[at : at + column.width]
        at += column.width
        if row[at : at + 1] not in ("", " ") or (column.digits and not cell.isdigit()):
            raise BillRefused("malformed", f"line {number}: {column.name}")
        at += 1
        cells[column.name] = cell if column.digits else cell.rstrip()
    return cells


def _line(cells: dict[str, str], institution: str) -> BillLine:
    if cells["forwarder"] != institution:
        raise BillRefused("foreign", "a line of another institution")
    kind = SETTLEMENT_KINDS.get((cells["mti"][:3], cells["processing"][:2]))
    currency, sign = _CURRENCIES.get(cells["currency"]), _FEE_SIGNS.get(cells["fee_side"])
    if kind is None or currency is None or sign is None:
        raise BillRefused("malformed", "an unknown kind of transaction, currency or side of the fee")
    original = f"{cells['original_transmission']}-{cells['original_stan']}"
    return BillLine(
        kind=BillKind(kind),
        reference=f"{cells['transmission']}-{cells['stan']}",
        money=_money(cells["amount_minor"], currency),
        time_ms=_time_ms(cells["booked"]),
        original_reference="" if original == _NO_ORIGINAL else original,
        channel_reference=cells["transmission"] + cells["stan"],
        fee_minor=sign * int(cells["fee_minor"]),
    )


def _money(amount_minor: str, currency: str) -> Money:
    if int(amount_minor) == 0:
        raise BillRefused("malformed", "an amount of nothing")
    return Money(int(amount_minor), currency)


def _time_ms(booked: str) -> int:
    try:
        return int(datetime.strptime(booked, "%Y%m%d%H%M%S").replace(tzinfo=_ZONE).timestamp() * 1000)
    except ValueError:
        raise BillRefused("malformed", "a time that is none") from None


def _agree(closing: dict[str, str], read: _Read, day: date, institution: str) -> None:
    if closing["forwarder"] != institution or closing["day"] != f"{day:%Y%m%d}":
        raise BillRefused("foreign", "another day's or institution's file")
    said = (closing["lines"], closing["paid_minor"], closing["returned_minor"])
    if tuple(map(int, said)) != (read.lines, read.paid_minor, read.returned_minor):
        raise BillRefused("totals", "the lines do not add up to the totals")
    if read.hash.hexdigest() != closing["sha256"]:
        raise BillRefused("hash", "a line was changed")
