"""What the simulated issuer makes of a card that was read: track 2 with its CVV, chip data with its cryptogram."""

import re
from dataclasses import dataclass

from adapters.issuer.messages import IssuerMessage
from adapters.issuer.simulator_card import (
    CHIP_SERVICE_CODE,
    CardKeys,
    application_cryptogram,
    card_key,
    card_verification_value,
    is_equal,
    response_cryptogram,
    session_key,
)
from switch.domain.states import EntryMode

CHIP_ENTRIES = frozenset({EntryMode.NFC, EntryMode.CHIP, EntryMode.BLUETOOTH, EntryMode.PAYER_QR})

# PAN, expiry, service code; then as this issuer writes it: PVKI, PVV, CVV.
_TRACK2 = re.compile(r"(\d{12,19})=(\d{4})(\d{3})(\d)(\d{4})(\d{3})\d*")

# Over what a card of this issuer makes its cryptogram (version 01), with the tags' lengths; then the verification
# results that are in the issuer application data.
_SIGNED = (
    (0x9F02, 6), (0x9F03, 6), (0x9F1A, 2), (0x95, 5), (0x5F2A, 2), (0x9A, 3), (0x9C, 1), (0x9F37, 4), (0x82, 2),
    (0x9F36, 2),
)  # fmt: skip
_VERSION = 0x01
_ARQC = 0x80


@dataclass(slots=True)
class Chip:
    """A cryptogram that verified."""

    counter: int
    cryptogram: bytes
    session_key: bytes

    def response(self, response_code: str) -> bytes:
        """Tag 91: the ARPC and the code that it was made over."""
        code = response_code.encode("ascii")
        return bytes([0x91, 10]) + response_cryptogram(self.session_key, self.cryptogram, code) + code


@dataclass(slots=True)
class Objection(Exception):
    """code: DE39."""

    code: str
    reason: str


def verify_track2(keys: CardKeys, message: IssuerMessage, expiry_yymm: str, service_code: str) -> None:
    """Raises Objection unless the track is this card's and its CVV verifies. No track: nothing to verify."""
    if message.track2 is None or message.pan is None:
        return
    match = _TRACK2.fullmatch(message.track2.reveal())
    if match is None:
        raise Objection("30", "track 2")
    pan, expiry, service, _, _, value = match.groups()
    if pan != message.pan.reveal() or expiry != expiry_yymm or service != service_code:
        raise Objection("14", "track 2 is another card's")
    of_what = CHIP_SERVICE_CODE if message.entry in CHIP_ENTRIES else service
    if not is_equal(card_verification_value(keys.cvv, pan, expiry, of_what), value):
        raise Objection("05", "card verification value")


def verify_chip(keys: CardKeys, message: IssuerMessage) -> Chip | None:
    """The card's cryptogram, verified; None of a card that was not read by its chip. Raises Objection.

    A payer's code is made without a terminal: what only that knows counts as zero.
    """
    if message.entry not in CHIP_ENTRIES or message.pan is None:
        return None
    tags = read_tags(message.emv)
    application_data = tags.get(0x9F10, b"")
    if len(application_data) < 7 or application_data[0] != len(application_data[1:8]):
        raise Objection("30", "issuer application data")
    if application_data[2] != _VERSION:
        raise Objection("05", "cryptogram version")
    if tags.get(0x9F27) != bytes([_ARQC]):
        raise Objection("05", "no request for an authorization")
    signed = b"".join(_element(tags, tag, length, message.entry) for tag, length in _SIGNED) + application_data[3:7]
    if message.entry is not EntryMode.PAYER_QR:
        _check_money(tags, message)
    counter = tags[0x9F36]
    sequence_number = message.card_sequence_number[-2:].zfill(2)
    key = session_key(card_key(keys.ac, message.pan.reveal(), sequence_number), counter)
    cryptogram = tags.get(0x9F26, b"")
    if not is_equal(application_cryptogram(key, signed), cryptogram):
        raise Objection("05", "cryptogram")
    return Chip(int.from_bytes(counter, "big"), cryptogram, key)


def read_tags(data: bytes) -> dict[int, bytes]:
    """BER-TLV with tags of one or two bytes and lengths below 256, none twice. Raises Objection.

    >>> read_tags(bytes.fromhex("9f360200019c0100"))
    {40758: b'\\x00\\x01', 156: b'\\x00'}
    """
    tags: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        width = 2 if data[at] & 0x1F == 0x1F else 1
        tag = int.from_bytes(data[at : at + width], "big")
        at += width
        if data[at : at + 1] == b"\x81":
            at += 1
        if at >= len(data):
            raise Objection("30", "chip data")
        length = data[at]
        value = data[at + 1 : at + 1 + length]
        if len(value) != length or tag in tags:
            raise Objection("30", "chip data")
        tags[tag] = value
        at += 1 + length
    return tags


def _element(tags: dict[int, bytes], tag: int, length: int, entry: EntryMode | None) -> bytes:
    value = tags.get(tag)
    if value is None and entry is EntryMode.PAYER_QR and tag not in (0x9F36, 0x9F37):
        return bytes(length)
    if value is None or len(value) != length:
        raise Objection("30", f"chip data: tag {tag:02X}")
    return value


def _check_money(tags: dict[int, bytes], message: IssuerMessage) -> None:
    amount, currency = tags[0x9F02].hex(), tags[0x5F2A].hex()
    if amount != f"{message.money.amount_minor:012d}" or currency != f"0{message.money.currency_numeric}":
        raise Objection("13", "the card agreed to another amount")
