"""A notification of the platform: whose it is, and what it speaks of. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from adapters.wechat.codec import InvalidResource, PlatformKeys, UnverifiedAnswer, decrypt_resource
from switch.ports import Notice, NotificationRefused

_LARGEST_BYTES = 64 * 1024
# UnverifiedAnswer.cause -> NotificationRefused.cause
_CAUSES = {
    "stripped": "forged",
    "malformed": "malformed",
    "expired": "expired",
    "unknown_key": "foreign",
    "forged": "forged",
}
_PAYMENT, _REFUND = "TRANSACTION.", "REFUND."

ACCEPTED = (204, "application/json", b"")
REFUSED = (500, "application/json", b'{"code":"FAIL","message":"not accepted"}')


def read(
    keys: PlatformKeys, apiv3_key: bytes, mchid: str, headers: Mapping[str, str], body: bytes, now_s: float
) -> Notice:
    """Raises NotificationRefused: forged (signature), expired (±300 s), foreign (key or merchant), malformed."""
    if len(body) > _LARGEST_BYTES:
        raise NotificationRefused("malformed", "it is too large")
    try:
        keys.verify(headers, body, now_s)
    except UnverifiedAnswer as error:
        raise NotificationRefused(_CAUSES[error.cause], str(error)) from None
    event = _object(body)
    resource = event.get("resource")
    if not isinstance(resource, dict):
        raise NotificationRefused("malformed", "resource is not an object")
    try:
        content = _object(decrypt_resource(resource, apiv3_key))
    except InvalidResource as error:
        raise NotificationRefused("foreign", str(error)) from None
    if content.get("mchid") != mchid:
        raise NotificationRefused("foreign", "it is another merchant's")
    return _notice(_text(event, "id"), _text(event, "event_type"), content)


def _notice(event_id: str, event_type: str, content: Mapping[str, Any]) -> Notice:
    reference = _text(content, "out_trade_no")
    if event_type.startswith(_PAYMENT):
        return Notice("wechat", reference, "", event_id, _text(content, "trade_state"))
    if event_type.startswith(_REFUND):
        return Notice("wechat", reference, _text(content, "out_refund_no"), event_id, _text(content, "refund_status"))
    raise NotificationRefused("malformed", "event_type is not of a payment or refund")


def _object(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise NotificationRefused("malformed", "it is not JSON") from None
    if not isinstance(content, dict):
        raise NotificationRefused("malformed", "it is not a JSON object")
    return content


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise NotificationRefused("malformed", f"{name} is not a short text")
    return value
