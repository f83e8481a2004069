"""Content encryption as the gateway does it: AES-128-CBC, PKCS #7, an initialisation vector of zeros, base64."""

import base64
import binascii

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from adapters.alipay.simulator.refusal import Refused

_ZERO_IV = bytes(16)


def content_key(text: str) -> bytes:
    """The 16 bytes of a base64 key. Raises ValueError for anything else."""
    key = base64.b64decode(text, validate=True)
    if len(key) != 16:
        raise ValueError("aes_key: not 16 bytes in base64")
    return key


def encrypted(key: bytes, content: bytes) -> str:
    """
    >>> decrypted(bytes(16), encrypted(bytes(16), b"{}"))
    '{}'
    """
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(key), CBC(_ZERO_IV)).encryptor()
    padded = padder.update(content) + padder.finalize()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def decrypted(key: bytes, text: str) -> str:
    """Raises Refused: isv.decryption-error-unknown."""
    try:
        decryptor = Cipher(AES(key), CBC(_ZERO_IV)).decryptor()
        padded = decryptor.update(base64.b64decode(text, validate=True)) + decryptor.finalize()
        unpadder = PKCS7(128).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except (binascii.Error, ValueError):
        raise Refused("40002", "isv.decryption-error-unknown") from None
