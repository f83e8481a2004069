"""Format-preserving encryption. What the items are: `hsm.commands.fpe`."""

from collections.abc import Sequence

from hsm._core import Key

def encipher(
    keys: dict[str, Key], items: Sequence[tuple[str, str, bytes, int | str, str]]
) -> list[str | Exception]: ...
def decipher(
    keys: dict[str, Key], items: Sequence[tuple[str, str, bytes, int | str, str]]
) -> list[str | Exception]: ...
