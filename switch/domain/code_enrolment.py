"""How a device and the switch agree on the secret of payment codes, without it ever crossing a wire.

The device draws a seed of 32 bytes and seals it to the HSM's public key (HPKE, RFC 9180, mode base, DHKEM(P-256,
HKDF-SHA256), HKDF-SHA256, AES-128-GCM) with `envelope_info`; it signs `signed_text` with the key that it is bound by
(ECDSA P-256, SHA-256, DER). The switch answers with a salt of 32 bytes and the device's number; both compute
`agreed_secret`, to which each of them has given half.
"""

import hmac
from typing import Final
from uuid import UUID

SEED_BYTES: Final = 32
SALT_BYTES: Final = 32
ENCAPSULATED_BYTES: Final = 65
"""An envelope is the encapsulated key, 04 ‖ x ‖ y, then the ciphertext with its tag of 16 bytes."""
ENVELOPE_BYTES: Final = ENCAPSULATED_BYTES + SEED_BYTES + 16

_ENVELOPE: Final = b"payswitch payment codes 1, seed|"
_SIGNED: Final = b"payswitch payment codes 1, enrolment|"
_SECRET: Final = b"payswitch payment codes 1, secret|"


def envelope_info(user_id: UUID, device_id: UUID) -> bytes:
    """HPKE's info: an envelope opens for its own user and device only."""
    return _ENVELOPE + user_id.bytes + device_id.bytes


def signed_text(user_id: UUID, device_id: UUID, envelope: bytes) -> bytes:
    return _SIGNED + user_id.bytes + device_id.bytes + envelope


def agreed_secret(seed: bytes, salt: bytes, number: int) -> bytes:
    """HKDF-SHA-256 (RFC 5869) of the seed with that salt, for that device number: 32 bytes."""
    key = hmac.digest(salt, seed, "sha256")
    return hmac.digest(key, _SECRET + f"{number:011d}".encode() + b"\x01", "sha256")
