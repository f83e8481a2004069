"""The daily bills: hash, unpacking, lines and the platform's own totals. Pure; nothing of a bill is believed in part.

CSV in UTF-8: a header, rows whose cells begin with a backtick, the summary's header, one summary row. Amounts are in
yuan. Columns are found by their names, so that new ones do no harm.
Source: PROTOCOLS; https://pay.weixin.qq.com/doc/v3/merchant/4012791863.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from switch.domain.bill import BillKind, BillLine
from switch.domain.money import Money
from switch.ports import BillRefused

LARGEST_PACKED_BYTES = 64 * 1024 * 1024
_LARGEST_BYTES = 512 * 1024 * 1024
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


def unpacked(packed: bytes, sha1: str) -> bytes:
    """gunzip, bounded, and the SHA-1 of what comes out. Raises BillRefused: malformed, hash.

    >>> import gzip
    >>> unpacked(gzip.compress(b"bill"), hashlib.sha1(b"bill").hexdigest())
    b'bill'
    """
    opener = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = opener.decompress(packed, _LARGEST_BYTES)
    except zlib.error:
        raise BillRefused("malformed", "it is not gzip") from None
    if not opener.eof or opener.unused_data:
        raise BillRefused("malformed", "it is cut off, too large, or followed by something")
    if hashlib.sha1(plain, usedforsecurity=False).hexdigest() != sha1:
        raise BillRefused("hash", "the data is not what the platform offered")
    return plain


def trade_lines(plain: bytes, mchid: str, day: date) -> tuple[BillLine, ...]:
    """Raises BillRefused: malformed, foreign (another merchant or day), totals."""
    rows, summary = _read(plain)
    lines = tuple(_line(row, mchid, day) for row in rows)
    if len({(line.kind, line.reference) for line in lines}) != len(lines):
        raise BillRefused("malformed", "a line is there twice")
    if _cell(summary, "总交易单数") != str(len(rows)):
        raise BillRefused("totals", "总交易单数")
    for total, column in _TRADE_TOTALS.items():
        if _fen(summary, total) != sum(_fen(row, column) for row in rows):
            raise BillRefused("totals", total)
    return lines


def flows(plain: bytes, day: date) -> tuple[Flow, ...]:
    """Of a fund-flow bill. Raises BillRefused: malformed, foreign, totals (the running balance is one of them)."""
    rows, summary = _read(plain)
    found = tuple(_flow(row, day) for row in rows)
    for before, after in pairwise(found):
        if before.balance_fen + after.amount_fen != after.balance_fen:
            raise BillRefused("totals", "the running balance")
    came = [each.amount_fen for each in found if each.amount_fen > 0]
    left = [-each.amount_fen for each in found if each.amount_fen <= 0]
    counts = {"资金流水总笔数": len(found), "收入笔数": len(came), "支出笔数": len(left)}
    for name, count in counts.items():
        if _cell(summary, name) != str(count):
            raise BillRefused("totals", name)
    for name, amounts in (("收入金额", came), ("支出金额", left)):
        if _fen(summary, name) != sum(amounts):
            raise BillRefused("totals", name)
    return found


def check_against_flows(lines: Sequence[BillLine], found: Sequence[Flow]) -> None:
    """What the trade bill says came in and went out is what the account saw. Raises BillRefused (totals)."""
    traded = sum(
        (line.money.amount_minor if line.kind is BillKind.PAYMENT else -line.money.amount_minor) - line.fee_minor
        for line in lines
    )
    if traded != sum(each.amount_fen for each in found if each.kind not in _NOT_TRADE):
        raise BillRefused("totals", "trade and fund-flow bill differ")


# Movements of the account that are no trade: withdrawals, top-ups.
_NOT_TRADE = frozenset({"提现", "充值", "充值退款", "提现退票"})


def _read(plain: bytes) -> tuple[list[_Row], _Row]:
    """The rows, and the summary, by the names of their columns."""
    try:
        lines = [line for line in plain.decode("utf-8-sig").replace("\r\n", "\n").split("\n") if line]
    except UnicodeDecodeError:
        raise BillRefused("malformed", "it is not UTF-8") from None
    if len(lines) < 3:
        raise BillRefused("malformed", "it has no summary")
    header, *rows, summary_header, summary = lines
    if header.startswith("`") or summary_header.startswith("`"):
        raise BillRefused("malformed", "it has no header")
    return [_named(header, row) for row in rows], _named(summary_header, summary)


def _named(header: str, row: str) -> _Row:
    names, cells = header.split(","), row.removeprefix("`").split(",`")
    if not row.startswith("`") or len(names) != len(cells) or len(set(names)) != len(names):
        raise BillRefused("malformed", "a row does not fit its header")
    return dict(zip(names, cells, strict=True))


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
