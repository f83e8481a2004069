"""The credential as it travels from phone to HSM: the terminal carries it and cannot read it.

**Payload** of a handover record of kind SEALED: nonce (16 bytes, the terminal's), time (8, the phone's, Unix ms),
encapsulated key (65), ciphertext. HPKE (RFC 9180): base, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.
**Plaintext**: kind (1) and payload of the record that it stands for: EMV data or a payer's code.
**Info**, which both sides compute and which binds the envelope: `payswitch handover 1|`, then nonce, time, amount (8,
minor units), currency (3 letters), merchant id `|` terminal id.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec

from switch.domain.money import Money
from switch.entry.errors import EntryError

NONCE_BYTES: Final = 16
ENCAPSULATED_BYTES: Final = 65
_HEADER: Final = struct.Struct(">16sQ")
_SUITE: Final = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)
_LEAST_BYTES: Final = _HEADER.size + ENCAPSULATED_BYTES + 16 + 2
_LATEST_TIME_MS: Final = (1 << 48) - 1


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed credential is for: nothing else opens it. nonce: 16 bytes. time_ms: the phone's clock."""

    merchant_id: str
    terminal_id: str
    money: Money
    nonce: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class SealedPayload:
    nonce: bytes
    time_ms: int
    encapsulated: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


def binding_info(binding: Binding) -> bytes:
    """
    >>> binding_info(Binding("shop", "t1", Money(1250, "CNY"), bytes(16), 4096))[:21]
    b'payswitch handover 1|'
    """
    numbers = struct.pack(">16sQQ", binding.nonce, binding.time_ms, binding.money.amount_minor)
    names = f"{binding.money.currency}{binding.merchant_id}|{binding.terminal_id}".encode("ascii")
    return b"payswitch handover 1|" + numbers + names


def seal_credential(public_key: ec.EllipticCurvePublicKey, binding: Binding, kind: int, payload: bytes) -> bytes:
    """The phone's part. kind, payload: as of a clear handover record. public_key: the HSM's."""
    envelope = _SUITE.encrypt(bytes([kind]) + payload, public_key, binding_info(binding))
    return _HEADER.pack(binding.nonce, binding.time_ms) + envelope


def read_sealed(payload: bytes, fieldname: str = "bluetooth.record") -> SealedPayload:
    """The switch's part, before anything is opened. Raises EntryError."""
    if len(payload) < _LEAST_BYTES:
        raise EntryError(fieldname, "the sealed credential is too short")
    nonce, time_ms = _HEADER.unpack_from(payload)
    if time_ms > _LATEST_TIME_MS:
        raise EntryError(fieldname, "the sealed credential's time is impossible")
    envelope = payload[_HEADER.size :]
    return SealedPayload(nonce, time_ms, envelope[:ENCAPSULATED_BYTES], envelope[ENCAPSULATED_BYTES:])
