"""What the HSM answered, as the vault takes it: a value, a refusal that it expects, or an error to raise."""

from collections.abc import Sequence
from typing import Any, Final

from switch.domain.payment_token import Refusal

_EXPECTED: Final = {
    "MacMismatch": Refusal.BROKEN,
    "CryptogramMismatch": Refusal.CRYPTOGRAM,
    "TooManyFailures": Refusal.TOO_MANY_FAILURES,
}
"""Errors of `hsm` by their names: `switch` meets the HSM by shape, and imports nothing of it."""


def values_of(answers: Sequence[Any]) -> list[Any]:
    """All of them are values, or the first error is raised."""
    for each in answers:
        if isinstance(each, Exception):
            raise each
    return list(answers)


def verdicts_of(answers: Sequence[Any]) -> list[Any]:
    """Refusals in place of the errors that say something of an item; any other error is raised."""
    return values_of(
        [_EXPECTED.get(type(each).__name__, each) if isinstance(each, Exception) else each for each in answers]
    )
