"""A business's registration: the unified social credit code (GB 32100-2015), or another country's number."""

import re
from enum import IntEnum
from typing import Final

_CHARACTERS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_FOREIGN: Final = re.compile(r"[A-Z0-9](?:[A-Z0-9./-]{2,38})[A-Z0-9]")


class RegistrationKind(IntEnum):
    """The numbers are stored: they are never reused."""

    UNIFIED_SOCIAL_CREDIT = 1
    FOREIGN = 2


def check_character(first_17: str) -> str:
    """Of a unified social credit code. Weights are the powers of 3 modulo 31. Raises ValueError for other characters.

    >>> check_character("91440300192203821"), check_character("9144030071526726X")
    ('6', 'G')
    """
    weighted = sum(_CHARACTERS.index(each) * pow(3, place, 31) for place, each in enumerate(first_17))
    return _CHARACTERS[-weighted % 31]


def is_registration(kind: RegistrationKind, text: str) -> bool:
    """
    >>> is_registration(RegistrationKind.UNIFIED_SOCIAL_CREDIT, "914403001922038216")
    True
    >>> is_registration(RegistrationKind.UNIFIED_SOCIAL_CREDIT, "914403001922038261")
    False
    """
    if kind is RegistrationKind.FOREIGN:
        return _FOREIGN.fullmatch(text) is not None
    if len(text) != 18 or any(each not in _CHARACTERS for each in text) or not text[2:8].isdigit():
        return False
    return check_character(text[:17]) == text[17]
