"""Encryption of data, sealing and keyed hashes."""

from collections.abc import Sequence
from typing import Final

from hsm import _core
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


COMMANDS: Final[Commands] = {"seal": seal, "unseal": unseal, "keyed_hashes": keyed_hashes}
