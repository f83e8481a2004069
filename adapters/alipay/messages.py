"""biz_content of each method: JSON texts. No I/O and no clock."""

import json
import re


def pay_content(
    out_trade_no: str,
    auth_code: str,
    total_amount: str,
    subject: str,
    store_id: str = "",
    terminal_id: str = "",
    timeout_express: str = "",
) -> str:
    """biz_content of alipay.trade.pay, scene bar_code. It carries the payment code: never log it.

    >>> print(pay_content("ab12", "285012345678901234", "0.01", "tea & cake").replace(',"total', ',\\n"total'))
    {"out_trade_no":"ab12","scene":"bar_code","auth_code":"285012345678901234",
    "total_amount":"0.01","subject":"tea cake"}
    """
    return _content(
        out_trade_no=out_trade_no,
        scene="bar_code",
        auth_code=auth_code,
        total_amount=total_amount,
        subject=_plain_subject(subject),
        store_id=_plain_id(store_id),
        terminal_id=_plain_id(terminal_id),
        timeout_express=timeout_express,
    )


def trade_content(out_trade_no: str) -> str:
    """biz_content of alipay.trade.query and alipay.trade.cancel.

    >>> trade_content("ab12")
    '{"out_trade_no":"ab12"}'
    """
    return _content(out_trade_no=out_trade_no)


def refund_content(out_trade_no: str, out_request_no: str, refund_amount: str) -> str:
    """biz_content of alipay.trade.refund; the pair of numbers names the refund, so a repeat has no second effect."""
    return _content(out_trade_no=out_trade_no, out_request_no=out_request_no, refund_amount=refund_amount)


def order_content(
    out_trade_no: str, total_amount: str, subject: str, store_id: str, terminal_id: str, timeout_express: str
) -> str:
    """biz_content of alipay.trade.precreate."""
    return _content(
        out_trade_no=out_trade_no,
        total_amount=total_amount,
        subject=_plain_subject(subject),
        store_id=_plain_id(store_id),
        terminal_id=_plain_id(terminal_id),
        timeout_express=timeout_express,
    )


def bill_content(bill_type: str, bill_date: str) -> str:
    """biz_content of alipay.data.dataservice.bill.downloadurl.query; bill_date: yyyy-MM-dd."""
    return _content(bill_type=bill_type, bill_date=bill_date)


def certificate_content(alipay_cert_sn: str) -> str:
    """biz_content of alipay.open.app.alipaycert.download."""
    return _content(alipay_cert_sn=alipay_cert_sn)


def refund_query_content(out_trade_no: str, out_request_no: str) -> str:
    """biz_content of alipay.trade.fastpay.refund.query."""
    return _content(out_trade_no=out_trade_no, out_request_no=out_request_no)


def _content(**fields: str) -> str:
    present = {name: value for name, value in fields.items() if value}
    return _ENCODER.encode(present)


def _plain_subject(subject: str) -> str:
    """Alipay refuses `/`, `=` and `&` in a subject and anything over 256 characters."""
    return " ".join(re.sub(r"[/=&\x00-\x1f\x7f\ud800-\udfff]", " ", subject).split())[:256]


def _plain_id(text: str) -> str:
    """Left out rather than cut: half an identifier names another shop."""
    return text if len(text) <= 32 and text.isascii() and text.isprintable() else ""


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
