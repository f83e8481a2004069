"""biz_content of every method, as data: which fields, which must be there, what they may hold."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
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


def _text(longest: int, forbidden: str = "") -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            return False
        return value.isprintable() and not any(character in value for character in forbidden)

    return check


def _list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def amount_fen(text: str) -> int:
    """Yuan with two decimals as fen.

    >>> amount_fen("12.34")
    1234
    """
    return int(text.replace(".", ""))


_format_of_amount = _matching(r"(?:0|[1-9][0-9]{0,8})\.[0-9]{2}")


def _amount(value: Any) -> bool:
    """0.01 to 100,000,000.00."""
    return _format_of_amount(value) and 1 <= amount_fen(value) <= 10_000_000_000


_NUMBER: Final = _matching(r"[0-9A-Za-z_\-]{1,64}")
_OUT_TRADE_NO: Final = Field("out_trade_no", _NUMBER)
_TRADE_NO: Final = Field("trade_no", _matching(r"[0-9]{16,64}"))
_TOTAL_AMOUNT: Final = Field("total_amount", _amount, required=True)
_SUBJECT: Final = Field("subject", _text(256, forbidden="/=&"), required=True)
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
    "alipay.trade.query": (*_EITHER_NUMBER, Field("query_options", lambda value: isinstance(value, list))),
    "alipay.trade.cancel": _EITHER_NUMBER,
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
        Field("query_options", lambda value: isinstance(value, list)),
    ),
}


def checked_biz_content(method: str, text: str) -> dict[str, Any]:
    """The fields of biz_content that the method knows. Raises Refused; fields it does not know are ignored."""
    if not text:
        raise Refused("40001", "isv.missing-parameter", "biz_content")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("40002", "isv.invalid-parameter", "biz_content is not JSON") from None
    if not isinstance(content, dict):
        raise Refused("40002", "isv.invalid-parameter", "biz_content is no object")
    checked: dict[str, Any] = {}
    for field in FIELDS[method]:
        if field.name not in content:
            if field.required:
                raise refused("ACQ.INVALID_PARAMETER", f"{field.name} is missing")
        elif not field.check(content[field.name]):
            raise refused("ACQ.INVALID_PARAMETER", f"{field.name} is invalid")
        else:
            checked[field.name] = content[field.name]
    if _OUT_TRADE_NO in FIELDS[method] and not checked.keys() & {"out_trade_no", "trade_no"}:
        raise refused("ACQ.INVALID_PARAMETER", "out_trade_no and trade_no are missing")
    return checked
