"""What a phone believes a terminal by: its public key, signed by the switch's HSM.

Layout, numbers big-endian: version 1 (1 byte); merchant id, terminal id (ASCII) and merchant's name (UTF-8), each
behind its length (1 byte); public key 04 ‖ x ‖ y of P-256 (65); not after, Unix ms (8); signature (256):
RSASSA-PKCS1-v1_5 with SHA-256 over `payswitch handover terminal 1|` and all before.
"""

import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from switch.entry.handover.errors import HandoverError

POINT_BYTES: Final = 65
SIGNATURE_BYTES: Final = 256
_VERSION: Final = 1
_SIGNED: Final = b"payswitch handover terminal 1|"


@dataclass(frozen=True, slots=True)
class TerminalCertificate:
    """merchant_id: 1 to 15 characters; terminal_id: 1 to 8; merchant_name: at most 25."""

    merchant_id: str
    terminal_id: str
    merchant_name: str
    public_key: bytes
    not_after_ms: int


def to_be_signed(certificate: TerminalCertificate) -> bytes:
    """What the HSM signs. Raises ValueError for fields that do not fit."""
    parts = [certificate.merchant_id.encode("ascii"), certificate.terminal_id.encode("ascii")]
    parts.append(certificate.merchant_name.encode())
    if len(certificate.public_key) != POINT_BYTES or any(len(each) > 127 for each in parts):
        raise ValueError("a field is too long, or the key is no point")
    fields = b"".join(bytes([len(each)]) + each for each in parts)
    not_after = struct.pack(">Q", certificate.not_after_ms)
    return _SIGNED + bytes([_VERSION]) + fields + certificate.public_key + not_after


def build_certificate(certificate: TerminalCertificate, signature: bytes) -> bytes:
    """signature: over `to_be_signed`."""
    return to_be_signed(certificate)[len(_SIGNED) :] + signature


def verify_certificate(data: bytes, signing_key: RSAPublicKey, now_ms: int) -> TerminalCertificate:
    """Raises HandoverError: not the switch's, expired, or malformed."""
    signed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    try:
        signing_key.verify(signature, _SIGNED + signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise HandoverError("the terminal's certificate is not the switch's") from None
    certificate = _read(signed)
    if certificate.not_after_ms < now_ms:
        raise HandoverError("the terminal's certificate has expired")
    return certificate


def _read(signed: bytes) -> TerminalCertificate:
    try:
        if signed[0] != _VERSION:
            raise HandoverError("the terminal's certificate is of an unknown version")
        place, texts = 1, []
        for encoding in ("ascii", "ascii", "utf-8"):
            size = signed[place]
            texts.append(signed[place + 1 : place + 1 + size].decode(encoding))
            place += 1 + size
        key, (not_after_ms,) = signed[place : place + POINT_BYTES], struct.unpack(">Q", signed[place + POINT_BYTES :])
    except (IndexError, struct.error, UnicodeDecodeError):
        raise HandoverError("the terminal's certificate is malformed") from None
    return TerminalCertificate(texts[0], texts[1], texts[2], key, not_after_ms)
