"""A contactless tap: EMV data objects become a card, and the part of them that the channel gets (DE55)."""

import re
from collections.abc import Mapping

from switch.domain.authorization import CardCredential
from switch.domain.money import Money
from switch.domain.payment_token import is_token
from switch.domain.sensitive import Pan, Sensitive, luhn_valid
from switch.entry._tlv import encode_present, parse_flat
from switch.entry.errors import EntryError

TRACK2 = 0x57
PAN = 0x5A
EXPIRY = 0x5F24
SEQUENCE_NUMBER = 0x5F34
AMOUNT = 0x9F02
CURRENCY = 0x5F2A
TRANSACTION_DATE = 0x9A
CRYPTOGRAM_INFORMATION = 0x9F27

# EMV Book 3, table 14: an AAC is the card's own decline. Whether a TC will do is for the issuer to say.
_CRYPTOGRAM_TYPE = 0xC0
_DECLINED_BY_CARD = 0x00

# EMV Book 3 Annex A and UnionPay's own (9F63, 9F74): tag -> (shortest, longest in bytes, packed digits).
_ELEMENTS: dict[int, tuple[int, int, bool]] = {
    0x57: (9, 19, False), 0x5A: (6, 10, False), 0x5F24: (3, 3, True), 0x5F34: (1, 1, True),
    0x9F26: (8, 8, False), 0x9F27: (1, 1, False), 0x9F10: (1, 32, False), 0x9F37: (4, 4, False),
    0x9F36: (2, 2, False), 0x95: (5, 5, False), 0x9A: (3, 3, True), 0x9C: (1, 1, True),
    0x9F02: (6, 6, True), 0x5F2A: (2, 2, True), 0x82: (2, 2, False), 0x9F1A: (2, 2, True),
    0x9F03: (6, 6, True), 0x9F33: (3, 3, False), 0x9F34: (3, 3, False), 0x9F35: (1, 1, True),
    0x9F1E: (8, 8, False), 0x84: (5, 16, False), 0x9F09: (2, 2, False), 0x9F41: (2, 4, True),
    0x9F53: (1, 1, False), 0x9F63: (16, 16, False), 0x9F74: (6, 6, False),
}  # fmt: skip

# What DE55 must carry, and what it may.
REQUIRED = (
    0x9F26, 0x9F27, 0x9F10, 0x9F37, 0x9F36, 0x95, 0x9A, 0x9C, 0x9F02, 0x5F2A, 0x82, 0x9F1A, 0x9F03, 0x9F33,
)  # fmt: skip
OPTIONAL = (0x9F34, 0x9F35, 0x9F1E, 0x84, 0x9F09, 0x9F41, 0x9F53, 0x9F63, 0x9F74)

_FORWARDED = REQUIRED + OPTIONAL
_REQUIRED = frozenset(REQUIRED)
_PAN_PATTERN = re.compile(r"([0-9]{12,19})F*")
# ISO/IEC 7813: PAN, separator, YYMM, service code, discretionary data; 37 characters; one F fills the last byte.
_TRACK2_PATTERN = re.compile(r"(?=.{0,37}F?$)([0-9]{12,19})D([0-9]{4})[0-9]{3,}F?")


def parse_tap(emv: bytes, money: Money | None = None, field: str = "nfc.emv") -> CardCredential:
    """The card behind a tap; `emv` of the result is what DE55 carries (at most 198 bytes, no PAN, no track).

    emv: BER-TLV, at most 1,024 bytes, with REQUIRED, with 57 or 5A, and with 5F24 unless 57 tells the expiry.
    money: of the request; 9F02 and 5F2A, over which the card's cryptogram was made, must say the same.
    Raises EntryError. Source: EMV Book 3 Annex A; UnionPay DE55.
    """
    tags = parse_flat(emv, field)
    if not tags.keys() >= _REQUIRED:
        missing = next(tag for tag in REQUIRED if tag not in tags)
        raise EntryError(field, f"tag {missing:02X} is missing")
    forwarded = check_elements(tags, field)
    if tags[CRYPTOGRAM_INFORMATION][0] & _CRYPTOGRAM_TYPE == _DECLINED_BY_CARD:
        raise EntryError(field, "tag 9F27 says that the card declined")
    if money is not None:
        _check_money(tags, money, field)
    card = card_from(tags, forwarded, field)
    if not card.expiry_yymm:
        raise EntryError(field, "tag 5F24 is missing")
    return card


def check_elements(tags: dict[int, bytes], field: str) -> bytes:
    """Check the length and digits of every known element; return those that DE55 carries, encoded in its order.

    Unknown tags are neither an error nor forwarded.
    """
    for tag, value in tags.items():
        element = _ELEMENTS.get(tag)
        if element is None:
            continue
        shortest, longest, packed_digits = element
        if not shortest <= len(value) <= longest:
            raise EntryError(field, f"tag {tag:02X} has {len(value)} bytes")
        if packed_digits and not value.hex().isdigit():
            raise EntryError(field, f"tag {tag:02X} is not packed digits")
    for tag in (EXPIRY, TRANSACTION_DATE):
        if tag in tags and not _is_date(tags[tag].hex()):
            raise EntryError(field, f"tag {tag:02X} is not a date YYMMDD")
    return encode_present(tags, _FORWARDED)


def card_from(tags: Mapping[int, bytes], forwarded: bytes, field: str) -> CardCredential:
    """The card that 57, 5A, 5F24 and 5F34 tell; where two tell the same thing they must agree.

    The lengths have been checked. expiry_yymm is "" if neither 57 nor 5F24 is there.
    """
    pan = expiry_yymm = ""
    track2 = None
    if TRACK2 in tags:
        text = tags[TRACK2].hex().upper()
        match = _TRACK2_PATTERN.fullmatch(text)
        if match is None:
            raise EntryError(field, "tag 57 is not track 2 data")
        pan, expiry_yymm = match.groups()
        track2 = Sensitive(text.removesuffix("F").replace("D", "="))
    if PAN in tags:
        pan = _agreed(pan, _pan_of(tags[PAN], field), "57 and 5A", field)
    if EXPIRY in tags:
        expiry_yymm = _agreed(expiry_yymm, tags[EXPIRY].hex()[:4], "57 and 5F24", field)
    if not pan:
        raise EntryError(field, "neither tag 57 nor 5A is there")
    if not luhn_valid(pan):
        raise EntryError(field, "the card number's check digit is wrong")
    if is_token(pan):
        raise EntryError(field, "a payment token, which only the vault turns into a card number")
    if expiry_yymm and not "01" <= expiry_yymm[2:] <= "12":
        raise EntryError(field, "the expiry date's month is wrong")
    sequence_number = tags[SEQUENCE_NUMBER].hex().zfill(3) if SEQUENCE_NUMBER in tags else ""
    return CardCredential(Pan(pan), expiry_yymm, sequence_number, track2, forwarded)


def track2_equivalent(pan: str, expiry_yymm: str, service_code: str = "201", discretionary: str = "") -> bytes:
    """Tag 57 as a card holds it (ISO/IEC 7813, packed).

    >>> track2_equivalent("6225880000001231", "3012").hex()
    '6225880000001231d3012201'
    """
    text = f"{pan}D{expiry_yymm}{service_code}{discretionary}"
    return bytes.fromhex(text + "F" * (len(text) % 2))


def _pan_of(value: bytes, field: str) -> str:
    match = _PAN_PATTERN.fullmatch(value.hex().upper())
    if match is None:
        raise EntryError(field, "tag 5A is not a card number")
    return match[1]


def _agreed(known: str, other: str, named: str, field: str) -> str:
    if known and known != other:
        raise EntryError(field, f"tags {named} disagree")
    return other


def _is_date(yymmdd: str) -> bool:
    return "01" <= yymmdd[2:4] <= "12" and "01" <= yymmdd[4:] <= "31"


def _check_money(tags: dict[int, bytes], money: Money, field: str) -> None:
    if int(tags[AMOUNT].hex()) != money.amount_minor:
        raise EntryError(field, "tag 9F02 is not the request's amount")
    if tags[CURRENCY].hex() != "0" + money.currency_numeric:
        raise EntryError(field, "tag 5F2A is not the request's currency")
