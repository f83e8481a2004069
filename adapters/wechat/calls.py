"""The requests of API v3 before they are signed. Pure; every value is checked, since it would be refused anyway."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from adapters.wechat.codec import InvalidAuthCode, InvalidField

_OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-*]{1,32}")
_OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
_AUTH_CODE = re.compile(r"1[0-5][0-9]{16}")
_NOTIFY_URL = re.compile(r"https?://[!-~]{1,240}")
_DOWNLOAD = re.compile(r"https?://[^/?#]+(/v3/billdownload/file\?[!-~]{1,2000})")
# One for all: making it takes as long as using it.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DESCRIPTION_CHARS = 127
_DEVICE_ID_CHARS = 32


@dataclass(slots=True, frozen=True)
class Call:
    """One HTTP request before it is signed. target: raw path with query. body: b"" for GET; it may hold a code."""

    method: str
    target: str
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True, frozen=True)
class Scene:
    """Where the payer stands. device_ip: dotted address of the terminal, or of this switch."""

    store_id: str
    device_id: str
    device_ip: str


def codepay(
    appid: str, mchid: str, out_trade_no: str, auth_code: str, amount_fen: int, description: str, scene: Scene
) -> Call:
    """POST /v3/pay/transactions/codepay. auth_code: 18 digits, prefix 10–15. Raises InvalidField."""
    checked_auth_code(auth_code)
    scene_info: dict[str, Any] = {"device_ip": scene.device_ip, "store_info": {"out_id": scene.store_id}}
    if scene.device_id:
        scene_info["device_id"] = scene.device_id[:_DEVICE_ID_CHARS]
    content = {
        "appid": appid,
        "mchid": mchid,
        "description": description[:_DESCRIPTION_CHARS],
        "out_trade_no": _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no"),
        "payer": {"auth_code": auth_code},
        "amount": {"total": checked_amount(amount_fen), "currency": "CNY"},
        "scene_info": scene_info,
    }
    return Call("POST", "/v3/pay/transactions/codepay", _json(content))


def native(appid: str, mchid: str, out_trade_no: str, amount_fen: int, description: str, notify_url: str) -> Call:
    """POST /v3/pay/transactions/native: an order that the payer pays by scanning the code_url of the answer."""
    content: dict[str, Any] = {
        "appid": appid,
        "mchid": mchid,
        "description": description[:_DESCRIPTION_CHARS],
        "out_trade_no": _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no"),
        "notify_url": _checked(_NOTIFY_URL, notify_url, "notify_url"),
        "amount": {"total": checked_amount(amount_fen), "currency": "CNY"},
    }
    return Call("POST", "/v3/pay/transactions/native", _json(content))


def query_order(mchid: str, out_trade_no: str) -> Call:
    """
    >>> query_order("1230000109", "A_1").target
    '/v3/pay/transactions/out-trade-no/A_1?mchid=1230000109'
    """
    number = _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no")
    return Call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid={mchid}")


def reverse(appid: str, mchid: str, out_trade_no: str) -> Call:
    """POST …/reverse: a paid order is given back, an unpaid one is closed for ever."""
    number = _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no")
    content = _json({"appid": appid, "mchid": mchid})
    return Call("POST", f"/v3/pay/transactions/out-trade-no/{number}/reverse", content)


def close(mchid: str, out_trade_no: str) -> Call:
    """POST …/close: an order that is not paid cannot be paid any more; answered with 204."""
    number = _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no")
    return Call("POST", f"/v3/pay/transactions/out-trade-no/{number}/close", _json({"mchid": mchid}))


def refund(out_trade_no: str, out_refund_no: str, refund_fen: int, total_fen: int, notify_url: str = "") -> Call:
    """POST /v3/refund/domestic/refunds: `refund_fen` of an order of `total_fen`; one effect per out_refund_no."""
    if not 1 <= refund_fen <= total_fen:
        raise InvalidField("amount.refund must be positive and at most amount.total")
    content: dict[str, Any] = {
        "out_trade_no": _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no"),
        "out_refund_no": _checked(_OUT_REFUND_NO, out_refund_no, "out_refund_no"),
        "amount": {"refund": refund_fen, "total": total_fen, "currency": "CNY"},
    }
    if notify_url:
        content["notify_url"] = _checked(_NOTIFY_URL, notify_url, "notify_url")
    return Call("POST", "/v3/refund/domestic/refunds", _json(content))


def query_refund(out_refund_no: str) -> Call:
    number = _checked(_OUT_REFUND_NO, out_refund_no, "out_refund_no").replace("|", "%7C")
    return Call("GET", f"/v3/refund/domestic/refunds/{number}")


CERTIFICATES = Call("GET", "/v3/certificates")


def trade_bill(day: date) -> Call:
    return Call("GET", f"/v3/bill/tradebill?bill_date={day.isoformat()}&bill_type=ALL&tar_type=GZIP")


def fund_flow_bill(day: date) -> Call:
    return Call("GET", f"/v3/bill/fundflowbill?bill_date={day.isoformat()}&account_type=BASIC&tar_type=GZIP")


def download(url: str) -> Call:
    """The file of a bill. Only path and query of `url` are used: the host is always the one that was configured.

    >>> download("https://api.mch.weixin.qq.com/v3/billdownload/file?token=abc").target
    '/v3/billdownload/file?token=abc'
    """
    match = _DOWNLOAD.fullmatch(url)
    if match is None:
        raise InvalidField("download_url is not that of a bill")
    return Call("GET", match[1])


def checked_auth_code(code: str) -> str:
    """Raises InvalidAuthCode, which does not say what was wrong with which digit."""
    if not _AUTH_CODE.fullmatch(code):
        raise InvalidAuthCode("payer.auth_code must be 18 digits with a prefix of 10 to 15")
    return code


def checked_amount(amount_fen: int) -> int:
    if amount_fen < 1:
        raise InvalidField("amount.total must be positive")
    return amount_fen


def _checked(pattern: re.Pattern[str], value: str, name: str) -> str:
    if not pattern.fullmatch(value):
        raise InvalidField(f"{name} must match {pattern.pattern}")
    return value


def _json(content: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(content).encode()
