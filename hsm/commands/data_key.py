"""Envelope encryption (NIST SP 800-57 part 1, 6.2.3.1): data under data keys, data keys under a key of the token.

A store of many records seals each under a data key that it keeps beside them, wrapped. To rotate the wrapping key only
the few data keys are wrapped anew, and the millions of records stay as they are. A clear data key exists in one locked
page for the length of one item; no command gives it away, since a KEY_WRAPPING key does nothing else.
"""

from collections.abc import Sequence
from typing import Final

from hsm import _data_key
from hsm.commands.context import Commands, Context


def make_data_keys(context: Context, items: Sequence[tuple[str]]) -> list[bytes | Exception]:
    """(wrapping key,) -> a new AES-256 data key, wrapped: nonce (12) ‖ ciphertext (32) ‖ tag (16), AES-256-GCM.

    Fails with KeyNotFound, KeyUsageError, InvalidCommand.

    >>> wrapping = load_in_token("KEY_WRAPPING", bytes(range(32)).hex(), "AES")
    >>> len(one("make_data_keys", wrapping))
    60
    """
    return _data_key.make(context.token, context.keys, items)


def rewrap_data_keys(context: Context, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
    """(wrapping key, new wrapping key, wrapped data key) -> the data key under the new one. MacMismatch if broken.

    >>> old = load_in_token("KEY_WRAPPING", bytes(range(32)).hex(), "AES")
    >>> new = load_in_token("KEY_WRAPPING", bytes(range(1, 33)).hex(), "AES")
    >>> data_key = one("make_data_keys", old)
    >>> sealed = one("seal_with_data_keys", old, data_key, b"data", b"row 7")
    >>> one("unseal_with_data_keys", new, one("rewrap_data_keys", old, new, data_key), sealed, b"row 7")
    b'data'
    """
    return _data_key.rewrap(context.token, context.keys, items)


def seal_with_data_keys(context: Context, items: Sequence[tuple[str, bytes, bytes, bytes]]) -> list[bytes | Exception]:
    """(wrapping key, wrapped data key, data, associated data) -> nonce (12) ‖ ciphertext ‖ tag (16), AES-256-GCM.

    The nonce is random: use a data key for less than 2^32 items (NIST SP 800-38D, 8.3).

    >>> wrapping = load_in_token("KEY_WRAPPING", bytes(range(32)).hex(), "AES")
    >>> len(one("seal_with_data_keys", wrapping, one("make_data_keys", wrapping), b"data", b"row 7"))
    32
    """
    return _data_key.seal(context.token, context.keys, items)


def unseal_with_data_keys(
    context: Context, items: Sequence[tuple[str, bytes, bytes, bytes]]
) -> list[bytes | Exception]:
    """(wrapping key, wrapped data key, sealed, associated data) -> data, or MacMismatch.

    A data key (bytes 1 to 32) and what it sealed, made with another implementation of AES-256-GCM:

    >>> from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    >>> wrapping, data_key = load_in_token("KEY_WRAPPING", bytes(range(32)).hex(), "AES"), bytes(range(1, 33))
    >>> wrapped = bytes(12) + AESGCM(bytes(range(32))).encrypt(bytes(12), data_key, b"payswitch data key, version 1")
    >>> sealed = bytes(12) + AESGCM(data_key).encrypt(bytes(12), b"data", b"row 7")
    >>> one("unseal_with_data_keys", wrapping, wrapped, sealed, b"row 7")
    b'data'
    """
    return _data_key.unseal(context.token, context.keys, items)


COMMANDS: Final[Commands] = {
    "make_data_keys": make_data_keys,
    "rewrap_data_keys": rewrap_data_keys,
    "seal_with_data_keys": seal_with_data_keys,
    "unseal_with_data_keys": unseal_with_data_keys,
}
