"""Bills and findings as CSV (RFC 4180, UTF-8, one header line). Amounts are minor units; times ISO 8601 in Shanghai."""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final, TextIO

from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.domain.movement import Movement
from switch.domain.packed_lines import PackedLines
from switch.ports import BillRefused
from switch.settlement.compare import Day, Finding

SHANGHAI: Final = timezone(timedelta(hours=8))  # no daylight saving since 1991
"""Of the business day."""

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,128}")
_COLUMNS = (
    *("kind", "reference", "original_reference", "channel_reference", "amount_minor", "currency", "fee_minor", "time"),
)
_FINDING_COLUMNS = (
    *("verdict", "detail", "kind", "reference", "our_amount_minor", "our_currency", "our_time", "our_record"),
    *("their_kind", "their_reference", "their_amount_minor", "their_currency", "their_fee_minor", "their_time"),
    *("original_reference", "channel_reference"),
)


def day_of(day: date, tolerance_s: float) -> Day:
    """The business day.

    >>> day_of(date(2026, 1, 2), 60).from_ms
    1767283200000
    """
    begins = datetime(day.year, day.month, day.day, tzinfo=SHANGHAI)
    ends = begins + timedelta(days=1)
    return Day(int(begins.timestamp() * 1000), int(ends.timestamp() * 1000), int(tolerance_s * 1000))


def write_bill(bill: Bill, file: TextIO) -> None:
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for line in bill.lines:
        writer.writerow(
            (
                line.kind, line.reference, line.original_reference, line.channel_reference, line.money.amount_minor,
                line.money.currency, line.fee_minor, _text_of(line.time_ms),
            )
        )  # fmt: skip


def read_bill(file: TextIO, channel: str, day: date) -> Bill:
    """What `write_bill` wrote. Raises BillRefused, naming the line."""
    rows = csv.reader(file, strict=True)
    if tuple(next(rows, ())) != _COLUMNS:
        raise BillRefused("malformed", f"the first line is not {','.join(_COLUMNS)}")
    return Bill(channel, day, PackedLines(_lines(rows)))


def _lines(rows: Iterator[list[str]]) -> Iterator[BillLine]:
    number = 1
    try:
        for row in rows:
            number += 1
            yield _line_from(row)
    except (ValueError, csv.Error, OverflowError):
        raise BillRefused("malformed", f"line {number}") from None


def _line_from(row: list[str]) -> BillLine:
    kind, reference, original, channel_reference, amount, currency, fee, time = row
    money, moment = Money(int(amount), currency), datetime.fromisoformat(time)
    if not reference or currency not in CURRENCIES or not 0 < money.amount_minor <= LARGEST_AMOUNT_MINOR:
        raise ValueError
    if moment.tzinfo is None or abs(int(fee)) > LARGEST_AMOUNT_MINOR:
        raise ValueError
    if not all(_NAME.fullmatch(name) for name in (reference, original, channel_reference)):
        raise ValueError
    time_ms = round(moment.timestamp() * 1000)
    return BillLine(BillKind(kind), reference, money, time_ms, original, channel_reference, int(fee))


class FindingFile:
    """One finding a line, as they come."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)
        self._writer.writerow(_FINDING_COLUMNS)

    def write(self, finding: Finding) -> None:
        self._writer.writerow(
            (finding.verdict, finding.detail, *_ours(finding.ours), *_theirs(finding.line), *_both(finding))
        )


def _ours(ours: Movement | None) -> tuple[object, ...]:
    if ours is None:
        return ("",) * 6
    money = ours.money
    return ours.kind, ours.reference, money.amount_minor, money.currency, _text_of(ours.time_ms), ours.record


def _theirs(line: BillLine | None) -> tuple[object, ...]:
    if line is None:
        return ("",) * 6
    money = line.money
    return line.kind, line.reference, money.amount_minor, money.currency, line.fee_minor, _text_of(line.time_ms)


def _both(finding: Finding) -> tuple[str, str]:
    ours, line = finding.ours, finding.line
    original = ours.original_reference if ours is not None else ""
    return original or (line.original_reference if line else ""), line.channel_reference if line else ""


def _text_of(time_ms: int) -> str:
    """
    >>> _text_of(1767283200001)
    '2026-01-02T00:00:00.001+08:00'
    """
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).replace(microsecond=time_ms % 1000 * 1000)
    return moment.astimezone(SHANGHAI).isoformat(timespec="milliseconds")
