"""The typed face of the card codes. Shapes and errors: `hsm.commands.card`."""

from collections.abc import Sequence

from hsm._core import Key

def card_codes(keys: dict[str, Key], items: Sequence[tuple[str, str, str, str]]) -> list[str | Exception]: ...
def verify_card_codes(
    keys: dict[str, Key], items: Sequence[tuple[str, str, str, str, str]]
) -> list[Exception | None]: ...
