"""Encryption of data, sealing and keyed hashes.

Modes (NIST SP 800-38A): "ecb", "cbc", and under AES and SM4 "ctr". Padding: "none", "iso9797-2" (a one bit, then zeros;
ISO/IEC 9797-1 method 2, ISO/IEC 7816-4) or "pkcs7" (RFC 5652, 6.3). IV: one block, b"" for ECB; in CBC an unpredictable
one for each message, in CTR one whose counters no other message under the key meets: the caller's duty. The most data
an item may hold takes 0.1 ms under AES, 0.7 under SM4, 2 under triple DES; give what is larger in pieces.
"""

from collections.abc import Sequence
from typing import Final

from hsm import _core, _data
from hsm.commands.context import Commands, Context


def seal(context: Context, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
    """(key, bytes, associated data) -> nonce (12) ‖ ciphertext ‖ tag (16), AES-256-GCM (NIST SP 800-38D), in the token.

    Fails with KeyNotFound, KeyUsageError, InvalidCommand.
    """
    return _core.seal(context.token, context.keys, items)


def unseal(context: Context, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
    """(key, sealed, associated data) -> bytes, or MacMismatch."""
    return _core.unseal(context.token, context.keys, items)


def keyed_hashes(context: Context, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
    """(key, data) -> HMAC-SHA-256 (FIPS 198-1), 32 bytes, in the token."""
    return _core.keyed_hashes(context.token, context.keys, items)


def encipher(context: Context, items: Sequence[tuple[str, str, str, bytes, bytes]]) -> list[bytes | Exception]:
    """(key, mode, padding, IV, data) -> ciphertext.

    Key: DATA_KEY on the host, triple DES, AES or SM4, whose mode of use permits enciphering (B, E, N); for CTR also
    deciphering, since there one is the other. Padding "none" takes whole blocks only, but for CTR, which has no other.
    Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    NIST SP 800-38A, F.2.1, first block:

    >>> key = load("DATA_KEY", "2B7E151628AED2A6ABF7158809CF4F3C", "AES")
    >>> iv, data = bytes(range(16)), bytes.fromhex("6BC1BEE22E409F96E93D7E117393172A")
    >>> one("encipher", key, "cbc", "none", iv, data).hex().upper()
    '7649ABAC8119B246CEE98E9B12E9197D'
    """
    return _data.encipher(context.keys, items)


def decipher(context: Context, items: Sequence[tuple[str, str, str, bytes, bytes]]) -> list[bytes | Exception]:
    """(key, mode, padding, IV, ciphertext) -> data.

    As `encipher`, with a mode of use that permits deciphering (B, D, N). PaddingError where the data does not end in
    the padding: a stranger who is shown it can decipher everything with it, so check a MAC first.

    >>> key = load("DATA_KEY", "2B7E151628AED2A6ABF7158809CF4F3C", "AES")
    >>> one("decipher", key, "cbc", "none", bytes(range(16)), bytes.fromhex("7649ABAC8119B246CEE98E9B12E9197D")).hex()
    '6bc1bee22e409f96e93d7e117393172a'
    """
    return _data.decipher(context.keys, items)


def reencipher(
    context: Context, items: Sequence[tuple[str, str, bytes, str, str, bytes, bytes]]
) -> list[bytes | Exception]:
    """(source key, mode, IV, target key, mode, IV, ciphertext) -> ciphertext under the target key.

    The clear data never becomes a Python object. Keys: as `decipher` and `encipher`. The data is a whole number of
    blocks of both keys, and its padding travels with it unlooked at: a check would be an oracle. Not from or to CTR:
    whoever may encipher under the target key knows its stream, and with it the data. Fails with KeyNotFound,
    KeyUsageError, InvalidCommand.

    >>> old = load("DATA_KEY", "0123456789ABCDEFFEDCBA9876543210")
    >>> new = load("DATA_KEY", "0123456789ABCDEFFEDCBA9876543210", "SM4")
    >>> stored = one("encipher", old, "ecb", "none", b"", bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
    >>> one("reencipher", old, "ecb", b"", new, "ecb", b"", stored).hex().upper()
    '681EDF34D206965E86B3E94F536E4246'
    """
    return _data.reencipher(context.keys, items)


COMMANDS: Final[Commands] = {
    "seal": seal,
    "unseal": unseal,
    "keyed_hashes": keyed_hashes,
    "encipher": encipher,
    "decipher": decipher,
    "reencipher": reencipher,
}
