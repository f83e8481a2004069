"""The daily bills: hash, unpacking, lines and the platform's own totals. Pure; nothing of a bill is believed in part.

CSV in UTF-8: a header, rows whose cells begin with a backtick, the summary's header, one summary row. Amounts are in
yuan. Columns are found by their names, so that new ones do no harm.
Source: PROTOCOLS; https://pay.weixin.qq.com/doc/v3/merchant/4012791863.
"""

import hashlib
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from switch.domain.bill import BillKind, BillLine
from switch.domain.line_index import LineIndex
from switch.domain.money import Money
from switch.domain.packed_lines import PackedLines
from switch.domain.text_lines import LineTooLong, lines_of
from switch.ports import BillRefused

LARGEST_PACKED_BYTES = 64 * 1024 * 1024
_LARGEST_BYTES = 512 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_LONGEST_LINE_BYTES = 16 * 1024
_ZONE = ZoneInfo("Asia/Shanghai")
_YUAN = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,8}))?")
_KINDS = {"SUCCESS": BillKind.PAYMENT, "REFUND": BillKind.REFUND, "REVOKED": BillKind.REVERSAL}
# The summary's name of a total -> the column that it adds up.
_TRADE_TOTALS = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
_Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Flow:
    """One movement of the merchant's account. amount_fen: negative for money that left; balance_fen: after it."""

    kind: str
    amount_fen: int
    balance_fen: int
    reference: str
    time_ms: int


def unpacked(packed: bytes, sha1: str) -> Iterator[bytes]:
    """gunzip in pieces, bounded, and at the end the SHA-1 of what came out: whoever has not come to the end believes
    nothing. Raises BillRefused: malformed, hash.

    >>> import gzip
    >>> b"".join(unpacked(gzip.compress(b"bill"), hashlib.sha1(b"bill").hexdigest()))
    b'bill'
    """
    opener, hashed, size = zlib.decompressobj(16 + zlib.MAX_WBITS), hashlib.sha1(usedforsecurity=False), 0
    for piece in _pieces(opener, packed):
        size += len(piece)
        if size > _LARGEST_BYTES:
            raise BillRefused("malformed", "it is too large")
        hashed.update(piece)
        yield piece
    if not opener.eof or opener.unused_data:
        raise BillRefused("malformed", "it is cut off, or followed by something")
    if hashed.hexdigest() != sha1:
        raise BillRefused("hash", "the data is not what the platform offered")


def _pieces(opener: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    whole = memoryview(packed)
    try:
        for at in range(0, len(packed), _PIECE_BYTES):
            waiting: bytes | memoryview = whole[at : at + _PIECE_BYTES]
            while waiting and not opener.eof:
                yield opener.decompress(waiting, _PIECE_BYTES)
                waiting = opener.unconsumed_tail
            if opener.eof:
                if at + _PIECE_BYTES < len(packed):
                    raise BillRefused("malformed", "it is followed by something")
                return
    except zlib.error:
        raise BillRefused("malformed", "it is not gzip") from None


class _Table:
    """A bill's rows, one by one; after the last of them its summary. Both by the names of their columns."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.summary: _Row = {}

    def __iter__(self) -> Iterator[_Row]:
        lines = map(_text, self._lines())
        header = next(lines, "").removeprefix("\ufeff")
        names = header.split(",")
        last: deque[str] = deque(maxlen=2)
        for line in lines:
            if len(last) == 2:
                yield _named(names, last[0])
            last.append(line)
        if len(last) < 2:
            raise BillRefused("malformed", "it has no summary")
        if header.startswith("`") or last[0].startswith("`"):
            raise BillRefused("malformed", "it has no header")
        self.summary = _named(last[0].split(","), last[1])

    def _lines(self) -> Iterator[bytes]:
        try:
            yield from lines_of(self._chunks, _LONGEST_LINE_BYTES)
        except LineTooLong:
            raise BillRefused("malformed", "a line is too long") from None


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise BillRefused("malformed", "it is not UTF-8") from None


def _named(names: Sequence[str], row: str) -> _Row:
    cells = row.removeprefix("`").split(",`")
    if not row.startswith("`") or len(names) != len(cells):
        raise BillRefused("malformed", "a row does not fit its header")
    named = dict(zip(names, cells, strict=True))
    if len(named) != len(names):
        raise BillRefused("malformed", "a column is named twice")
    return named


def trade_lines(chunks: Iterable[bytes], mchid: str, day: date) -> PackedLines:
    """Of a trade bill, which is read line by line. Raises BillRefused: malformed, foreign (another merchant or day),
    totals."""
    table, lines = _Table(chunks), PackedLines()
    sums = dict.fromkeys(_TRADE_TOTALS, 0)
    for row in table:
        try:
            lines.append(_line(row, mchid, day))
        except ValueError:
            raise BillRefused("malformed", "a NUL in a line") from None
        for total, column in _TRADE_TOTALS.items():
            sums[total] += _fen(row, column)
    if LineIndex(lines).repeated:
        raise BillRefused("malformed", "a line is there twice")
    if _cell(table.summary, "总交易单数") != str(len(lines)):
        raise BillRefused("totals", "总交易单数")
    for total, sum_fen in sums.items():
        if _fen(table.summary, total) != sum_fen:
            raise BillRefused("totals", total)
    return lines


def flows(chunks: Iterable[bytes], day: date) -> Iterator[Flow]:
    """Of a fund-flow bill, line by line: believed once the last has come. Raises BillRefused: malformed, foreign,
    totals (the running balance is one of them)."""
    table, before_fen = _Table(chunks), None
    came, left = [0, 0], [0, 0]  # how many, how much
    for row in table:
        flow = _flow(row, day)
        if before_fen is not None and before_fen + flow.amount_fen != flow.balance_fen:
            raise BillRefused("totals", "the running balance")
        before_fen = flow.balance_fen
        way = came if flow.amount_fen > 0 else left
        way[0] += 1
        way[1] += abs(flow.amount_fen)
        yield flow
    counts = {"资金流水总笔数": came[0] + left[0], "收入笔数": came[0], "支出笔数": left[0]}
    for name, count in counts.items():
        if _cell(table.summary, name) != str(count):
            raise BillRefused("totals", name)
    for name, (_, sum_fen) in (("收入金额", came), ("支出金额", left)):
        if _fen(table.summary, name) != sum_fen:
            raise BillRefused("totals", name)


def check_against_flows(lines: PackedLines, found: Iterable[Flow]) -> None:
    """What the trade bill says came in and went out is what the account saw. Raises BillRefused (totals)."""
    traded = sum(
        (amount_minor if kind is BillKind.PAYMENT else -amount_minor) - fee_minor
        for kind, amount_minor, _, fee_minor in lines.money()
    )
    if traded != sum(each.amount_fen for each in found if each.kind not in _NOT_TRADE):
        raise BillRefused("totals", "trade and fund-flow bill differ")


# Movements of the account that are no trade: withdrawals, top-ups.
_NOT_TRADE = frozenset({"提现", "充值", "充值退款", "提现退票"})


def _line(row: _Row, mchid: str, day: date) -> BillLine:
    kind = _KINDS.get(_cell(row, "交易状态"))
    if kind is None:
        raise BillRefused("malformed", "交易状态")
    if _cell(row, "商户号") != mchid:
        raise BillRefused("foreign", "it is another merchant's")
    if _cell(row, "货币种类") != "CNY":
        raise BillRefused("malformed", "货币种类")
    order, paid = _cell(row, "商户订单号"), kind is BillKind.PAYMENT
    amount_fen = _fen(row, "订单金额" if paid else "申请退款金额")
    if amount_fen < 1 or not order:
        raise BillRefused("malformed", "a line without an amount or a number")
    refund = kind is BillKind.REFUND
    return BillLine(
        kind=kind,
        reference=_cell(row, "商户退款单号") if refund else order,
        money=Money(amount_fen, "CNY"),
        time_ms=_time_ms(row, "交易时间", day),
        original_reference="" if paid else order,
        channel_reference=_cell(row, "微信退款单号" if refund else "微信订单号"),
        fee_minor=_fen(row, "手续费"),
    )


def _flow(row: _Row, day: date) -> Flow:
    way, amount_fen = _cell(row, "收支类型"), _fen(row, "收支金额(元)")
    if way not in ("收入", "支出") or amount_fen < 0:
        raise BillRefused("malformed", "收支类型")
    signed_fen = amount_fen if way == "收入" else -amount_fen
    balance_fen, time_ms = _fen(row, "账户结余(元)"), _time_ms(row, "记账时间", day)
    return Flow(_cell(row, "业务类型"), signed_fen, balance_fen, _cell(row, "业务凭证号"), time_ms)


def _cell(row: _Row, name: str) -> str:
    if name not in row:
        raise BillRefused("malformed", f"there is no {name}")
    return row[name].strip()


def _fen(row: _Row, name: str) -> int:
    """Yuan to fen, exactly: what is not a whole number of fen is no amount."""
    match = _YUAN.fullmatch(_cell(row, name))
    if match is None:
        raise BillRefused("malformed", name)
    sign, yuan, decimals = match[1], match[2], (match[3] or "").ljust(2, "0")
    if decimals[2:].strip("0"):
        raise BillRefused("malformed", f"{name} has parts of a fen")
    amount_fen = int(yuan) * 100 + int(decimals[:2])
    return -amount_fen if sign else amount_fen


def _time_ms(row: _Row, name: str, day: date) -> int:
    try:
        time = datetime.strptime(_cell(row, name), "%Y-%m-%d %H:%M:%S").replace(tzinfo=_ZONE)
    except ValueError:
        raise BillRefused("malformed", name) from None
    if time.date() != day:
        raise BillRefused("foreign", "it is another day's")
    return int(time.timestamp() * 1000)
