"""The daily and monthly bills: zipped CSV in GBK, a file of details and one of sums, made from the book.

The layout is that of Alipay's merchant bills as they are known in public; its columns are unverified.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from adapters.alipay.simulator.book import Movement
from adapters.alipay.simulator.trade import date_text, moment, yuan

_TRADE_COLUMNS: Final = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,"
    "商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_TRADE_SUM_COLUMNS: Final = (
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,"
    "卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）"
)
_ACCOUNT_COLUMNS: Final = (
    "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,"
    "业务类型,备注"
)
_ACCOUNT_SUM_COLUMNS: Final = "账务类型,收入笔数,收入金额（+元）,支出笔数,支出金额（-元）,总金额（元）"


@dataclass(frozen=True, slots=True)
class Period:
    """A day (yyyy-mm-dd) or a month (yyyy-mm)."""

    text: str

    @property
    def first(self) -> date:
        return date.fromisoformat(self.text if len(self.text) == 10 else f"{self.text}-01")

    @property
    def after(self) -> date:
        """The first day after it."""
        if len(self.text) == 10:
            return self.first + timedelta(days=1)
        return (self.first + timedelta(days=31)).replace(day=1)

    @property
    def compact(self) -> str:
        return self.text.replace("-", "")


def bill_file(bill_type: str, period: Period, account: str, movements: Sequence[Movement], made_s: float) -> bytes:
    """The ZIP of one period. account: the merchant's, 2088… . made_s: Unix seconds."""
    title, parts = {
        "trade": ("业务", _trade_parts(movements)),
        "signcustomer": ("账务", _account_parts(movements)),
    }[bill_type]
    details, sums = parts
    head = [
        f"#账号：[{account}]",
        f"#起始日期：[{period.first:%Y年%m月%d日} 00:00:00]   终止日期：[{period.after:%Y年%m月%d日} 00:00:00]",
    ]
    foot = f"#导出时间：[{moment(made_s):%Y年%m月%d日 %H:%M:%S}]"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for kind, name, (columns, rows, totals) in (
            ("明细", f"{title}明细", details),
            ("汇总", f"{title}明细(汇总)", sums),
        ):
            rule = f"{title}{kind}列表"
            lines = [f"#支付宝{title}{kind}查询", *head, f"#{'-' * 41}{rule}{'-' * 40}", columns, *rows]
            lines += [f"#{'-' * 41}{rule}结束{'-' * 36}", *totals, foot]
            content = "".join(f"{line}\r\n" for line in lines).encode("gbk")
            archive.writestr(_gbk_entry(f"{account}_{period.compact}_{name}.csv"), content)
    return buffer.getvalue()


_Part = tuple[str, list[str], list[str]]


def _trade_parts(movements: Sequence[Movement]) -> tuple[_Part, _Part]:
    rows = [_trade_row(each) for each in movements]
    paid = [each for each in movements if not each.request_no]
    refunded = [each for each in movements if each.request_no]
    paid_minor, refunded_minor = _total(paid), _total(refunded)
    totals = [
        f"#交易合计：{len(paid)}笔，商家实收共{yuan(paid_minor)}元，商家优惠共0.00元",
        f"#退款合计：{len(refunded)}笔，商家实收退款共{yuan(-refunded_minor)}元，商家优惠退款共0.00元",
    ]
    net_minor = paid_minor - refunded_minor
    fee_minor = sum(each.fee_minor for each in refunded) - sum(each.fee_minor for each in paid)
    summed = ["合计", "", str(len(paid)), str(len(refunded)), yuan(net_minor), yuan(net_minor), "0.00", "0.00", "0.00"]
    summed += [yuan(fee_minor), "0.00", yuan(net_minor + fee_minor)]
    return (_TRADE_COLUMNS, rows, totals), (_TRADE_SUM_COLUMNS, [_cells(summed)], [])


def _trade_row(movement: Movement) -> str:
    trade = movement.trade
    sign = -1 if movement.request_no else 1
    amount = yuan(sign * movement.amount_minor)
    cells = [trade.trade_no, trade.out_trade_no, "退款" if movement.request_no else "交易", trade.subject]
    cells += [date_text(trade.created_s), date_text(movement.time_s), trade.store_id, "", trade.operator_id]
    cells += [trade.terminal_id, trade.payer.logon_id if trade.payer else "", amount, amount]
    cells += ["0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00", "0.00", movement.request_no]
    return _cells([*cells, yuan(-sign * movement.fee_minor), "0.00", ""])


def _account_parts(movements: Sequence[Movement]) -> tuple[_Part, _Part]:
    rows: list[str] = []
    balance_minor = 0
    for number, each in enumerate(movements, 1):
        came = not each.request_no
        balance_minor += each.amount_minor if came else -each.amount_minor
        cells = [f"{number:016d}", each.trade.trade_no, each.trade.out_trade_no, each.trade.subject]
        cells += [date_text(each.time_s), each.trade.payer.logon_id if each.trade.payer else ""]
        cells += [yuan(each.amount_minor) if came else "0.00", "0.00" if came else yuan(-each.amount_minor)]
        rows.append(_cells([*cells, yuan(balance_minor), "支付宝", "在线支付" if came else "交易退款", ""]))
    came_in = [each for each in movements if not each.request_no]
    went_out = [each for each in movements if each.request_no]
    totals = [
        f"#支出合计：{len(went_out)}笔，共{yuan(-_total(went_out))}元",
        f"#收入合计：{len(came_in)}笔，共{yuan(_total(came_in))}元",
    ]
    sums = ["合计", str(len(came_in)), yuan(_total(came_in)), str(len(went_out)), yuan(-_total(went_out))]
    return (_ACCOUNT_COLUMNS, rows, totals), (_ACCOUNT_SUM_COLUMNS, [_cells([*sums, yuan(balance_minor)])], [])


def _total(movements: Sequence[Movement]) -> int:
    return sum(each.amount_minor for each in movements)


def _cells(values: Sequence[str]) -> str:
    """A tab after each value keeps long numbers from being read as floats; what GBK cannot say is a question mark."""
    plain = (each.replace(",", " ").encode("gbk", "replace").decode("gbk") for each in values)
    return ",".join(f"{each}\t" for each in plain)


def _gbk_entry(name: str) -> zipfile.ZipInfo:
    """A name whose bytes are GBK, without the flag that says UTF-8: that is how the bills come.

    zipfile writes a name that is not ASCII as UTF-8 only; through code page 437, which any byte has a letter in, the
    bytes are what they should be.
    """
    entry = _RawName(name.encode("gbk").decode("cp437"))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


class _RawName(zipfile.ZipInfo):
    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("cp437"), self.flag_bits & ~0x800
