"""What people call their things."""

import unicodedata
from typing import Final

from switch.domain.refusals import Invalid

_LONGEST: Final = 64


def name_from(text: str, field: str = "name", *, empty: bool = False) -> str:
    """A name of 1 to 64 characters that shows as what it is. Raises Invalid.

    >>> name_from(" Pixel 9 ")
    'Pixel 9'
    """
    name = unicodedata.normalize("NFC", text[: 4 * _LONGEST + 1]).strip()
    if len(name) > _LONGEST or (not name and not empty):
        raise Invalid(field, f"must have 1 to {_LONGEST} characters")
    # Controls, and what turns the direction of text or hides in it.
    if any(unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") for each in name):
        raise Invalid(field, "has a character that does not show")
    return name
