"""Values that must not be printed: PAN, track data, wallet codes (PCI DSS 3.3, 3.5)."""

import hmac
from typing import NoReturn


class Sensitive:
    """A string that shows itself only to code that asks with `reveal()`.

    `repr`, `str`, `format` and logging print a mask; pickling raises. Equality is constant-time.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def masked(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.masked()}>"

    def __str__(self) -> str:
        return self.masked()

    def __format__(self, spec: str) -> str:
        return format(self.masked(), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> NoReturn:
        raise TypeError("a sensitive value is not a dictionary key; use its keyed hash")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sensitive value is not pickled")


class Pan(Sensitive):
    """A primary account number (ISO/IEC 7812-1), 12 to 19 digits."""

    __slots__ = ()

    def masked(self) -> str:
        """First six and last four digits, the most PCI DSS 3.4.1 allows.

        >>> str(Pan("6225880000001234"))
        '622588******1234'
        """
        value = self._value
        return f"{value[:6]}{'*' * (len(value) - 10)}{value[-4:]}" if len(value) >= 12 else "***"


class PaymentCode(Sensitive):
    """A payer-presented wallet code (16 to 24 digits); the first two choose the wallet."""

    __slots__ = ()

    def masked(self) -> str:
        """
        >>> str(PaymentCode("285012345678901234"))
        '28**************34'
        """
        value = self._value
        return f"{value[:2]}{'*' * (len(value) - 4)}{value[-2:]}" if len(value) >= 8 else "***"


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the ISO/IEC 7812-1 annex B check digit of the others.

    >>> luhn_valid("6225880000001239"), luhn_valid("6225880000001231")
    (False, True)
    """
    if not digits.isascii():
        return False
    backwards = digits.encode("ascii")[::-1]
    return luhn_sum(backwards[1::2], backwards[0::2]) % 10 == 0


def luhn_sum(doubled: bytes, single: bytes) -> int:
    """Of ASCII digits, those to be doubled and the others."""
    return sum(doubled.translate(_DOUBLED)) + sum(single) - 48 * (len(doubled) + len(single))


# Of each digit's code the code of its double's sum of digits; of any other itself.
_DOUBLED = bytes(48 + sum(divmod(2 * (code - 48), 10)) if 48 <= code < 58 else code for code in range(256))
