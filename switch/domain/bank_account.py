"""Where a merchant is paid out."""

import re
from dataclasses import dataclass, field
from typing import Final

_NUMBER: Final = re.compile(r"[A-Z0-9]{8,34}")
_IBAN: Final = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_CNAPS: Final = re.compile(r"\d{12}", re.ASCII)
_BIC: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")


@dataclass(frozen=True, slots=True)
class BankAccount:
    """number: account number or IBAN. bank_code: CNAPS or BIC."""

    name: str
    number: str = field(repr=False)
    bank_code: str


def is_account_number(text: str) -> bool:
    """8 to 34 of A-Z 0-9; what looks like an IBAN must have its check digits (ISO 13616, ISO 7064 MOD 97-10).

    >>> is_account_number("6222021234567890"), is_account_number("GB82WEST12345698765432")
    (True, True)
    >>> is_account_number("GB83WEST12345698765432"), is_account_number("1234 5678")
    (False, False)
    """
    if _NUMBER.fullmatch(text) is None:
        return False
    if _IBAN.fullmatch(text) is None:
        return True
    return int("".join(str(int(each, 36)) for each in text[4:] + text[:4])) % 97 == 1


def is_bank_code(text: str) -> bool:
    """CNAPS, 12 digits, or BIC, 8 or 11 characters (ISO 9362).

    >>> is_bank_code("102290002916"), is_bank_code("ICBKCNBJSHI"), is_bank_code("ICBK")
    (True, True, False)
    """
    return _CNAPS.fullmatch(text) is not None or _BIC.fullmatch(text) is not None


def masked(number: str) -> str:
    """
    >>> masked("6222021234567890")
    '************7890'
    """
    return "*" * (len(number) - 4) + number[-4:]
