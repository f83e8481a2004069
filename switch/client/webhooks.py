"""For receivers of webhooks: whether a message is the switch's (Standard Webhooks, symmetric signatures).

body = await request.read()                      # the very bytes, before any parsing
verify(request.headers, body, [secret], time.time())
message = json.loads(body)                       # seen this webhook-id before? then answer 200 and do nothing
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

TOLERANCE_S: Final = 300
_PREFIX: Final = "whsec_"
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII).fullmatch
_MOST_SIGNATURES: Final = 16


class NotGenuine(Exception):
    """Not from the switch, changed on the way, or too old: answer 400 and do nothing."""


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_s: float, tolerance_s: int = TOLERANCE_S
) -> str:
    """The message's id, the same in every repeat of it. Raises NotGenuine; ValueError for a secret that is none.

    secrets: as they were shown ("whsec_…"); two while one replaces the other. Compared in constant time.
    """
    keys = [_key(secret) for secret in secrets]
    given = {name.lower(): value for name, value in headers.items()}
    identity, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not identity or not _TIMESTAMP(timestamp):
        raise NotGenuine("webhook-id or webhook-timestamp is missing")
    if abs(now_s - int(timestamp)) > tolerance_s:
        raise NotGenuine("webhook-timestamp is too far from now")
    signed = f"{identity}.{timestamp}.".encode() + body
    expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    genuine = False
    for signature in given.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]:
        version, _, encoded = signature.partition(",")
        value = _decoded(encoded) if version == "v1" else b""
        for each in expected:
            genuine |= hmac.compare_digest(value, each)
    if not genuine:
        raise NotGenuine("no signature is right")
    return identity


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a secret is whsec_ and base64") from None
    if len(key) < 24:
        raise ValueError("a secret has at least 24 bytes")
    return key


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
