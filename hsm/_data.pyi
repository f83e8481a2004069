"""Encryption of data under data keys. What the items are: `hsm.commands.data`."""

from collections.abc import Sequence

from hsm._core import Key

def encipher(keys: dict[str, Key], items: Sequence[tuple[str, str, str, bytes, bytes]]) -> list[bytes | Exception]: ...
def decipher(keys: dict[str, Key], items: Sequence[tuple[str, str, str, bytes, bytes]]) -> list[bytes | Exception]: ...
def reencipher(
    keys: dict[str, Key], items: Sequence[tuple[str, str, bytes, str, str, bytes, bytes]]
) -> list[bytes | Exception]: ...
