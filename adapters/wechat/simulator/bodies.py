"""What each request body must hold: rules as data, one walker."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.wechat.simulator.errors import Refusal, bad_parameter


@dataclass(slots=True, frozen=True)
class Text:
    """Lengths count characters."""

    most: int
    pattern: str = r"(?s:.+)"
    required: bool = True


@dataclass(slots=True, frozen=True)
class Whole:
    least: int
    required: bool = True


@dataclass(slots=True, frozen=True)
class Flag:
    required: bool = False


@dataclass(slots=True, frozen=True)
class Fields:
    """An object. one_of: exactly one of these must be there."""

    fields: "Mapping[str, Rule]"
    required: bool = True
    one_of: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Items:
    each: Fields
    required: bool = False


Rule = Text | Whole | Flag | Fields | Items

OUT_TRADE_NO = r"[0-9A-Za-z_\-*]+"
OUT_REFUND_NO = r"[0-9A-Za-z_\-|*@]+"
# With a scheme and no query. Whether the platform refuses plain HTTP is not verified.
_URL = r"https?://[^?\s]+"
_CURRENCY = "CNY"


def _optional(most: int) -> Text:
    return Text(most, required=False)


_MERCHANT: dict[str, Rule] = {"appid": Text(32), "mchid": Text(32)}
_ORDER: dict[str, Rule] = _MERCHANT | {
    "description": Text(127),
    "out_trade_no": Text(32, OUT_TRADE_NO),
    "attach": _optional(128),
    "goods_tag": _optional(32),
    "support_fapiao": Flag(),
    "amount": Fields({"total": Whole(1), "currency": Text(3, _CURRENCY, required=False)}),
    "detail": Fields(
        {
            "cost_price": Whole(0, required=False),
            "invoice_id": _optional(32),
            "goods_detail": Items(
                Fields(
                    {
                        "merchant_goods_id": Text(32),
                        "wxpay_goods_id": _optional(32),
                        "wechatpay_goods_id": _optional(32),
                        "goods_name": _optional(256),
                        "quantity": Whole(1),
                        "unit_price": Whole(0),
                    }
                )
            ),
        },
        required=False,
    ),
    "settle_info": Fields({"profit_sharing": Flag()}, required=False),
}

CODEPAY = Fields(
    _ORDER
    | {
        "payer": Fields({"auth_code": Text(18, r"1[0-5][0-9]{16}")}),
        "scene_info": Fields(
            {
                "device_id": _optional(32),
                "device_ip": Text(45, r"[0-9A-Fa-f.:]+", required=False),
                "store_info": Fields(
                    {"id": _optional(32), "out_id": _optional(256)}, required=False, one_of=("id", "out_id")
                ),
            }
        ),
    }
)
_STORE = Fields(
    {"id": Text(32), "name": _optional(256), "area_code": _optional(32), "address": _optional(512)}, required=False
)
_SCENE: dict[str, Rule] = {"payer_client_ip": Text(45), "device_id": _optional(32), "store_info": _STORE}
_PREPAID: dict[str, Rule] = _ORDER | {
    "notify_url": Text(255, _URL),
    "time_expire": Text(64, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+\-]\d\d:\d\d)", required=False),
    "scene_info": Fields(_SCENE, required=False),
}
NATIVE = APP = Fields(_PREPAID)
JSAPI = Fields(_PREPAID | {"payer": Fields({"openid": Text(128)})})
H5 = Fields(
    _PREPAID
    | {
        "scene_info": Fields(
            _SCENE
            | {
                "h5_info": Fields(
                    {
                        "type": Text(32),
                        "app_name": _optional(64),
                        "app_url": _optional(128),
                        "bundle_id": _optional(128),
                        "package_name": _optional(128),
                    }
                )
            }
        )
    }
)
REVERSE = Fields(_MERCHANT)
CLOSE = Fields({"mchid": Text(32)})
REFUND = Fields(
    {
        "transaction_id": Text(32, r"[0-9]+", required=False),
        "out_trade_no": Text(32, OUT_TRADE_NO, required=False),
        "out_refund_no": Text(64, OUT_REFUND_NO),
        "reason": _optional(80),
        "notify_url": Text(256, _URL, required=False),
        "funds_account": Text(32, "AVAILABLE|UNSETTLED", required=False),
        "amount": Fields(
            {
                "refund": Whole(1),
                "total": Whole(1),
                "currency": Text(16, _CURRENCY),
                "from": Items(Fields({"account": Text(32, "AVAILABLE|UNAVAILABLE"), "amount": Whole(1)})),
            }
        ),
        "goods_detail": Items(
            Fields(
                {
                    "merchant_goods_id": Text(32),
                    "wechatpay_goods_id": _optional(32),
                    "goods_name": _optional(256),
                    "unit_price": Whole(0),
                    "refund_amount": Whole(0),
                    "refund_quantity": Whole(1),
                }
            )
        ),
    },
    one_of=("transaction_id", "out_trade_no"),
)


ABNORMAL_REFUND = Fields(
    {
        "out_refund_no": Text(64, OUT_REFUND_NO),
        "type": Text(32, "USER_BANK_CARD|MERCHANT_BANK_CARD"),
        "bank_type": _optional(16),
        "bank_account": _optional(1024),
        "real_name": _optional(1024),
    }
)


def read_body(body: bytes, rule: Fields) -> dict[str, Any]:
    """The checked content of a JSON body. Raises Refusal (400 PARAM_ERROR) naming the first field that is wrong.

    A field that the call does not know is ignored, and null or an empty text is as good as nothing: clients fill their
    models so.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "PARAM_ERROR", "the body is not JSON") from None
    checked: dict[str, Any] = _checked(content, rule, "")
    return checked


def _checked(value: Any, rule: Rule, path: str) -> Any:
    name = path or "body"
    match rule:
        case Text(most, pattern):
            if not isinstance(value, str) or len(value) > most or not re.fullmatch(pattern, value):
                raise bad_parameter(name, f"must be text of at most {most} characters matching {pattern}")
        case Whole(least):
            if type(value) is not int or not least <= value < 2**31:
                raise bad_parameter(name, f"must be a whole number from {least}")
        case Flag():
            if not isinstance(value, bool):
                raise bad_parameter(name, "must be true or false")
        case Items(each):
            if not isinstance(value, list):
                raise bad_parameter(name, "must be a list")
            return [_checked(item, each, f"{name}[{index}]") for index, item in enumerate(value)]
        case Fields():
            return _checked_fields(value, rule, path)
    return value


def _checked_fields(value: Any, rule: Fields, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_parameter(path or "body", "must be an object")
    prefix, checked = f"{path}." if path else "", {}
    for name, each in rule.fields.items():
        if value.get(name) not in (None, ""):
            checked[name] = _checked(value[name], each, prefix + name)
        elif each.required:
            raise bad_parameter(prefix + name, "is missing")
    if rule.one_of and sum(name in checked for name in rule.one_of) != 1:
        raise bad_parameter(path or "body", f"needs exactly one of {', '.join(rule.one_of)}")
    return checked
