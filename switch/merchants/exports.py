"""A merchant's payments as a file: CSV as it is read, a workbook by way of a temporary file. Bounded, in chunks."""

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import xlsxwriter  # type: ignore[import-untyped]

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.identity import transmission_time_ms_of
from switch.domain.money import CURRENCIES, Money
from switch.domain.refusals import TooMany
from switch.domain.transaction import Transaction
from switch.merchants.transactions import Listed, Selection, Transactions, TransactionStore

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
CHUNK_BYTES: Final = 64 * 1024
_ROWS_AT_ONCE: Final = 1_000
_BOM: Final = b"\xef\xbb\xbf"
# What Excel, LibreOffice and Google Sheets take for the beginning of a formula (OWASP: CSV Injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

HEADINGS: Final = (
    *("time (Asia/Shanghai)", "authorization", "operation", "state", "currency", "amount", "approved", "captured"),
    *("refunded", "entry", "store", "terminal", "channel", "response code", "reason", "approval code"),
    *("retrieval reference", "channel reference", "reference", "card or code"),
)
_AMOUNTS: Final = frozenset({5, 6, 7, 8})  # columns


class Format(Enum):
    CSV = "csv"
    CSV_WITH_BOM = "csv with a byte order mark"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True)
class End:
    """truncated: there was more than an export may have."""

    rows: int
    truncated: bool


class Exports:
    """store: one whose searches may take longer. audit: writes an entry. at_once: in this process."""

    def __init__(
        self,
        transactions: Transactions,
        store: TransactionStore,
        audit: Callable[[AuditEntry], Awaitable[None]],
        most_rows: int,
        at_once: int = 2,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._audit = audit
        self._most_rows = most_rows
        self._left = at_once

    async def export(
        self, caller: Caller, merchant_id: str, selection: Selection, form: Format
    ) -> AsyncIterator[bytes | End]:
        """Chunks of the file, then its End. In the audit trail before the first. Raises TooMany, Missing."""
        async with self._place():
            entry = AuditEntry(
                merchant_id, caller.name, "TransactionService.ExportTransactions", f"export/{form.name.lower()}",
                after=_told(selection),
            )  # fmt: skip
            await self._audit(entry)
            pages = self._transactions.pages(caller, merchant_id, selection, self._store, _ROWS_AT_ONCE)
            parts = self._workbook(pages) if form is Format.XLSX else self._csv(pages, form)
            async for part in parts:
                yield part

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if not self._left:
            raise TooMany("too many exports at once; try again")
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1

    async def _bounded(self, pages: AsyncIterator[Listed]) -> AsyncIterator[tuple[Listed, End]]:
        """Pages until there are as many rows as may be, each with how it stands by then."""
        rows = 0
        async for page in pages:
            fitting = page.rows[: self._most_rows - rows]
            rows += len(fitting)
            yield Listed(fitting, "", page.stores), End(rows, len(fitting) < len(page.rows))
            if len(fitting) < len(page.rows):
                return

    async def _csv(self, pages: AsyncIterator[Listed], form: Format) -> AsyncIterator[bytes | End]:
        buffer = bytearray(_BOM if form is Format.CSV_WITH_BOM else b"")
        buffer += _lines([HEADINGS])
        end = End(0, False)
        async for page, sofar in self._bounded(pages):
            end = sofar
            buffer += _lines([_safe(cells(row, page.stores)) for row in page.rows])
            while len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer[:CHUNK_BYTES])
                del buffer[:CHUNK_BYTES]
        if buffer:
            yield bytes(buffer)
        yield end

    async def _workbook(self, pages: AsyncIterator[Listed]) -> AsyncIterator[bytes | End]:
        with tempfile.TemporaryDirectory(prefix="payswitch-export-") as directory:
            path = Path(directory) / "export.xlsx"
            writing = await asyncio.to_thread(_Workbook, path)
            end = End(0, False)
            try:
                async for page, sofar in self._bounded(pages):
                    end = sofar
                    await asyncio.to_thread(writing.add, page)
            finally:
                await asyncio.to_thread(writing.close)
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    yield data
        yield end


class _Workbook:
    """Row by row on the disk: XlsxWriter keeps one row in memory (constant_memory)."""

    def __init__(self, path: Path) -> None:
        options = {
            "constant_memory": True,
            "tmpdir": str(path.parent),
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self._book = xlsxwriter.Workbook(str(path), options)
        self._sheet = self._book.add_worksheet("payments")
        self._formats = {
            exponent: self._book.add_format({"num_format": "0" + ("." + "0" * exponent if exponent else "")})
            for exponent in {exponent for _, exponent in CURRENCIES.values()}
        }
        for column, heading in enumerate(HEADINGS):
            self._sheet.write_string(0, column, heading)
        self._row = 1

    def add(self, page: Listed) -> None:
        for row in page.rows:
            exponent = CURRENCIES[row.money.currency][1]
            for column, cell in enumerate(cells(row, page.stores)):
                if column in _AMOUNTS:
                    # Below 10^12 minor units: a double has it exact to the minor unit.
                    self._sheet.write_number(self._row, column, float(cell), self._formats[exponent])
                else:
                    self._sheet.write_string(self._row, column, cell)
            self._row += 1

    def close(self) -> None:
        self._book.close()


def cells(row: Transaction, stores: dict[str, str]) -> list[str]:
    """In the order of HEADINGS. Amounts in major units."""
    moment = datetime.fromtimestamp(transmission_time_ms_of(row.id) / 1000, _SHANGHAI)
    amounts = (row.money.amount_minor, row.approved_minor, row.captured_minor, row.refunded_minor)
    return [
        f"{moment:%Y-%m-%d %H:%M:%S}",
        str(row.id),
        row.operation.words,
        row.state.name.lower(),
        row.money.currency,
        *(Money(each, row.money.currency).decimal_text() for each in amounts),
        row.entry.name.lower(),
        stores.get(row.terminal_id, ""),
        row.terminal_id,
        row.channel,
        row.response_code,
        row.reason,
        row.approval_code,
        row.retrieval_reference,
        row.channel_reference,
        row.reference,
        row.masked_credential,
    ]


def _safe(row: Sequence[str]) -> list[str]:
    """
    >>> _safe(["=1+1", "+86", "plain", ""])
    ["'=1+1", "'+86", 'plain', '']
    """
    return [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row]


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _told(selection: Selection) -> dict[str, object]:
    """What was chosen, for the audit trail."""
    fields = {**asdict(selection.filter), "store_id": selection.store_id, "order_number": selection.order_number}
    if selection.same_payer_as is not None:
        fields["same_payer_as"] = str(selection.same_payer_as)
    return {name: value for name, value in fields.items() if value and name != "payer_key"}
