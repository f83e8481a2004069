"""The name of an order or a shop code, in a QR or an address: written for payers, and read when it comes back."""

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final
from uuid import UUID

from switch.domain.authorization import Merchant
from switch.domain.money import Money
from switch.entry.errors import EntryError
from switch.entry.merchant_qr import MerchantQrPayload, build_merchant_qr, check_against, parse_merchant_qr
from switch.entry.ndef import LONGEST_URI

# Whose the template is: a UUID, as EMVCo QR Code Specification (merchant-presented mode) 4.7.8 allows.
OURS: Final = "60cf88eee40a5f4ca0252ad3878f73c9"
_TEMPLATE: Final = "26"
_UNIONPAY: Final = "15"
_LONGEST: Final = 512

_REFERENCE = re.compile(r"(?P<merchant>[0-9A-Za-z]{1,15})\.(?P<id>[0-9a-f]{32})", re.ASCII).fullmatch
_PATH = re.compile(r"/(?P<kind>[qs])/(?P<reference>[0-9A-Za-z.]{34,48})", re.ASCII).fullmatch


class Named(Enum):
    """The letter is in addresses, the number in our template: neither is ever given another meaning."""

    ORDER = ("q", "01")
    SHOP_CODE = ("s", "02")


_BY_LETTER: Final = {each.value[0]: each for each in Named}


@dataclass(frozen=True, slots=True)
class Name:
    """emv: the payload it was read from, if it was one; what it says must agree with what it names."""

    named: Named
    merchant_id: str
    id: UUID
    emv: MerchantQrPayload | None = None

    @property
    def path(self) -> str:
        """
        >>> Name(Named.ORDER, "m1", UUID(int=1)).path
        '/q/m1.00000000000000000000000000000001'
        """
        return f"/{self.named.value[0]}/{self.merchant_id}.{self.id.hex}"


def address_of(name: Name, public_url: str) -> str:
    """public_url: https, without a slash at its end. Short enough for a tag."""
    address = public_url + name.path
    if len(address) > LONGEST_URI:
        raise ValueError("the public address is too long")
    return address


def unionpay_account(merchant_id: str, acquiring_id: str, forwarding_id: str) -> dict[str, str]:
    """Id 15: the acquirer's and the forwarding institution's numbers (8 digits each), then the merchant's (15).

    Nothing where they have other lengths: a code that UnionPay's app would refuse must not promise to be its own.
    """
    if len(acquiring_id) != 8 or len(forwarding_id) != 8 or len(merchant_id) != 15:
        return {}
    return {_UNIONPAY: f"{acquiring_id}{forwarding_id}{merchant_id}"}


def emv_text(name: Name, merchant: Merchant, currency: str, amount_minor: int | None, accounts: dict[str, str]) -> str:
    """Dynamic with an amount, static without one. accounts: others' beside ours."""
    ours = {_TEMPLATE: {"00": OURS, name.named.value[1]: f"{merchant.id}.{name.id.hex}"}}
    payload = MerchantQrPayload(
        _shown_name(merchant), merchant.city[:13] or "-", merchant.country, merchant.category_code, currency,
        amount_minor, amount_minor is not None, dict(accounts), ours,
    )  # fmt: skip
    return build_merchant_qr(payload)


def _shown_name(merchant: Merchant) -> str:
    return merchant.name[:25] or merchant.id


def read_name(scanned: str, public_url: str, field: str = "scanned") -> Name:
    """A QR's text or an address of ours. Raises EntryError for everything else, other people's addresses included."""
    if len(scanned) > _LONGEST:
        raise EntryError(field, f"longer than {_LONGEST} characters")
    if scanned.startswith("000201"):
        return _in_template(scanned, field)
    if not public_url or not scanned.startswith(f"{public_url}/"):
        raise EntryError(field, "neither a merchant's code nor an address of ours")
    name = read_path(scanned.removeprefix(public_url))
    if name is None:
        raise EntryError(field, "names no order and no shop code")
    return name


def read_path(path: str) -> Name | None:
    """
    >>> read_path("/s/m1.00000000000000000000000000000001").named.name, read_path("/q/m1.1")
    ('SHOP_CODE', None)
    """
    found = _PATH(path)
    parts = _REFERENCE(found["reference"]) if found is not None else None
    if found is None or parts is None:
        return None
    return Name(_BY_LETTER[found["kind"]], parts["merchant"], UUID(parts["id"]))


def check_agrees(name: Name, merchant: Merchant, money: Money | None, currency: str, field: str = "scanned") -> None:
    """What a QR shows the payer is what he pays: EntryError otherwise. money: of the order, None for a shop code."""
    payload = name.emv
    if payload is None:
        return
    if money is None and payload.amount_minor is not None:
        raise EntryError(field, "id 54 in a code without an amount")
    if money is not None and payload.amount_minor is None:
        raise EntryError(field, "id 54 is missing")
    if payload.tip:
        raise EntryError(field, "ids 55 to 57 are not ours")
    shown = replace(merchant, name=_shown_name(merchant))
    check_against(payload, shown, money or Money(0, currency), field)


def order_in(payload: MerchantQrPayload, merchant: Merchant, field: str = "merchant_qr.payload") -> UUID | None:
    """The order of ours that a merchant's QR asks to pay; None where it asks for none.

    Raises EntryError for one of another merchant, and for a code that we never write.
    """
    if not any(inner.get("00") == OURS for inner in payload.account_templates.values()):
        return None
    name = _named_in(payload, field)
    if name.merchant_id != merchant.id:
        raise EntryError(field, "id 26 names another merchant")
    if name.named is not Named.ORDER:
        return None
    if payload.amount_minor is None:
        raise EntryError(field, "id 54 is missing")
    if payload.tip:
        raise EntryError(field, "ids 55 to 57 are not ours")
    return name.id


def _in_template(scanned: str, field: str) -> Name:
    return _named_in(parse_merchant_qr(scanned, field), field)


def _named_in(payload: MerchantQrPayload, field: str) -> Name:
    for inner in payload.account_templates.values():
        if inner.get("00") != OURS:
            continue
        for named in Named:
            parts = _REFERENCE(inner.get(named.value[1], ""))
            if parts is not None:
                return Name(named, parts["merchant"], UUID(parts["id"]), payload)
    raise EntryError(field, "names no order and no shop code of ours")
