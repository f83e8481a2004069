"""What a scanner reads from the payer's screen: a wallet's digits, or an EMVCo consumer-presented code."""

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

from switch.domain.authorization import CardCredential, CodeCredential, Credential
from switch.domain.dynamic_code import NotACode, read_code
from switch.domain.payment_codes import OWN_SCHEME, code_range_of
from switch.domain.sensitive import PaymentCode
from switch.domain.states import EntryMode
from switch.entry._tlv import encode, parse_nested
from switch.entry.emv import SEQUENCE_NUMBER, TRACK2, card_from, check_elements, track2_equivalent
from switch.entry.errors import EntryError

if TYPE_CHECKING:  # a type of the extension's stub: nothing of that name exists at run time
    from switch.entry._tlv import Tree

UNIONPAY_RID = bytes.fromhex("A000000333")
UNIONPAY_DEBIT = bytes.fromhex("A000000333010101")

_SHORTEST, _LONGEST = 16, 512

# EMVCo QR Code Specification, consumer-presented mode.
_FORMAT = 0x85
_FORMAT_1 = b"CPV01"
_APPLICATION = 0x61
_COMMON = 0x62
_APPLICATION_TRANSPARENT = 0x63
_COMMON_TRANSPARENT = 0x64
_APPLICATION_ID = 0x4F
# Without these the code would be a card number that anybody may copy: cryptogram, issuer data, counter, nonce.
_CRYPTOGRAM = (0x9F26, 0x9F10, 0x9F36, 0x9F37)


def parse_payer_code(text: str, field: str = "payer_code.code") -> tuple[EntryMode, Credential]:
    """Digits are a wallet's code, told apart by prefix and length; anything else is base64 of BER-TLV.

    `switch.domain.payment_codes` has the prefixes. Raises EntryError.

    >>> parse_payer_code("134512345678901234")
    (<EntryMode.PAYER_CODE: 2>, CodeCredential(scheme='wechat', code=<PaymentCode 13**************34>))
    """
    if not _SHORTEST <= len(text) <= _LONGEST:
        raise EntryError(field, f"not {_SHORTEST} to {_LONGEST} characters")
    if not text.isascii():
        raise EntryError(field, "neither digits nor base64")
    if text.isdigit():
        return EntryMode.PAYER_CODE, CodeCredential(_scheme_of(text, field), PaymentCode(text))
    try:
        payload = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise EntryError(field, "neither digits nor base64") from None
    return EntryMode.PAYER_QR, _parse_consumer_presented(payload, field)


def build_cpm(
    pan: str,
    expiry_yymm: str,
    cryptogram: Mapping[int, bytes],
    sequence_number: str = "001",
    application_id: bytes = UNIONPAY_DEBIT,
) -> str:
    """The consumer-presented code that a payer's app shows: base64, one application, its data in template 63.

    cryptogram: 9F26, 9F27, 9F10, 9F36, 82 and 9F37, in the order in which they are to be written.
    """
    application = encode(
        [
            (_APPLICATION_ID, application_id),
            (TRACK2, track2_equivalent(pan, expiry_yymm)),
            (SEQUENCE_NUMBER, bytes.fromhex(sequence_number[-2:])),
            (_APPLICATION_TRANSPARENT, encode(cryptogram.items())),
        ]
    )
    return base64.b64encode(encode([(_FORMAT, _FORMAT_1), (_APPLICATION, application)])).decode()


def _scheme_of(digits: str, field: str) -> str:
    known = code_range_of(digits)
    if known is None:
        raise EntryError(field, "no wallet's codes begin with these two digits")
    if len(digits) not in known.lengths:
        raise EntryError(field, f"{len(digits)} digits is not the length of this wallet's codes")
    if known.scheme == OWN_SCHEME:
        try:
            read_code(digits)
        except NotACode as error:
            raise EntryError(field, str(error)) from None
    return known.scheme


def _parse_consumer_presented(payload: bytes, field: str) -> CardCredential:
    tree = parse_nested(payload, field)
    if not tree or tree[0] != (_FORMAT, _FORMAT_1):
        raise EntryError(field, "does not begin with tag 85, CPV01")
    application = _chosen_application(tree, field)
    commons = _templates(tree, _COMMON)
    if len(commons) > 1:
        raise EntryError(field, "tag 62 twice")
    # The application's own data come before what all applications share.
    tags: dict[int, bytes] = {}
    if commons:
        tags |= _elements(commons[0], _COMMON_TRANSPARENT, field)
    tags |= _elements(application, _APPLICATION_TRANSPARENT, field)
    for tag in _CRYPTOGRAM:
        if tag not in tags:
            raise EntryError(field, f"tag {tag:02X} is missing")
    return card_from(tags, check_elements(tags, field), field)


def _chosen_application(tree: "Tree", field: str) -> "Tree":
    """UnionPay's application if there is one, else the first: the payer's app lists them by preference."""
    applications = _templates(tree, _APPLICATION)
    if not applications:
        raise EntryError(field, "tag 61 is missing")
    for application in applications:
        if not any(tag == _APPLICATION_ID for tag, _ in application):
            raise EntryError(field, "tag 4F is missing")
    for application in applications:
        for tag, value in application:
            if tag == _APPLICATION_ID and isinstance(value, bytes) and value.startswith(UNIONPAY_RID):
                return application
    return applications[0]


def _templates(tree: "Tree", wanted: int) -> "list[Tree]":
    return [value for tag, value in tree if tag == wanted and isinstance(value, list)]


def _elements(template: "Tree", transparent: int, field: str) -> dict[int, bytes]:
    """The primitive elements of a template and of the transparent template inside it; none may occur twice."""
    tags: dict[int, bytes] = {}
    inner = [pair for each in _templates(template, transparent) for pair in each]
    for tag, value in [*template, *inner]:
        if isinstance(value, list):
            continue
        if tag in tags:
            raise EntryError(field, f"tag {tag:02X} twice")
        tags[tag] = value
    return tags
