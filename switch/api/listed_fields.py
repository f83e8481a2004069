"""Fields that the merchant services' requests have in common."""

import re
from typing import Final
from uuid import UUID

from switch.api.errors import InvalidField

MERCHANT_ID: Final = re.compile(r"[0-9A-Za-z]{1,15}", re.ASCII).fullmatch
_PAGE_SIZE: Final = 50
_LARGEST_PAGE: Final = 500
_LARGEST_TOKEN: Final = 200


def merchant_id(value: str) -> str:
    if not MERCHANT_ID(value):
        raise InvalidField("merchant_id", "must be 1 to 15 letters or digits")
    return value


def uuid_of(value: str, field: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise InvalidField(field, "must be a UUID") from error


def page_size(value: int) -> int:
    if value > _LARGEST_PAGE:
        raise InvalidField("page_size", f"must be at most {_LARGEST_PAGE}")
    return value or _PAGE_SIZE


def page_token(value: str) -> str:
    if len(value) > _LARGEST_TOKEN:
        raise InvalidField("page_token", "is not one of ours")
    return value


def text(value: str, field: str, longest: int, *, shortest: int = 0) -> str:
    """Printable, of that many characters."""
    if not shortest <= len(value) <= longest or not value.isprintable():
        raise InvalidField(field, f"must be {shortest} to {longest} printable characters")
    return value
