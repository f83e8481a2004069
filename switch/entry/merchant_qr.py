"""The merchant's QR that the payer's app scanned: EMVCo QR Code Specification, merchant-presented mode.

Every object is a two-digit id, a two-digit length in characters, a value; some values are objects themselves.
"""

import re
from dataclasses import dataclass, field

from switch.domain.authorization import Merchant
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.entry.crc16 import crc16
from switch.entry.errors import EntryError

LONGEST_PAYLOAD = 512

_NUMERIC_TO_CURRENCY = {numeric: code for code, (numeric, _) in CURRENCIES.items()}
_CRC_ID_AND_LENGTH = "6304"
_PRIMITIVE_ACCOUNTS = range(2, 26)
_ACCOUNT_TEMPLATES = range(26, 52)
_UNRESERVED_TEMPLATES = range(80, 100)

# id -> what the value must look like. Accounts (02–51) and templates are checked by their place.
_SHAPES = {
    "00": re.compile("01"), "01": re.compile("1[12]"), "52": re.compile("[0-9]{4}"), "53": re.compile("[0-9]{3}"),
    "54": re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?"), "55": re.compile("0[123]"),
    "56": re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?"), "57": re.compile(r"[0-9]{1,2}(\.[0-9]{1,2})?"),
    "58": re.compile("[A-Z]{2}"), "59": re.compile(".{1,25}"), "60": re.compile(".{1,15}"), "61": re.compile(".{1,10}"),
}  # fmt: skip
_TIP_VALUES = {"02": "56", "03": "57"}
_REQUIRED = ("00", "52", "53", "58", "59", "60")
_TEMPLATES = frozenset({"62", "64"} | {f"{id_}" for id_ in (*_ACCOUNT_TEMPLATES, *_UNRESERVED_TEMPLATES)})


@dataclass(slots=True)
class MerchantQrPayload:
    """What a merchant's code says.

    accounts: ids 02–25 -> the merchant's account with that network. account_templates: ids 26–51, each its own
    objects, "00" naming whose they are. money: None if the payer is to enter the amount; currency: alphabetic.
    one_time: made for a single payment ("12"); None if the code does not say. tip: ids 55–57. additional: template 62
    ("01" bill, "05" reference, "07" terminal …). language: template 64. unreserved: 80–99.
    """

    merchant_name: str
    merchant_city: str
    country: str
    merchant_category_code: str
    currency: str
    amount_minor: int | None = None
    one_time: bool | None = None
    accounts: dict[str, str] = field(default_factory=dict)
    account_templates: dict[str, dict[str, str]] = field(default_factory=dict)
    tip: dict[str, str] = field(default_factory=dict)
    postal_code: str = ""
    additional: dict[str, str] = field(default_factory=dict)
    language: dict[str, str] = field(default_factory=dict)
    unreserved: dict[str, dict[str, str]] = field(default_factory=dict)


def parse_merchant_qr(text: str, field: str = "merchant_qr.payload") -> MerchantQrPayload:
    """Raises EntryError for a wrong CRC, length, order, shape, for what is missing, and for what occurs twice."""
    if len(text) > LONGEST_PAYLOAD:
        raise EntryError(field, f"longer than {LONGEST_PAYLOAD} characters")
    _check_crc(text, field)
    objects = _objects(text[:-8], field)
    if next(iter(objects), None) != "00":
        raise EntryError(field, "does not begin with id 00")
    if "63" in objects:
        raise EntryError(field, "id 63 before the end")
    for id_ in _REQUIRED:
        if id_ not in objects:
            raise EntryError(field, f"id {id_} is missing")
    for id_, shape in _SHAPES.items():
        if id_ in objects and shape.fullmatch(objects[id_]) is None:
            raise EntryError(field, f"id {id_} has a wrong value")
    tip_value = _TIP_VALUES.get(objects.get("55", ""))
    if tip_value is not None and tip_value not in objects:
        raise EntryError(field, f"id {tip_value} is missing")
    templates = {id_: _objects(value, field, id_) for id_, value in objects.items() if id_ in _TEMPLATES}
    payload = _payload(objects, templates, field)
    if not payload.accounts and not payload.account_templates:
        raise EntryError(field, "no merchant account, ids 02 to 51")
    return payload


def build_merchant_qr(payload: MerchantQrPayload) -> str:
    """The code's text, ids ascending, with its CRC. Raises ValueError for a value of more than 99 characters."""
    objects = {"00": "01"}
    if payload.one_time is not None:
        objects["01"] = "12" if payload.one_time else "11"
    objects |= payload.accounts | {id_: _text(inner) for id_, inner in payload.account_templates.items()}
    objects["52"] = payload.merchant_category_code
    objects["53"] = CURRENCIES[payload.currency][0]
    if payload.amount_minor is not None:
        objects["54"] = Money(payload.amount_minor, payload.currency).decimal_text()
    objects |= payload.tip
    objects |= {"58": payload.country, "59": payload.merchant_name, "60": payload.merchant_city}
    if payload.postal_code:
        objects["61"] = payload.postal_code
    if payload.additional:
        objects["62"] = _text(payload.additional)
    if payload.language:
        objects["64"] = _text(payload.language)
    objects |= {id_: _text(inner) for id_, inner in payload.unreserved.items()}
    body = _text(dict(sorted(objects.items()))) + _CRC_ID_AND_LENGTH
    return f"{body}{crc16(body.encode()):04X}"


def check_against(
    payload: MerchantQrPayload, merchant: Merchant, money: Money, field: str = "merchant_qr.payload"
) -> None:
    """The code must be this merchant's and this amount's: EntryError otherwise.

    Names are compared only if the request gives one. Without an amount in the code any amount is right; with a tip
    (ids 55–57) the request's amount is the sum.
    """
    if payload.currency != money.currency:
        raise EntryError(field, "id 53 is not the request's currency")
    if payload.amount_minor is not None and not _amount_fits(payload, payload.amount_minor, money.amount_minor, field):
        raise EntryError(field, "id 54 is not the request's amount")
    if payload.merchant_category_code != merchant.category_code:
        raise EntryError(field, "id 52 is not the merchant's category code")
    if payload.country != merchant.country:
        raise EntryError(field, "id 58 is not the merchant's country")
    if merchant.name and payload.merchant_name != merchant.name:
        raise EntryError(field, "id 59 is not the merchant's name")


def _amount_fits(payload: MerchantQrPayload, asked_minor: int, paid_minor: int, field: str) -> bool:
    """Whether `paid_minor` is what was asked and the tip; a percentage may be rounded either way."""
    tip_minor = paid_minor - asked_minor
    match payload.tip.get("55"):
        case None:
            return tip_minor == 0
        case "01":
            return tip_minor >= 0
        case "02":
            return tip_minor == _amount_minor(payload.tip["56"], payload.currency, field, "56")
        case _:
            whole, _, part = payload.tip["57"].partition(".")
            rate_bp = int(whole + part.ljust(2, "0"))
            return abs(tip_minor * 10_000 - asked_minor * rate_bp) < 10_000


def _check_crc(text: str, field: str) -> None:
    """The last object is the CRC: upper-case hex over the UTF-8 bytes of all before it and its own id and length."""
    if text[-8:-4] != _CRC_ID_AND_LENGTH:
        raise EntryError(field, "does not end with id 63")
    try:
        covered = text[:-4].encode()
    except UnicodeEncodeError:
        raise EntryError(field, "not text") from None
    if text[-4:] != f"{crc16(covered):04X}":
        raise EntryError(field, "the CRC is wrong")


def _objects(text: str, field: str, inside: str = "") -> dict[str, str]:
    """id -> value, in order. `inside`: the template that holds them."""
    place = f" in id {inside}" if inside else ""
    objects: dict[str, str] = {}
    at = 0
    while at < len(text):
        head = text[at : at + 4]
        if len(head) < 4 or not (head.isascii() and head.isdigit()):
            raise EntryError(field, f"no id and length at character {at}{place}")
        id_, length = head[:2], int(head[2:])
        value = text[at + 4 : at + 4 + length]
        if length == 0 or len(value) < length:
            raise EntryError(field, f"id {id_}{place} has a wrong length")
        if id_ in objects:
            raise EntryError(field, f"id {id_}{place} twice")
        objects[id_] = value
        at += 4 + length
    return objects


def _payload(objects: dict[str, str], templates: dict[str, dict[str, str]], field: str) -> MerchantQrPayload:
    currency = _NUMERIC_TO_CURRENCY.get(objects["53"])
    if currency is None:
        raise EntryError(field, "id 53 is not a supported currency")
    return MerchantQrPayload(
        merchant_name=objects["59"],
        merchant_city=objects["60"],
        country=objects["58"],
        merchant_category_code=objects["52"],
        currency=currency,
        amount_minor=_amount_minor(objects["54"], currency, field) if "54" in objects else None,
        one_time=objects["01"] == "12" if "01" in objects else None,
        accounts={id_: value for id_, value in objects.items() if int(id_) in _PRIMITIVE_ACCOUNTS},
        account_templates={id_: inner for id_, inner in templates.items() if int(id_) in _ACCOUNT_TEMPLATES},
        tip={id_: objects[id_] for id_ in ("55", "56", "57") if id_ in objects},
        postal_code=objects.get("61", ""),
        additional=templates.get("62", {}),
        language=templates.get("64", {}),
        unreserved={id_: inner for id_, inner in templates.items() if int(id_) in _UNRESERVED_TEMPLATES},
    )


def _amount_minor(text: str, currency: str, field: str, id_: str = "54") -> int:
    whole, _, part = text.partition(".")
    exponent = CURRENCIES[currency][1]
    if len(part) > exponent:
        raise EntryError(field, f"id {id_} has more decimals than its currency")
    amount_minor = int(whole + part.ljust(exponent, "0"))
    if not 1 <= amount_minor <= LARGEST_AMOUNT_MINOR:
        raise EntryError(field, f"id {id_} is out of range")
    return amount_minor


def _text(objects: dict[str, str]) -> str:
    parts = []
    for id_, value in objects.items():
        if not 1 <= len(value) <= 99:
            raise ValueError(f"id {id_} has {len(value)} characters")
        parts.append(f"{id_}{len(value):02d}{value}")
    return "".join(parts)
