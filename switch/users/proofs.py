"""What a caller may bring to prove who it is."""

import hashlib
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from switch.domain.refusals import Invalid, NotProved

_SKEW_MS: Final = 60_000
_LARGEST_KEY: Final = 256


@dataclass(frozen=True, slots=True)
class TotpCode:
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecoveryCode:
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasskeyAnswer:
    """AuthenticationResponseJSON; ceremony_id: of its challenge, empty where a ticket names it."""

    json: str = field(repr=False)
    ceremony_id: str = ""


Factor = TotpCode | RecoveryCode | PasskeyAnswer


@dataclass(frozen=True, slots=True)
class DeviceProof:
    device_id: UUID
    time_ms: int
    signature: bytes = field(repr=False)


def proof_text(act: str, device_id: UUID, time_ms: int, context: str) -> bytes:
    """What a bound device signs. act: "log-in" or "refresh".

    `payswitch device proof 1` 00 act 00 device id (16) time (8, big-endian) SHA-256 of context (32); the context is the
    refresh token, the login as it is normalized, or the ceremony's id for a log-in with a passkey.
    """
    head = b"payswitch device proof 1\0" + act.encode() + b"\0"
    return head + device_id.bytes + time_ms.to_bytes(8, "big") + hashlib.sha256(context.encode()).digest()


def binding_text(challenge: bytes, user_id: UUID, public_key: bytes) -> bytes:
    """What a device signs to be bound: `payswitch device 1` 00 challenge (32) user id (16) SHA-256 of its key (32)."""
    return b"payswitch device 1\0" + challenge + user_id.bytes + hashlib.sha256(public_key).digest()


def check_proof(proof: DeviceProof, act: str, context: str, public_key: bytes, now_ms: int) -> None:
    """Raises NotProved."""
    if not 0 <= proof.time_ms < 1 << 63 or abs(now_ms - proof.time_ms) > _SKEW_MS:
        raise NotProved("the device's signature is not of now")
    check_signature(public_key, proof.signature, proof_text(act, proof.device_id, proof.time_ms, context))


def check_signature(public_key: bytes, signature: bytes, data: bytes) -> None:
    """ECDSA with SHA-256, DER. Raises NotProved."""
    try:
        p256_key(public_key).verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotProved("the device's signature is not right") from None


def p256_key(public_key: bytes) -> ec.EllipticCurvePublicKey:
    """Of SubjectPublicKeyInfo, DER. Raises Invalid."""
    if len(public_key) <= _LARGEST_KEY:
        try:
            key = load_der_public_key(public_key)
        except Exception:
            # ValueError, UnsupportedAlgorithm, and whatever else a parser thinks of.
            raise Invalid("public_key", "must be a P-256 key (SubjectPublicKeyInfo, DER)") from None
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key
    raise Invalid("public_key", "must be a P-256 key (SubjectPublicKeyInfo, DER)")
