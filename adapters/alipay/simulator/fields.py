"""biz_content of every method, as data: which fields, which must be there, what they may hold."""

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from adapters.alipay.simulator.refusal import Refused, refused

Check = Callable[[Any], bool]


@dataclass(slots=True, frozen=True)
class Field:
    name: str
    check: Check
    required: bool = False


def _matching(pattern: str) -> Check:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


# Unicode's control characters and halves of a pair; spaces of any width and the joiners in a family of emoji are text.
_NO_TEXT: Final = frozenset({"Cc", "Cs"})


def _text(longest: int, forbidden: str = "") -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            return False
        return not any(unicodedata.category(each) in _NO_TEXT or each in forbidden for each in value)

    return check


def _list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def amount_fen(text: str) -> int:
    """Yuan with up to two decimals as fen.

    >>> amount_fen("12.34"), amount_fen("12.5"), amount_fen("88")
    (1234, 1250, 8800)
    """
    return int(Decimal(text) * 100)


_format_of_amount = _matching(r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,2})?")
_LARGEST_FEN: Final = 10_000_000_000


def _amount(value: Any) -> bool:
    """From 0.01 up, as text."""
    return _format_of_amount(value) and amount_fen(value) >= 1


def _is_period(value: Any) -> bool:
    """yyyy-MM-dd or yyyy-MM, of a day or month that exists."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?", value, re.ASCII):
        return False
    try:
        date.fromisoformat(value if len(value) == 10 else f"{value}-01")
    except ValueError:
        return False
    return True


_NUMBER: Final = _matching(r"[0-9A-Za-z_\-]{1,64}")
_OUT_TRADE_NO: Final = Field("out_trade_no", _NUMBER)
_TRADE_NO: Final = Field("trade_no", _text(64))
_TOTAL_AMOUNT: Final = Field("total_amount", _amount, required=True)
_SUBJECT: Final = Field("subject", _text(256, forbidden="/=&"), required=True)
_QUERY_OPTIONS: Final = Field("query_options", _list_of_texts)
_ORDER: Final = (
    Field("out_trade_no", _NUMBER, required=True),
    _TOTAL_AMOUNT,
    _SUBJECT,
    Field("body", _text(128)),
    Field("product_code", _text(64)),
    Field("seller_id", _text(28)),
    Field("store_id", _text(32)),
    Field("terminal_id", _text(32)),
    Field("operator_id", _text(28)),
    Field("timeout_express", _matching(r"[1-9][0-9]{0,4}[mhd]")),
    Field("discountable_amount", _format_of_amount),
    Field("undiscountable_amount", _format_of_amount),
    Field("goods_detail", _list_of_objects),
    Field("extend_params", _object),
)
_EITHER_NUMBER: Final = (_OUT_TRADE_NO, _TRADE_NO)

FIELDS: Final[dict[str, tuple[Field, ...]]] = {
    "alipay.trade.pay": (
        *_ORDER,
        Field("scene", lambda value: value == "bar_code", required=True),
        Field("auth_code", _matching(r"(?:2[5-9]|30)[0-9]{14,22}"), required=True),
    ),
    "alipay.trade.precreate": _ORDER,
    "alipay.trade.create": (
        *_ORDER,
        Field("buyer_id", _matching(r"2088[0-9]{12}")),
        Field("buyer_open_id", _text(128)),
        Field("buyer_logon_id", _text(100)),
    ),
    "alipay.trade.query": (*_EITHER_NUMBER, _QUERY_OPTIONS),
    "alipay.trade.cancel": _EITHER_NUMBER,
    "alipay.trade.close": (*_EITHER_NUMBER, Field("operator_id", _text(28))),
    "alipay.trade.refund": (
        *_EITHER_NUMBER,
        Field("refund_amount", _amount, required=True),
        Field("out_request_no", _NUMBER),
        Field("refund_reason", _text(256)),
        Field("store_id", _text(32)),
        Field("terminal_id", _text(32)),
        Field("operator_id", _text(30)),
    ),
    "alipay.trade.fastpay.refund.query": (
        *_EITHER_NUMBER,
        Field("out_request_no", _NUMBER, required=True),
        _QUERY_OPTIONS,
    ),
    "alipay.data.dataservice.bill.downloadurl.query": (
        Field("bill_type", lambda value: value in ("trade", "signcustomer"), required=True),
        Field("bill_date", _is_period, required=True),
        Field("smid", _text(20)),
    ),
    "alipay.open.app.alipaycert.download": (Field("alipay_cert_sn", _matching(r"[0-9a-fA-F]{1,128}"), required=True),),
}


def checked_biz_content(method: str, text: str) -> dict[str, Any]:
    """The fields of biz_content that the method knows. Raises Refused; fields it does not know are ignored.

    null and the empty text are as good as nothing: clients fill their models so. A number is read as its digits, never
    as a float: they write amounts and order numbers so, too.
    """
    if not text:
        raise Refused("40001", "isv.missing-parameter", "biz_content")
    try:
        content = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Refused("40002", "isv.invalid-parameter", "biz_content is not JSON") from None
    if not isinstance(content, dict):
        raise Refused("40002", "isv.invalid-parameter", "biz_content is no object")
    checked: dict[str, Any] = {}
    for field in FIELDS[method]:
        value = _as_text(content.get(field.name))
        if value is None or value == "":
            if field.required:
                raise refused("ACQ.INVALID_PARAMETER", f"{field.name} is missing")
            continue
        if not field.check(value):
            raise refused("ACQ.INVALID_PARAMETER", f"{field.name} is invalid")
        if field.name in _AMOUNTS and amount_fen(value) > _LARGEST_FEN:
            raise refused("ACQ.TOTAL_FEE_EXCEED", f"{field.name} is over 100,000,000.00")
        checked[field.name] = value
    if _OUT_TRADE_NO in FIELDS[method] and not checked.keys() & {"out_trade_no", "trade_no"}:
        raise refused("ACQ.INVALID_PARAMETER", "out_trade_no and trade_no are missing")
    return checked


_AMOUNTS: Final = frozenset({"total_amount", "refund_amount"})


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value
