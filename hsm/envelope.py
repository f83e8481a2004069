"""The sealing side of envelopes: what a device does with the HSM's public key. The HSM's side: `hsm.commands.envelope`.

HPKE (RFC 9180) mode base, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-GCM, one message per envelope. It holds no
long-lived secret, so it is plain Python; `cryptography` has HPKE too, but takes no associated data.
"""

import hashlib
import hmac
from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.errors import InvalidCommand

KEM_SUITE: Final = b"KEM\x00\x10"


class Aead(IntEnum):
    """Ciphers of an envelope by their number (RFC 9180, 7.3)."""

    AES_128_GCM = 1
    AES_256_GCM = 2


def seal_envelope(
    public_point: bytes, info: bytes, aad: bytes, plaintext: bytes, aead: Aead = Aead.AES_128_GCM
) -> tuple[bytes, bytes]:
    """Seal to a P-256 public key (04 ‖ x ‖ y) -> (encapsulated key, 65 bytes; ciphertext ‖ tag, 16 bytes longer).

    `info` names what the envelope is for, `aad` what it belongs to; opening needs both. Raises InvalidCommand if the
    point is not on the curve. RFC 9180, 6.1.
    """
    return seal_with(ec.generate_private_key(ec.SECP256R1()), public_point, info, aad, plaintext, aead)


def seal_with(
    ephemeral: ec.EllipticCurvePrivateKey, public_point: bytes, info: bytes, aad: bytes, plaintext: bytes, aead: Aead
) -> tuple[bytes, bytes]:
    """`seal_envelope` with a given ephemeral key, for vectors: one that is used twice gives the messages away."""
    try:
        receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_point)
    except ValueError:
        raise InvalidCommand("a P-256 public key is a point of its curve, 65 bytes") from None
    encapsulated = _encoded(ephemeral.public_key())
    agreed = _extract(KEM_SUITE, b"eae_prk", b"", ephemeral.exchange(ec.ECDH(), receiver))
    shared = _expand(KEM_SUITE, b"shared_secret", agreed, encapsulated + _encoded(receiver), 32)
    key, nonce = _schedule(shared, info, aead)
    return encapsulated, AESGCM(key).encrypt(nonce, plaintext, aad)


def _encoded(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _schedule(shared: bytes, info: bytes, aead: Aead) -> tuple[bytes, bytes]:
    """Key and nonce of the first message (RFC 9180, 5.1)."""
    suite = b"HPKE\x00\x10\x00\x01" + aead.to_bytes(2)
    context = b"\x00" + _extract(suite, b"psk_id_hash", b"", b"") + _extract(suite, b"info_hash", b"", info)
    secret = _extract(suite, b"secret", shared, b"")
    length = 16 if aead is Aead.AES_128_GCM else 32
    return _expand(suite, b"key", secret, context, length), _expand(suite, b"base_nonce", secret, context, 12)


def _extract(suite: bytes, label: bytes, salt: bytes, data: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + data, hashlib.sha256)


def _expand(suite: bytes, label: bytes, key: bytes, context: bytes, length: int) -> bytes:
    """To at most 32 bytes."""
    data = length.to_bytes(2) + b"HPKE-v1" + suite + label + context
    return hmac.digest(key, data + b"\x01", hashlib.sha256)[:length]
