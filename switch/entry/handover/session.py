"""The session's cryptography: two hellos, keys from them, and records that are counted.

**Hellos**: version 1, suite 1 (P-256, HKDF-SHA-256, AES-128-GCM), ephemeral key 04 ‖ x ‖ y (65), nonce (16). The
terminal's goes on with its certificate (behind 2 bytes of length) and its signature (behind 1): ECDSA with SHA-256,
DER, by the certified key over `payswitch handover hello 1|` and the SHA-256 of both hellos up to there.
**Keys**: HKDF-SHA-256 of the ephemeral keys' agreement, salt the SHA-256 of both whole hellos, info `payswitch handover
keys 1`: key (16) and IV (12) of the phone's records, then of the terminal's.
**Records**: counter (4 bytes, from 0 for each side), ciphertext and tag; the nonce is IV ⊕ counter, the counter is
associated data. The plaintext's first byte says what it is.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from switch.entry.handover.certificate import POINT_BYTES
from switch.entry.handover.errors import HandoverError

VERSION: Final = 1
SUITE: Final = 1
HELLO_NONCE_BYTES: Final = 16
HELLO_BYTES: Final = 2 + POINT_BYTES + HELLO_NONCE_BYTES
_SIGNED: Final = b"payswitch handover hello 1|"
_KEYS: Final = b"payswitch handover keys 1"
_COUNTER_BYTES: Final = 4
_MOST_RECORDS: Final = 1 << 16

Entropy = Callable[[int], bytes]
MakeKey = Callable[[], ec.EllipticCurvePrivateKey]


class Inside(IntEnum):
    """What a record is. The numbers are on the air: they are never reused."""

    OFFER = 1
    CREDENTIAL = 2
    RESULT = 3


def fresh_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def build_hello(ephemeral: ec.EllipticCurvePrivateKey, nonce: bytes) -> bytes:
    return bytes([VERSION, SUITE]) + point_of(ephemeral.public_key()) + nonce


def check_hello(hello: bytes) -> ec.EllipticCurvePublicKey:
    """The other side's ephemeral key. Raises HandoverError."""
    if len(hello) < HELLO_BYTES:
        raise HandoverError("a hello that is too short")
    if hello[:2] != bytes([VERSION, SUITE]):
        raise HandoverError(f"version {hello[0]} with suite {hello[1]} is not supported")
    return read_point(hello[2 : 2 + POINT_BYTES])


def read_point(point: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise HandoverError("a public key that is no point of the curve") from None


def sign_hellos(key: ec.EllipticCurvePrivateKey, phone_hello: bytes, unsigned: bytes) -> bytes:
    return key.sign(_signed(phone_hello, unsigned), ec.ECDSA(SHA256()))


def verify_hellos(key: ec.EllipticCurvePublicKey, phone_hello: bytes, unsigned: bytes, signature: bytes) -> None:
    """Raises HandoverError."""
    try:
        key.verify(signature, _signed(phone_hello, unsigned), ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise HandoverError("the terminal does not have the certified key") from None


def _signed(phone_hello: bytes, unsigned: bytes) -> bytes:
    return _SIGNED + hashlib.sha256(phone_hello + unsigned).digest()


@dataclass(slots=True)
class Direction:
    """Records one way. counter: of the next."""

    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    counter: int = 0

    def seal(self, inside: Inside, content: bytes) -> bytes:
        counter = self._next()
        return counter + AESGCM(self.key).encrypt(self._nonce(counter), bytes([inside]) + content, counter)

    def open(self, record: bytes) -> tuple[int, bytes]:
        """(what it is, content). Raises HandoverError: repeated, lost, or not what was sent."""
        counter, expected = record[:_COUNTER_BYTES], self.counter
        number = int.from_bytes(counter, "big")
        if len(record) <= _COUNTER_BYTES:
            raise HandoverError("a record that is too short")
        if number != expected:
            raise HandoverError("a record came twice" if number < expected else "a record was lost")
        try:
            clear = AESGCM(self.key).decrypt(self._nonce(counter), record[_COUNTER_BYTES:], counter)
        except InvalidTag:
            raise HandoverError("a record was changed, or is of another session") from None
        if not clear:
            raise HandoverError("an empty record")
        self._next()
        return clear[0], clear[1:]

    def _next(self) -> bytes:
        if self.counter >= _MOST_RECORDS:
            raise HandoverError("too many records of one session")
        self.counter += 1
        return (self.counter - 1).to_bytes(_COUNTER_BYTES, "big")

    def _nonce(self, counter: bytes) -> bytes:
        return (int.from_bytes(self.iv, "big") ^ int.from_bytes(counter, "big")).to_bytes(12, "big")


def agree(
    own: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePublicKey, phone_hello: bytes, terminal_hello: bytes
) -> tuple[Direction, Direction]:
    """(phone's records, terminal's records)."""
    salt = hashlib.sha256(phone_hello + terminal_hello).digest()
    made = HKDF(SHA256(), 56, salt, _KEYS).derive(own.exchange(ec.ECDH(), other))
    return Direction(made[:16], made[16:28]), Direction(made[28:44], made[44:])
