"""Reads the network's settlement file of a day into a bill. Pure; its layout is data in `format` ([U]).

What does not add up is refused as a whole: a bill of which one line cannot be believed settles nothing.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from adapters.unionpay.format import (
    SETTLEMENT_KINDS,
    SETTLEMENT_LINE,
    SETTLEMENT_TOTALS,
    TOTALS_MARK,
    Column,
)
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import Money
from switch.ports import BillRefused

_ZONE = ZoneInfo("Asia/Shanghai")
_NO_ORIGINAL = "0" * 10 + "-" + "0" * 6
_CURRENCIES = {"156": "CNY"}
_FEE_SIGNS = {"D": 1, "C": -1}


def read_bill(channel: str, day: date, institution: str, files: Sequence[bytes], *, totals: bool = True) -> Bill:
    """The bill in the files (batches) of that day. institution: our DE33. totals: each file ends in a line of totals.

    Raises BillRefused: malformed (a line that is none, or a movement named twice), foreign (another day's or
    institution's), totals (lines missing or added, amounts changed), hash (anything else was changed).
    """
    lines: list[BillLine] = []
    for content in files:
        lines += _read_file(day, institution, content, totals)
    if len({(each.kind, each.reference) for each in lines}) != len(lines):
        raise BillRefused("malformed", "a movement is named twice")
    return Bill(channel, day, tuple(lines))


def _read_file(day: date, institution: str, content: bytes, totals: bool) -> list[BillLine]:
    try:
        *rows, rest = content.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BillRefused("malformed", "it is not ASCII") from None
    if rest:
        raise BillRefused("malformed", "the last line does not end")
    closing = None
    if totals:
        if not rows or not rows[-1].startswith(TOTALS_MARK):
            raise BillRefused("totals", "the line of totals is missing")
        closing = _cells(rows.pop(), SETTLEMENT_TOTALS, len(rows) + 1)
    lines = [_line(_cells(row, SETTLEMENT_LINE, number), institution) for number, row in enumerate(rows, 1)]
    if closing is not None:
        _agree(closing, lines, day, institution, content)
    return lines


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


def _agree(closing: dict[str, str], lines: list[BillLine], day: date, institution: str, content: bytes) -> None:
    if closing["forwarder"] != institution or closing["day"] != f"{day:%Y%m%d}":
        raise BillRefused("foreign", "another day's or institution's file")
    paid_minor = sum(each.money.amount_minor for each in lines if each.kind is BillKind.PAYMENT)
    returned_minor = sum(each.money.amount_minor for each in lines if each.kind is not BillKind.PAYMENT)
    said = (closing["lines"], closing["paid_minor"], closing["returned_minor"])
    if tuple(map(int, said)) != (len(lines), paid_minor, returned_minor):
        raise BillRefused("totals", "the lines do not add up to the totals")
    before_totals = content[: content[:-1].rfind(b"\n") + 1]
    if hashlib.sha256(before_totals).hexdigest() != closing["sha256"]:
        raise BillRefused("hash", "a line was changed")
