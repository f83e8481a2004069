"""An issuer's daily bill: parts in order become one bill that agrees with its own totals. No I/O."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from adapters.issuer.messages import BillChunk, IssuerBillLine, IssuerBillTotal
from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR
from switch.domain.packed_lines import PackedLines
from switch.ports import BillNotReady, BillRefused

CHUNK_LINES: Final = 1_000
MOST_LINES: Final = 1_000_000

# The business day's offset: China has had no summer time since 1991.
_SHANGHAI = timezone(timedelta(hours=8))
_NAME = re.compile(r"[!-~]{1,64}")
_Totals = dict[tuple[BillKind, str], tuple[int, int, int]]


class BillReader:
    """Takes the parts of the bill of `day` and says when it is whole."""

    def __init__(self, channel: str, day: date) -> None:
        self._channel = channel
        self._day = day
        self._lines = PackedLines()
        self._named: set[tuple[BillKind, str]] = set()
        self._sums: _Totals = {}
        self._expected = 0

    def take(self, chunk: BillChunk) -> Bill | None:
        """The bill, once its last part has come. Raises BillNotReady, BillRefused.

        Causes: malformed (a part out of order, a field that cannot be), foreign (a line of another day), totals (a
        line is missing, changed or too many).
        """
        if chunk.sequence != self._expected:
            raise BillRefused("malformed", f"part {chunk.sequence} in place of part {self._expected}")
        self._expected += 1
        if chunk.not_ready:
            raise BillNotReady(f"the bill of {self._day} is made later")
        if len(chunk.lines) > CHUNK_LINES or len(self._lines) + len(chunk.lines) > MOST_LINES:
            raise BillRefused("malformed", "too many lines")
        for line in chunk.lines:
            self._take_line(line)
        if not chunk.last:
            return None
        self._check(chunk.totals)
        return Bill(self._channel, self._day, self._lines)

    def _take_line(self, line: IssuerBillLine) -> None:
        where = f"line {len(self._lines) + 1}"
        fault = _fault(line)
        if fault or line.kind is None:
            raise BillRefused("malformed", f"{where}: {fault}")
        if _day_of(line.booked_time_ms) != self._day:
            raise BillRefused("foreign", f"{where}: of another day")
        if (line.kind, line.message_id) in self._named:
            raise BillRefused("malformed", f"{where}: a second line of the same message")
        self._named.add((line.kind, line.message_id))
        of = (line.kind, line.money.currency)
        lines, amount_minor, fee_minor = self._sums.get(of, (0, 0, 0))
        self._sums[of] = (lines + 1, amount_minor + line.money.amount_minor, fee_minor + line.fee_minor)
        self._lines.append(
            BillLine(
                line.kind, line.message_id, line.money, line.booked_time_ms, line.original_message_id,
                line.issuer_reference, line.fee_minor,
            )
        )  # fmt: skip

    def _check(self, totals: list[IssuerBillTotal]) -> None:
        said: _Totals = {}
        for total in totals:
            if total.kind is None or (total.kind, total.currency) in said:
                raise BillRefused("malformed", "totals")
            said[total.kind, total.currency] = (total.lines, total.amount_minor, total.fee_minor)
        if said != self._sums:
            raise BillRefused("totals", f"{len(self._lines)} lines do not add up to them")


def _fault(line: IssuerBillLine) -> str:
    """The name of the first field that cannot be, or ""."""
    if line.kind is None:
        return "kind"
    if not _NAME.fullmatch(line.message_id):
        return "message_id"
    if line.money.currency not in CURRENCIES or not 0 < line.money.amount_minor <= LARGEST_AMOUNT_MINOR:
        return "amount"
    if line.original_message_id and not _NAME.fullmatch(line.original_message_id):
        return "original_message_id"
    if line.issuer_reference and not _NAME.fullmatch(line.issuer_reference):
        return "issuer_reference"
    if abs(line.fee_minor) > line.money.amount_minor:
        return "fee_minor"
    return ""


def _day_of(time_ms: int) -> date | None:
    """The business day of a Unix time; None of a number that is none."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(_SHANGHAI).date()
    except (ValueError, OverflowError, OSError):
        return None
