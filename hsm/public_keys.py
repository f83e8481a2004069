"""Public keys as commands take them: PEM of a SubjectPublicKeyInfo (RFC 7468, 13), or the bare point of an SM2 key."""

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.errors import InvalidCommand

SM2_KEY_INFO: Final = bytes.fromhex("3059301306072A8648CE3D020106082A811CCF5501822D034200")
"""What stands before the 65 bytes of a point: id-ecPublicKey with the curve 1.2.156.10197.1.301 (GM/T 0006-2012)."""

POINT_BYTES: Final = 65
RSA_BITS: Final = range(2048, 4097)
MAX_RSA_EXPONENT_BITS: Final = 32
MAX_PEM_BYTES: Final = 4096
PEM: Final = re.compile(rb"\s*-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")


def read_public_key(encoded: bytes) -> bytes | RSAPublicKey:
    """PEM of an RSA or SM2 key, or the 65 bytes of an SM2 point -> an RSA key, or the point, not checked yet.

    RSA keys have 2048 to 4096 bits. Raises InvalidCommand.

    >>> point = bytes.fromhex("04" + "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    ...     "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13")
    >>> read_public_key(sm2_pem(point)) == point == read_public_key(point)
    True
    """
    if len(encoded) == POINT_BYTES:
        return encoded
    der = _read_pem(encoded)
    if der.startswith(SM2_KEY_INFO) and len(der) == len(SM2_KEY_INFO) + POINT_BYTES:
        return der[len(SM2_KEY_INFO) :]
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidCommand("this is no public key") from None
    if not isinstance(key, RSAPublicKey):
        raise InvalidCommand("a public key is RSA or SM2")
    if key.key_size not in RSA_BITS or key.public_numbers().e.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise InvalidCommand("an RSA key has 2048 to 4096 bits and a public exponent of at most 32")
    return key


def read_sm2_point(encoded: bytes) -> bytes:
    """As `read_public_key`, for SM2 keys only."""
    key = read_public_key(encoded)
    if isinstance(key, RSAPublicKey):
        raise InvalidCommand("this public key is not an SM2 key")
    return key


def sm2_pem(point: bytes) -> bytes:
    """PEM of an SM2 public key, from its point of 65 bytes."""
    return (
        b"-----BEGIN PUBLIC KEY-----\n"
        + b"\n".join(re.findall(rb".{1,64}", base64.b64encode(SM2_KEY_INFO + point)))
        + b"\n-----END PUBLIC KEY-----\n"
    )


def _read_pem(encoded: bytes) -> bytes:
    match = PEM.fullmatch(encoded) if len(encoded) <= MAX_PEM_BYTES else None
    if match is None:
        raise InvalidCommand("a public key is PEM, or an SM2 point of 65 bytes")
    try:
        return base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error:
        raise InvalidCommand("this is no public key") from None
