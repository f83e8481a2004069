"""What a person logs in with: an e-mail address or a telephone number, in one spelling each."""

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class LoginKind(IntEnum):
    """Stored."""

    EMAIL = 1
    PHONE = 2


@dataclass(frozen=True, slots=True)
class Login:
    """text: normalized; personal data, so that no repr shows it."""

    kind: LoginKind
    text: str = field(repr=False)


_LONGEST: Final = 254  # RFC 5321 4.5.3.1.3, less the brackets
_LOCAL: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# RFC 5322's dot-atom. No quotes, no comments, ASCII only: two logins that look alike are alike.
_EMAIL: Final = re.compile(rf"(?=.{{1,64}}@){_LOCAL}(?:\.{_LOCAL})*@{_LABEL}(?:\.{_LABEL})+", re.ASCII)
_PHONE: Final = re.compile(r"\+[1-9][0-9]{7,14}", re.ASCII)
_BETWEEN_DIGITS: Final = str.maketrans("", "", " -.()")


def parse_login(text: str) -> Login:
    """The login that `text` spells; upper and lower case are one. Raises ValueError.

    >>> parse_login(" Li.Lei@Example.COM ").text, parse_login("+86 138-0013-8000").text
    ('li.lei@example.com', '+8613800138000')
    >>> parse_login("13800138000")
    Traceback (most recent call last):
    ValueError: must be an e-mail address (ASCII), or a telephone number with + and country code
    """
    plain = text.strip(" ")
    if plain.startswith("+"):
        # E.164: at most 15 digits, the country code's first one is no zero.
        number = plain.translate(_BETWEEN_DIGITS)
        if len(plain) <= 32 and _PHONE.fullmatch(number):
            return Login(LoginKind.PHONE, number)
    elif plain.isascii() and len(plain) <= _LONGEST and _EMAIL.fullmatch(plain.lower()):
        return Login(LoginKind.EMAIL, plain.lower())
    raise ValueError("must be an e-mail address (ASCII), or a telephone number with + and country code")
