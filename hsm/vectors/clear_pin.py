"""Clear PIN blocks for vectors that give a PIN: made here, enciphered by another library, and read by the core.

The key is one whose value everybody knows; what is enciphered with it is only ever compared or translated.
"""

from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

KNOWN_KEY: Final = "0123456789ABCDEFFEDCBA98765432101122334455667788"


def format_0(pin: str, pan: str) -> bytes:
    """Clear block: the PIN's field and the 12 digits of the PAN before its check digit, added (ISO 9564-1:2017, 9.3.1).

    >>> format_0("68064163", "6763390877006088815").hex().upper()
    '08680E36639F777E'
    """
    field = bytes.fromhex(f"0{len(pin):X}{pin}".ljust(16, "F"))
    account = bytes.fromhex(pan[:-1][-12:].zfill(16))
    return bytes(left ^ right for left, right in zip(field, account, strict=True))


def enciphered(clear: bytes, key_hex: str = KNOWN_KEY) -> bytes:
    """ECB under a triple-length DES key."""
    return Cipher(TripleDES(bytes.fromhex(key_hex)), modes.ECB()).encryptor().update(clear)  # noqa: S305
