"""Asynchronous notifications: believed only if Alipay signed them for this application. Pure.

Source: Alipay Open API, asynchronous notifications: a POSTed form; drop `sign` and `sign_type`, sort, verify RSA2.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from adapters.alipay.codec import (
    AlipayError,
    ForgedAnswer,
    MalformedAnswer,
    amount_minor,
    shanghai_timestamp,
    short_text,
    signature_bytes,
    verify,
)
from adapters.alipay.trust import Trust
from switch.ports import Notice, NotificationRefused

LARGEST_BYTES: Final = 64 * 1024
ANSWERS: Final = {True: (200, "text/plain", b"success"), False: (200, "text/plain", b"failure")}
_MOST_FIELDS: Final = 128
_STATES: Final = frozenset({"WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_CLOSED", "TRADE_FINISHED"})


def read_notification(body: bytes, trust: Trust, app_id: str, oldest_ms: int) -> Notice:
    """oldest_ms: Unix time; one that was sent before it is not believed.

    Raises NotificationRefused: malformed, unsigned, forged, foreign (of another application), expired.
    """
    form = _form(body)
    if not form.get("sign"):
        raise NotificationRefused("unsigned")
    try:
        _check_signature(form, trust)
    except ForgedAnswer:
        raise NotificationRefused("forged") from None
    except AlipayError as error:
        raise NotificationRefused("malformed", str(error)) from None
    try:
        return _notice(form, app_id, oldest_ms)
    except MalformedAnswer as error:
        raise NotificationRefused("malformed", str(error)) from None


def _notice(form: Mapping[str, str], app_id: str, oldest_ms: int) -> Notice:
    if form.get("app_id") != app_id:
        raise NotificationRefused("foreign")
    # Both are written as Alipay writes them: in that form later means greater.
    if short_text(form, "notify_time") < shanghai_timestamp(max(0, oldest_ms)):
        raise NotificationRefused("expired")
    reference, said = short_text(form, "out_trade_no"), short_text(form, "trade_status")
    if not reference or said not in _STATES:
        raise MalformedAnswer("out_trade_no or trade_status is missing")
    amount_minor(short_text(form, "total_amount"))
    return Notice(
        channel="alipay",
        reference=reference,
        refund_reference=short_text(form, "out_biz_no"),
        event=short_text(form, "notify_id"),
        said=said,
    )


def _form(body: bytes) -> dict[str, str]:
    if len(body) > LARGEST_BYTES:
        raise NotificationRefused("malformed", "too long")
    try:
        pairs = parse_qsl(body.decode("ascii"), True, True, "utf-8", "strict", _MOST_FIELDS)
    except ValueError:
        raise NotificationRefused("malformed", "not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise NotificationRefused("malformed", "a name has two values")
    return form


def _check_signature(form: Mapping[str, str], trust: Trust) -> None:
    """Raises ForgedAnswer or MalformedAnswer. It does not say with which of the platform's keys it was signed."""
    if form.get("sign_type") != "RSA2":
        raise MalformedAnswer("sign_type is not RSA2")
    signature = signature_bytes(form["sign"])
    names = sorted(name for name in form if name not in ("sign", "sign_type"))
    signed = "&".join(f"{name}={form[name]}" for name in names).encode()
    for key in trust.every_key():
        try:
            return verify(key, signature, signed)
        except ForgedAnswer:
            continue
    raise ForgedAnswer("the signature does not verify")
