"""Access and refresh tokens: opaque to their bearer, to the switch a row's key and a secret.

    payswitch_at_ + base64url(user id, session id, secret)                 access
    payswitch_rt_ + base64url(user id, session id, generation, secret)     refresh

Ids are 16 bytes, the generation 4, secrets 32. The prefix says what it is, so that one in a public place is recognized
by scanners for secrets.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

ACCESS_PREFIX: Final = "payswitch_at_"
REFRESH_PREFIX: Final = "payswitch_rt_"
SECRET_BYTES: Final = 32
_IDS: Final = 32
_GENERATION: Final = 4


@dataclass(frozen=True, slots=True)
class AccessToken:
    user_id: UUID
    session_id: UUID
    secret: bytes = field(repr=False)

    def text(self) -> str:
        return ACCESS_PREFIX + _encode(self.user_id.bytes + self.session_id.bytes + self.secret)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    user_id: UUID
    session_id: UUID
    generation: int
    secret: bytes = field(repr=False)

    def text(self) -> str:
        ids = self.user_id.bytes + self.session_id.bytes
        return REFRESH_PREFIX + _encode(ids + self.generation.to_bytes(_GENERATION, "big") + self.secret)


def parse_access(text: str) -> AccessToken | None:
    data = _decode(text, ACCESS_PREFIX, _IDS + SECRET_BYTES)
    return None if data is None else AccessToken(UUID(bytes=data[:16]), UUID(bytes=data[16:32]), data[32:])


def parse_refresh(text: str) -> RefreshToken | None:
    data = _decode(text, REFRESH_PREFIX, _IDS + _GENERATION + SECRET_BYTES)
    if data is None:
        return None
    return RefreshToken(UUID(bytes=data[:16]), UUID(bytes=data[16:32]), int.from_bytes(data[32:36], "big"), data[36:])


def secret_hash(secret: bytes) -> bytes:
    """SHA-256: what it hashes is random over 256 bits, so that there is nothing to guess."""
    return hashlib.sha256(secret).digest()


def is_secret_of(secret: bytes, hashed: bytes) -> bool:
    """In constant time."""
    return hmac.compare_digest(secret_hash(secret), hashed)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str, prefix: str, length: int) -> bytes | None:
    """None unless it is the one spelling of `length` bytes."""
    if not text.startswith(prefix) or not text.isascii():
        return None
    body = text.removeprefix(prefix)
    if len(body) != -(-length * 4 // 3):
        return None
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return data if len(data) == length and _encode(data) == body else None
