"""Alipay's daily bill of transactions as the house's own: a ZIP of CSV files in GBK. Pure.

The layout is the one that is known in public; its columns are unverified and stand in one table, `COLUMNS`.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.line_index import LineIndex
from switch.domain.money import Money
from switch.domain.packed_lines import PackedLines
from switch.domain.text_lines import lines_of
from switch.ports import BillRefused

LARGEST_ZIP_BYTES: Final = 64 * 1024 * 1024
_LARGEST_FILE_BYTES: Final = 512 * 1024 * 1024
_MOST_FILES: Final = 8
_CHUNK_BYTES: Final = 64 * 1024
_LONGEST_LINE_BYTES: Final = 16 * 1024
_MOST_COMMENTS: Final = 1_000

# What we read -> the column's heading in the file. [U]
COLUMNS: Final[dict[str, str]] = {
    "trade_no": "支付宝交易号",
    "out_trade_no": "商户订单号",
    "kind": "业务类型",
    "time": "完成时间",
    "amount": "订单金额（元）",
    "received": "商家实收（元）",
    "request_no": "退款批次号/请求号",
    "fee": "服务费（元）",
}
# Of the file of sums: its last row, whose first cell is 合计. [U]
SUM_COLUMNS: Final[dict[str, str]] = {
    "payments": "交易订单总笔数",
    "refunds": "退款订单总笔数",
    "amount": "订单金额（元）",
    "received": "商家实收（元）",
    "fee": "服务费（元）",
}
_KINDS: Final = {"交易": BillKind.PAYMENT, "退款": BillKind.REFUND}
_SUM_ROW: Final = "合计"
_SUM_FILE: Final = "汇总"

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
# Cells end in tabs, so that spreadsheets do not make numbers of them.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_AMOUNT = re.compile(r"(-?)([0-9]{1,12})\.([0-9]{2})", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_ACCOUNT = re.compile(r"#账号：\[([0-9]{16})[0-9]*\]")
_PERIOD = re.compile(r"#起始日期：\[([0-9]{4})年([0-9]{2})月([0-9]{2})日 ")
_DETAIL_TOTALS = re.compile(r"#(交易|退款)合计：([0-9]{1,9})笔，商家实收(?:退款)?共(-?[0-9.]{1,16})元")


_Row = dict[str, str]


@dataclass(slots=True)
class _Sums:
    payments: int = 0
    refunds: int = 0
    amount: int = 0
    received: int = 0
    fee: int = 0


def read_bill(content: bytes, day: date, seller_id: str = "") -> Bill:
    """The bill in a ZIP, unpacked and read line by line. seller_id: whose it must be, "" for anybody's.

    Raises BillRefused: malformed; foreign (of another day or account); totals (a line is missing, changed or too many).
    """
    if len(content) > LARGEST_ZIP_BYTES:
        raise BillRefused("malformed", "the ZIP is too large")
    try:
        with zipfile.ZipFile(io.BytesIO(content), metadata_encoding="gbk") as archive:
            return _read(archive, day, seller_id)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, EOFError, OSError, ValueError) as error:
        raise BillRefused("malformed", type(error).__name__) from None


def _read(archive: zipfile.ZipFile, day: date, seller_id: str) -> Bill:
    entries = archive.infolist()
    if len(entries) > _MOST_FILES or sum(each.file_size for each in entries) > _LARGEST_FILE_BYTES:
        raise BillRefused("malformed", "too much in the ZIP")
    details = [each for each in entries if _SUM_FILE not in each.filename]
    sums = [each for each in entries if _SUM_FILE in each.filename]
    if len(details) != 1 or len(sums) != 1:
        raise BillRefused("malformed", "not one file of details and one of sums")
    found, lines, said, comments = _Sums(), PackedLines(), list[_Row](), list[str]()
    for row in _rows(archive, sums[0], SUM_COLUMNS, comments):
        if next(iter(row.values())) == _SUM_ROW:
            said.append(row)
            if len(said) > 1:
                break
    _check_head(comments, day, seller_id)
    comments.clear()
    for row in _rows(archive, details[0], COLUMNS, comments):
        lines.append(_line(row, found))
    _check_head(comments, day, seller_id)
    if LineIndex(lines).repeated:
        raise BillRefused("totals", "a line comes twice")
    _check_totals(found, len(lines), comments, said)
    return Bill("alipay", day, lines)


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """No more than the directory promises: what unpacks to more is a bomb, and its checksum is another one."""
    try:
        with archive.open(entry) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except Exception as error:
        # zlib, bz2 and lzma each have an error of their own.
        raise BillRefused("malformed", type(error).__name__) from None


def _rows(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, columns: dict[str, str], comments: list[str]
) -> Iterator[_Row]:
    """One CSV's rows by heading; its comments are added to `comments`."""
    heading: list[str] | None = None
    # No byte of a GBK character is a line feed.
    for line in lines_of(_chunks(archive, entry), _LONGEST_LINE_BYTES):
        text = line.decode("gbk")
        if _CONTROL.search(text):
            raise BillRefused("malformed", "a control character")
        if text.startswith("#"):
            comments.append(text)
            if len(comments) > _MOST_COMMENTS:
                raise BillRefused("malformed", "too many comments")
        elif text.strip():
            cells = [cell.strip() for cell in text.split(",")]
            if heading is None:
                heading = cells
                if any(heading.count(each) != 1 for each in columns.values()):
                    raise BillRefused("malformed", "a column is missing")
            elif len(cells) != len(heading):
                raise BillRefused("malformed", "a line has another number of cells")
            else:
                yield dict(zip(heading, cells, strict=True))
    if heading is None:
        raise BillRefused("malformed", "no heading")


def _check_head(comments: Iterable[str], day: date, seller_id: str) -> None:
    accounts = [match[1] for each in comments if (match := _ACCOUNT.match(each))]
    days = [match.groups() for each in comments if (match := _PERIOD.match(each))]
    if len(accounts) != 1 or len(days) != 1:
        raise BillRefused("malformed", "account or period is missing")
    if tuple(map(int, days[0])) != (day.year, day.month, day.day):
        raise BillRefused("foreign", "another day")
    if seller_id and accounts[0] != seller_id:
        raise BillRefused("foreign", "another account")


def _line(row: dict[str, str], sums: _Sums) -> BillLine:
    """One line; what it adds is added to `sums`."""
    cell = {name: row[heading] for name, heading in COLUMNS.items()}
    kind = _KINDS.get(cell["kind"])
    amount, received, fee = (_fen(cell[name]) for name in ("amount", "received", "fee"))
    if kind is None or not cell["out_trade_no"] or (amount > 0) != (kind is BillKind.PAYMENT) or amount == 0:
        raise BillRefused("malformed", "a line is neither a payment nor a refund")
    sums.payments += kind is BillKind.PAYMENT
    sums.refunds += kind is BillKind.REFUND
    sums.amount, sums.received, sums.fee = sums.amount + amount, sums.received + received, sums.fee + fee
    reference = cell["out_trade_no"]
    if kind is BillKind.REFUND and cell["request_no"] in ("", reference):
        # What a cancel gives back has no request of its own.
        kind = BillKind.REVERSAL
    elif kind is BillKind.REFUND:
        reference = cell["request_no"]
    return BillLine(
        kind,
        reference,
        Money(abs(amount), "CNY"),
        _time_ms(cell["time"]),
        original_reference="" if kind is BillKind.PAYMENT else cell["out_trade_no"],
        channel_reference=cell["trade_no"],
        fee_minor=-fee,
    )


def _check_totals(found: _Sums, lines: int, comments: Iterable[str], rows: Sequence[_Row]) -> None:
    said = [match.groups() for each in comments if (match := _DETAIL_TOTALS.match(each))]
    if sorted(each[0] for each in said) != ["交易", "退款"]:
        raise BillRefused("malformed", "the details have no totals")
    counts = {name: int(count) for name, count, _ in said}
    if (
        counts != {"交易": found.payments, "退款": found.refunds}
        or sum(_fen(each[2]) for each in said) != found.received
    ):
        raise BillRefused("totals", "the details do not add up to their own totals")
    if len(rows) != 1:
        raise BillRefused("malformed", "not one row of sums")
    cell = {name: rows[0][heading] for name, heading in SUM_COLUMNS.items()}
    sums = _Sums(
        _count(cell["payments"]), _count(cell["refunds"]), *(_fen(cell[n]) for n in ("amount", "received", "fee"))
    )
    if sums != found:
        raise BillRefused("totals", f"{lines} lines do not add up to the sums")


def _fen(text: str) -> int:
    """
    >>> _fen("12.05"), _fen("-0.07")
    (1205, -7)
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise BillRefused("malformed", "an amount is missing or malformed")
    return (-1 if match[1] else 1) * (int(match[2]) * 100 + int(match[3]))


def _count(text: str) -> int:
    if _COUNT.fullmatch(text) is None:
        raise BillRefused("malformed", "a count is missing or malformed")
    return int(text)


def _time_ms(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=_SHANGHAI).timestamp()) * 1_000
    except ValueError:
        raise BillRefused("malformed", "a time is missing or malformed") from None
