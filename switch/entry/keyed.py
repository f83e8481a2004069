"""A card number, or a network's token for one, without chip data."""

import re

from switch.domain.authorization import CardCredential
from switch.domain.payment_token import is_token
from switch.domain.sensitive import Pan, luhn_valid
from switch.entry.errors import EntryError

_PAN_PATTERN = re.compile(r"[0-9]{12,19}")
_EXPIRY_PATTERN = re.compile(r"[0-9]{2}(0[1-9]|1[0-2])")


def parse_keyed(pan: str, expiry_yymm: str, field: str = "keyed") -> CardCredential:
    """pan: 12 to 19 digits with a valid check digit (ISO/IEC 7812-1). field: the message that holds `pan` and `expiry`.

    Whether the card has expired is for its issuer to say. Raises EntryError.

    >>> parse_keyed("6225880000001231", "3012").pan
    <Pan 622588******1231>
    """
    if _PAN_PATTERN.fullmatch(pan) is None:
        raise EntryError(f"{field}.pan", "not 12 to 19 digits")
    if not luhn_valid(pan):
        raise EntryError(f"{field}.pan", "the check digit is wrong")
    if is_token(pan):
        raise EntryError(f"{field}.pan", "a payment token, which only the vault turns into a card number")
    if _EXPIRY_PATTERN.fullmatch(expiry_yymm) is None:
        raise EntryError(f"{field}.expiry", "not YYMM")
    return CardCredential(Pan(pan), expiry_yymm)
