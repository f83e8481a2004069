"""What the answers of API v3 say. Pure: bytes in, values out. Their signatures were checked before (`codec`)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.wechat.codec import InvalidAnswer

_CODE_TEXT = re.compile(r"[A-Z0-9_]{1,64}")
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")


@dataclass(slots=True, frozen=True)
class Trade:
    """An order as the platform tells it. While the payer types a password everything but `state` may be empty.

    total_fen: the order's amount, None if it was not told.
    """

    state: str
    out_trade_no: str = ""
    transaction_id: str = ""
    mchid: str = ""
    total_fen: int | None = None
    currency: str = ""


@dataclass(slots=True, frozen=True)
class Refund:
    """A refund as the platform tells it. status: SUCCESS, CLOSED, PROCESSING or ABNORMAL."""

    status: str
    out_refund_no: str
    refund_id: str
    out_trade_no: str
    refund_fen: int


def trade_of(body: bytes) -> Trade:
    """Read the answer of codepay or of an order query. Raises InvalidAnswer.

    >>> trade_of(b'{"trade_state":"USERPAYING"}').state
    'USERPAYING'
    """
    content = _object(body)
    amount = content.get("amount")
    total: int | None = None
    currency = ""
    if amount is not None:
        if not isinstance(amount, dict):
            raise InvalidAnswer("amount is not an object")
        total = _integer(amount, "total")
        currency = _text(amount, "currency", required=False)
    return Trade(
        state=_code(content, "trade_state"),
        out_trade_no=_text(content, "out_trade_no", required=False),
        transaction_id=_text(content, "transaction_id", required=False),
        mchid=_text(content, "mchid", required=False),
        total_fen=total,
        currency=currency,
    )


def refund_of(body: bytes) -> Refund:
    """Read the answer of a refund or of its query. Raises InvalidAnswer."""
    content = _object(body)
    amount = content.get("amount")
    if not isinstance(amount, dict):
        raise InvalidAnswer("amount is not an object")
    return Refund(
        status=_code(content, "status"),
        out_refund_no=_text(content, "out_refund_no"),
        refund_id=_text(content, "refund_id"),
        out_trade_no=_text(content, "out_trade_no"),
        refund_fen=_integer(amount, "refund"),
    )


def code_url_of(body: bytes) -> str:
    """What the payer's wallet scans. Raises InvalidAnswer."""
    value = _object(body).get("code_url")
    if not isinstance(value, str) or not value.startswith("weixin://") or len(value) > 512:
        raise InvalidAnswer("code_url is not one of WeChat Pay's")
    return value


@dataclass(slots=True, frozen=True)
class BillOffer:
    """Where a bill's file is, and the SHA-1 (lower-case hex) of its uncompressed bytes."""

    download_url: str
    sha1: str


def bill_offer_of(body: bytes) -> BillOffer:
    """Raises InvalidAnswer."""
    content = _object(body)
    url, digest = content.get("download_url"), content.get("hash_value")
    if content.get("hash_type") != "SHA1" or not isinstance(digest, str) or not _SHA1.fullmatch(digest):
        raise InvalidAnswer("hash_value is not a SHA-1")
    if not isinstance(url, str) or len(url) > 2_048:
        raise InvalidAnswer("download_url is not a URL")
    return BillOffer(url, digest.lower())


def certificates_of(body: bytes) -> list[dict[str, Any]]:
    """The entries of `GET /v3/certificates`, unread. Raises InvalidAnswer."""
    listed = _object(body).get("data")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InvalidAnswer("data is not a list of objects")
    return listed


def reversed_out_trade_no(body: bytes) -> str:
    """The order that a reversal's answer names; "" for the empty body of a 204. Raises InvalidAnswer."""
    return _text(_object(body), "out_trade_no") if body else ""


def error_code(body: bytes) -> str:
    """The `code` of an error answer. Raises InvalidAnswer; `message` is prose and is not read.

    >>> error_code('{"code":"NOT_ENOUGH","message":"用户余额不足"}'.encode())
    'NOT_ENOUGH'
    """
    return _code(_object(body), "code")


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or a number of absurd length
        raise InvalidAnswer("the body is not JSON") from None
    if not isinstance(content, dict):
        raise InvalidAnswer("the body is not a JSON object")
    return content


def _text(content: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    value = content.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or len(value) > 64:
        raise InvalidAnswer(f"{name} is not a short text")
    return value


def _code(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not _CODE_TEXT.fullmatch(value):
        raise InvalidAnswer(f"{name} is not a code")
    return value


def _integer(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    if type(value) is not int or value < 0:  # bool is an int to isinstance
        raise InvalidAnswer(f"{name} is not an amount")
    return value
