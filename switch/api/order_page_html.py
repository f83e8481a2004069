"""What a payer's phone shows of an order: Chinese and English, without scripts. Pure."""

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from typing import Final

from switch.domain.money import CURRENCIES, Money
from switch.domain.order import OrderState

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f4f4;color:#222}"
    "main{max-width:26rem;margin:2rem auto;padding:1.5rem;background:#fff;border-radius:.75rem;text-align:center}"
    "h1{font-size:1.1rem;margin:0}.amount{font-size:2.2rem;margin:.5rem 0}p{margin:.5rem 0}"
    "input,button{font:inherit;padding:.6rem;width:100%;box-sizing:border-box;margin:.25rem 0}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}

_STATES: Final = {
    OrderState.PAID: ("已支付", "Paid"),
    OrderState.EXPIRED: ("订单已过期", "The order has expired"),
    OrderState.CLOSED: ("订单已关闭", "The order was closed"),
    OrderState.PARTLY_REFUNDED: ("已部分退款", "Partly refunded"),
    OrderState.REFUNDED: ("已退款", "Refunded"),
}
# How each wallet may go on; for a browser that is none of them the last line.
_HOW: Final = {
    "alipay": ("支付宝暂时无法打开此订单，请让收银员出示支付宝收款码", "Ask the cashier for the Alipay code"),
    "wechat": (
        "微信内无法直接打开此订单，请让收银员出示微信收款码后扫一扫",
        "WeChat cannot open this order from a page: ask the cashier for the WeChat code and scan it",
    ),
    "unionpay": ("请返回云闪付扫描商户的银联二维码", "Scan the merchant's UnionPay code with the UnionPay app"),
    "": ("请用支付宝或本平台的应用扫描此码", "Scan this code with Alipay, or with the app of this platform"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page says of a payee. money: with an amount of 0 the payer enters it."""

    merchant_name: str
    subject: str
    money: Money


def order_page(shown: Shown, state: OrderState, wallet: str) -> str:
    """Comes again by itself while it can be paid."""
    lines = _STATES.get(state) or _HOW[wallet]
    refresh = "" if state in _STATES else '<meta http-equiv="refresh" content="5">'
    return _page(shown, f'<p class="amount">{_amount(shown.money)}</p>{_both(*lines)}', refresh)


def shop_page(shown: Shown) -> str:
    """The form is sent to where it came from."""
    exponent = CURRENCIES[shown.money.currency][1]
    form = (
        f'<form method="post"><label>{escape(shown.money.currency)} 金额 Amount'
        f'<input name="amount" inputmode="decimal" required maxlength="13" autocomplete="off" '
        f'pattern="[0-9]{{1,9}}{f"([.][0-9]{{1,{exponent}}})?" if exponent else ""}"></label>'
        "<button>下一步 Next</button></form>"
    )
    return _page(shown, form, "")


def message_page(chinese: str, english: str) -> str:
    return _document(_both(chinese, english), "")


def _page(shown: Shown, inside: str, head: str) -> str:
    return _document(f"<h1>{escape(shown.merchant_name)}</h1><p>{escape(shown.subject)}</p>{inside}", head)


def _document(inside: str, head: str) -> str:
    return (
        '<!doctype html><html lang="zh"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>付款 Pay</title>{head}<style>{_STYLE}</style></head><body><main>{inside}</main></body></html>"
    )


def _both(chinese: str, english: str) -> str:
    return f'<p>{escape(chinese)}</p><p lang="en">{escape(english)}</p>'


def _amount(money: Money) -> str:
    return f"{escape(money.currency)} {money.decimal_text()}"
