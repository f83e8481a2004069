"""The simulator's own RSA2: written from the protocol, not from the adapter's codec."""

import base64
import binascii
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from adapters.alipay.simulator.refusal import Refused


class GatewayKey:
    """A 2048-bit key pair: that of the PEM text, or one generated now. Raises ValueError if it is no RSA key."""

    def __init__(self, private_key_pem: str = "") -> None:
        self._private = _private_key(private_key_pem)

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        return self._private.public_key()

    @property
    def public_key_pem(self) -> str:
        return self.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def signature(self, data: bytes) -> str:
        return base64.b64encode(self._private.sign(data, padding.PKCS1v15(), SHA256())).decode()


def _private_key(pem: str) -> rsa.RSAPrivateKey:
    if not pem:
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("private_key_pem: not an RSA private key")
    return key


def application_key(pem: str) -> rsa.RSAPublicKey:
    """Raises ValueError if it is not an RSA public key."""
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("app_public_key_pem: not an RSA public key")
    return key


def joined(parameters: Mapping[str, str], left_out: frozenset[str]) -> bytes:
    """`k=v` of every parameter that has a value, by key, with `&` between them."""
    pairs = [(key, value) for key, value in parameters.items() if key not in left_out and value != ""]
    pairs.sort()
    return b"&".join(key.encode() + b"=" + value.encode() for key, value in pairs)


def check_signature(parameters: Mapping[str, str], key: rsa.RSAPublicKey) -> None:
    """Raises Refused: isv.invalid-signature."""
    try:
        signature = base64.b64decode(parameters["sign"], validate=True)
        key.verify(signature, joined(parameters, frozenset({"sign"})), padding.PKCS1v15(), SHA256())
    except (binascii.Error, ValueError, InvalidSignature):
        raise Refused("40002", "isv.invalid-signature") from None
