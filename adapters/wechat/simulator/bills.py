"""The daily trade bill and fund-flow bill of one merchant, made from the same book that answers queries.

CSV in UTF-8 with a byte-order mark and CRLF: a header, rows, the summary's header, the summary. Every cell of a row and
of the summary has a leading backtick, so that spreadsheets leave long numbers alone. Amounts are in yuan.
Source: PROTOCOLS; the columns are those of https://pay.weixin.qq.com/doc/v3/merchant/4012791863 as commonly published.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.errors import Refusal, bad_parameter
from adapters.wechat.simulator.orders import FEE_RATE, Movement, Order, RefundEntry

ZONE = ZoneInfo("Asia/Shanghai")
_READY_HOUR = 10
_KEPT = timedelta(days=92)
_LINK_LIVES_S = 300
_TRADE_HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,"
    "微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
_TRADE_SUMMARY = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
_FLOW_HEADER = (
    "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),"
    "资金变更提交申请人,备注,业务凭证号"
)
_FLOW_SUMMARY = "资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额"


def trade_bill(book: Book, day: date, bill_type: str, now_ms: int) -> bytes:
    """bill_type: ALL, SUCCESS (payments) or REFUND. Raises Refusal: NO_STATEMENT_EXIST for a day without any."""
    rows: list[tuple[int, list[str], int, int, int]] = []  # time, cells, payment, refund and fee in fen
    for order in book.orders(now_ms):
        if bill_type != "REFUND" and order.paid_ms and _day_of(order.paid_ms) == day:
            rows.append((order.paid_ms, _payment_row(book, order), order.total_fen, 0, order.fee_fen))
        if bill_type == "ALL" and order.revoked_ms and _day_of(order.revoked_ms) == day:
            rows.append((order.revoked_ms, _revocation_row(book, order), 0, order.total_fen, -order.fee_fen))
    for refund in book.refunds(now_ms):
        if bill_type != "SUCCESS" and refund.status != "CLOSED" and _day_of(refund.created_ms) == day:
            rows.append((refund.created_ms, _refund_row(book, refund), 0, refund.refund_fen, -refund.fee_fen))
    if not rows:
        raise Refusal(400, "NO_STATEMENT_EXIST", "there is no bill of that day")
    rows.sort(key=lambda row: row[0])
    paid, refunded, fees = sum(row[2] for row in rows), sum(row[3] for row in rows), sum(row[4] for row in rows)
    summary = [str(len(rows)), _yuan(paid), _yuan(refunded), "0.00", _fee(fees), _yuan(paid), _yuan(refunded)]
    return _csv(_TRADE_HEADER, (row[1] for row in rows), _TRADE_SUMMARY, summary)


def fund_flow_bill(book: Book, day: date) -> bytes:
    """Of the basic account. Raises Refusal: NO_STATEMENT_EXIST for a day without any movement."""
    movements = [each for each in book.movements if _day_of(each.time_ms) == day]
    if not movements:
        raise Refusal(400, "NO_STATEMENT_EXIST", "there is no bill of that day")
    income = [each.amount_fen for each in movements if each.amount_fen > 0]
    spent = [-each.amount_fen for each in movements if each.amount_fen < 0]
    summary = [str(len(movements)), str(len(income)), _yuan(sum(income)), str(len(spent)), _yuan(sum(spent))]
    return _csv(_FLOW_HEADER, (_flow_row(each) for each in movements), _FLOW_SUMMARY, summary)


def _payment_row(book: Book, order: Order) -> list[str]:
    none = ["0", "0", "0.00", "0.00", "", ""]
    return _row(book, order, order.paid_ms, "SUCCESS", order.total_fen, none, order.fee_fen, "0.00")


def _revocation_row(book: Book, order: Order) -> list[str]:
    back = ["0", "0", _yuan(order.total_fen), "0.00", "ORIGINAL", "SUCCESS"]
    return _row(book, order, order.revoked_ms, "REVOKED", 0, back, -order.fee_fen, _yuan(order.total_fen))


def _refund_row(book: Book, refund: RefundEntry) -> list[str]:
    amount = _yuan(refund.refund_fen)
    back = [refund.refund_id, refund.out_refund_no, amount, "0.00", "ORIGINAL", refund.status]
    return _row(book, refund.order, refund.created_ms, "REFUND", 0, back, -refund.fee_fen, amount)


def _row(
    book: Book, order: Order, time_ms: int, state: str, paid_fen: int, back: list[str], fee_fen: int, asked_back: str
) -> list[str]:
    merchant, payer = book.merchant, order.payer
    return [
        *(_time(time_ms), merchant.appid, merchant.mchid, "0", order.device_id),
        *(order.transaction_id, order.out_trade_no, payer.openid if payer else "", order.trade_type, state),
        *("OTHERS", "CNY", _yuan(paid_fen), "0.00", *back, order.description, order.attach),
        *(_fee(fee_fen), f"{FEE_RATE / 100:.2f}%", _yuan(paid_fen), asked_back, ""),
    ]


def _flow_row(movement: Movement) -> list[str]:
    way = "收入" if movement.amount_fen > 0 else "支出"
    amounts = _yuan(abs(movement.amount_fen)), _yuan(movement.balance_fen)
    kind = movement.kind
    head = (_time(movement.time_ms), movement.business_id, movement.flow_id, kind, kind, way)
    return [*head, *amounts, "system", "", movement.reference]


def _csv(header: str, rows: Iterable[Sequence[str]], summary_header: str, summary: Sequence[str]) -> bytes:
    lines = [header, *(_cells(row) for row in rows), summary_header, _cells(summary), ""]
    return b"\xef\xbb\xbf" + "\r\n".join(lines).encode()


def _cells(values: Sequence[str]) -> str:
    """The file has no quotes: what a merchant wrote itself loses what would end a cell or a line."""
    return ",".join("`" + re.sub(r"[`,\r\n]", " ", each) for each in values)


def _yuan(amount_fen: int) -> str:
    return f"{'-' if amount_fen < 0 else ''}{abs(amount_fen) // 100}.{abs(amount_fen) % 100:02d}"


def _fee(amount_fen: int) -> str:
    """Fees have five decimals."""
    return _yuan(amount_fen) + "000"


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, ZONE).strftime("%Y-%m-%d %H:%M:%S")


def _day_of(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, ZONE).date()


@dataclass(slots=True, frozen=True)
class Download:
    mchid: str
    content: bytes
    gzipped: bool
    until_s: float


class BillCounter:
    """Which bill may be asked for, and the files that can be fetched for a while."""

    def __init__(self, time_s: Callable[[], float], at_once: bool) -> None:
        self.at_once = at_once
        self._time_s = time_s
        self._files: dict[str, Download] = {}

    def day(self, text: str) -> date:
        """Raises Refusal for a day that has no bill yet, or none any more."""
        try:
            day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=ZONE).date()
        except ValueError:
            raise bad_parameter("bill_date", "must be YYYY-MM-DD") from None
        now = datetime.fromtimestamp(self._time_s(), ZONE)
        if day > now.date() or day < now.date() - _KEPT:
            raise bad_parameter("bill_date", "must be a day of the last three months")
        if self.at_once:
            return day
        if day == now.date():
            raise bad_parameter("bill_date", "must be before today")
        if day == now.date() - timedelta(days=1) and now.hour < _READY_HOUR:
            raise Refusal(400, "STATEMENT_CREATING", "the bill is being made; it is ready after 10:00")
        return day

    def offer(self, mchid: str, content: bytes, gzipped: bool) -> str:
        """The token under which the file can be fetched."""
        now_s = self._time_s()
        self._files = {token: each for token, each in self._files.items() if each.until_s > now_s}
        token = secrets.token_urlsafe(48)
        self._files[token] = Download(mchid, content, gzipped, now_s + _LINK_LIVES_S)
        return token

    def fetch(self, mchid: str, token: str) -> Download:
        found = self._files.get(token)
        if found is None or found.mchid != mchid or found.until_s <= self._time_s():
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "no such file, or no longer")
        return found
