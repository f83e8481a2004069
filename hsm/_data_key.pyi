"""The typed face of envelope encryption; what each takes and gives: `hsm.commands.data_key`."""

from collections.abc import Sequence

from hsm._core import Key, Token

def make(token: Token, keys: dict[str, Key], items: Sequence[tuple[str]]) -> list[bytes | Exception]: ...
def rewrap(token: Token, keys: dict[str, Key], items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]: ...
def seal(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, bytes, bytes]]
) -> list[bytes | Exception]: ...
def unseal(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, bytes, bytes, bytes]]
) -> list[bytes | Exception]: ...
