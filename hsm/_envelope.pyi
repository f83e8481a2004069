"""The receiving side of HPKE (RFC 9180) with private keys in the token. Policy is in `hsm.commands.envelope`."""

from collections.abc import Sequence

from hsm._core import Key, Token

def open_envelopes(
    token: Token, keys: dict[str, Key], items: Sequence[tuple[str, int, bytes, bytes, bytes, bytes]]
) -> list[bytes | Exception]: ...
