"""A merchant's statement: which may be asked for, and as CSV (RFC 4180, UTF-8, CRLF; docs/settlement.md)."""

import csv
from datetime import date
from io import StringIO
from typing import Final

from switch.domain.books import StatementFrame, StatementLine
from switch.domain.business_day import time_text
from switch.domain.money import Money
from switch.domain.refusals import Invalid
from switch.settlement.close import checked_day

LONGEST_DAYS: Final = 92
_COLUMNS: Final = ("day", "time", "kind", "source", "gross", "fee", "amount", "balance", "currency")


def check_period(from_day: str, until_day: str) -> None:
    """Raises Invalid."""
    first = date.fromisoformat(checked_day(from_day, "from_day"))
    last = date.fromisoformat(checked_day(until_day, "until_day"))
    if not 0 <= (last - first).days < LONGEST_DAYS:
        raise Invalid("until_day", f"must be from_day or later, and the period at most {LONGEST_DAYS} days")


class StatementCsv:
    """Each part as bytes, in the order in which the parts are given: the opening, the lines, the closing."""

    def __init__(self) -> None:
        self._currency = ""

    def part(self, part: StatementFrame | StatementLine) -> bytes:
        if isinstance(part, StatementLine):
            return self._line(part)
        opening, self._currency = not self._currency, part.currency
        day, kind = (part.from_day, "OPENING_BALANCE") if opening else (part.until_day, "CLOSING_BALANCE")
        row = (day, "", kind, "", "", "", "", self._amount(part.balance_minor), part.currency)
        return _rows(_COLUMNS, row) if opening else _rows(row)

    def _line(self, line: StatementLine) -> bytes:
        amounts = (line.gross_minor, line.fee_minor, line.amount_minor, line.balance_minor)
        texts = map(self._amount, amounts)
        return _rows((line.day, time_text(line.time_ms), line.kind.name, line.source, *texts, self._currency))

    def _amount(self, minor: int) -> str:
        return ("-" if minor < 0 else "") + Money(abs(minor), self._currency).decimal_text()


def _rows(*rows: tuple[str, ...]) -> bytes:
    file = StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()
