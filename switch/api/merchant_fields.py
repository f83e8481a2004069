"""From the wire to a merchant's values: every field is checked here, and a bad one is refused by name."""

import ipaddress
import re
from datetime import date
from typing import Any, Final
from uuid import UUID

from payswitch.v1 import merchant_pb2 as pb
from switch.domain.access import MERCHANT_ROLES, Role
from switch.domain.bank_account import BankAccount, is_account_number, is_bank_code
from switch.domain.contract import Contract, Rate
from switch.domain.merchant_people import is_merchant_id
from switch.domain.merchant_record import Business, Contact, DocumentKind
from switch.domain.money import CURRENCIES
from switch.domain.refusals import Invalid
from switch.domain.registration import RegistrationKind, is_registration

_TERMINAL_ID: Final = re.compile(r"[0-9A-Za-z]{1,8}").fullmatch
_STORE_ID: Final = re.compile(r"S[0-9]{4}").fullmatch
_SECRET_ID: Final = re.compile(r"[A-Za-z0-9]{1,15}-[0-9a-f]{12}").fullmatch
_SHOWN: Final = re.compile(r"[ -~]*[!-~][ -~]*").fullmatch
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_EMAIL: Final = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+").fullmatch
_CATEGORY: Final = re.compile(r"[0-9]{4}").fullmatch
_COUNTRY: Final = re.compile(r"[A-Z]{2}").fullmatch
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_PAGE_TOKEN: Final = re.compile(r"([0-9]{1,15})\.([A-Za-z0-9]{1,15})").fullmatch
_LARGEST_PAGE: Final = 100
_USUAL_PAGE: Final = 50
LARGEST_DOCUMENT_BYTES: Final = 262_144
_UNSIGNED_64: Final = 1 << 63


def text(value: str, field: str, largest: int, smallest: int = 1) -> str:
    """Printable, no spaces at its ends."""
    if not smallest <= len(value) <= largest or not value.isprintable() or value != value.strip():
        raise Invalid(field, f"must be {smallest} to {largest} printable characters, without spaces at the ends")
    return value


def _shown(value: str, field: str, largest: int) -> str:
    if len(value) > largest or not _SHOWN(value):
        raise Invalid(field, f"must be 1 to {largest} printable ASCII characters")
    return value


def merchant_id(value: str) -> str:
    if not is_merchant_id(value):
        raise Invalid("merchant_id", "must be 1 to 15 letters or digits")
    return value


def terminal_id(value: str) -> str:
    if not _TERMINAL_ID(value):
        raise Invalid("terminal_id", "must be 1 to 8 letters or digits")
    return value


def store_id(value: str) -> str:
    if not _STORE_ID(value):
        raise Invalid("store_id", "must be S and four digits")
    return value


def secret_id(value: str, field: str) -> str:
    if not _SECRET_ID(value):
        raise Invalid(field, "is no such id")
    return value


def uuid(value: str, field: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise Invalid(field, "must be a UUID") from None


def reason(value: str, smallest: int = 1) -> str:
    return text(value, "reason", 500, smallest)


# --- onboarding -------------------------------------------------------------------------------------------------------


def contact(message: pb.MerchantContact, path: str) -> Contact:
    if not _PHONE(message.phone):
        raise Invalid(f"{path}.phone", "must be E.164: + and 7 to 15 digits")
    if len(message.email) > 254 or not _EMAIL(message.email):
        raise Invalid(f"{path}.email", "must be an e-mail address")
    return Contact(text(message.name, f"{path}.name", 60), message.phone, message.email)


def business(message: pb.MerchantBusiness) -> Business:
    try:
        kind = RegistrationKind(message.registration_kind)
    except ValueError:
        raise Invalid("business.registration_kind", "must be given") from None
    if not is_registration(kind, message.registration):
        raise Invalid("business.registration", "is no registration of that kind, or its check character is wrong")
    country = message.country or "CN"
    if not _COUNTRY(country):
        raise Invalid("business.country", "must be ISO 3166-1 alpha-2")
    if not _CATEGORY(message.category_code):
        raise Invalid("business.category_code", "must be four digits (ISO 18245)")
    return Business(
        text(message.legal_name, "business.legal_name", 100), kind, message.registration,
        contact(message.contact, "business.contact"), _shown(message.display_name, "business.display_name", 25),
        _shown(message.city, "business.city", 13), country, message.category_code,
    )  # fmt: skip


def bank_account(message: pb.BankAccount) -> BankAccount:
    if not is_account_number(message.account_number):
        raise Invalid("account.account_number", "must be 8 to 34 of A-Z 0-9; of an IBAN the check digits must be right")
    if not is_bank_code(message.bank_code):
        raise Invalid("account.bank_code", "must be a CNAPS code (12 digits) or a BIC")
    name = text(message.account_name, "account.account_name", 70)
    return BankAccount(name, message.account_number, message.bank_code)


def document(message: pb.AddDocumentRequest) -> tuple[DocumentKind, bytes]:
    try:
        kind = DocumentKind(message.kind)
    except ValueError:
        raise Invalid("kind", "must be given") from None
    if not 1 <= len(message.content) <= LARGEST_DOCUMENT_BYTES:
        raise Invalid("content", f"must be 1 to {LARGEST_DOCUMENT_BYTES} bytes")
    return kind, message.content


# --- contracts --------------------------------------------------------------------------------------------------------


def terms(merchant: str, message: pb.ContractTerms) -> Contract:
    """As version 0; what its lines must be is the policy's (`switch.merchants.contracts`)."""
    if message.currency not in CURRENCIES:
        raise Invalid("terms.currency", "is no currency of the switch's")
    rates = tuple(
        Rate(
            each.channel, each.card_type, each.from_minor, each.basis_points, each.fixed_minor, each.minimum_minor,
            each.cap_minor,
        )
        for each in message.rates
    )  # fmt: skip
    return Contract(
        merchant, 0, _day(message.from_day), message.currency, rates, message.reserve_basis_points,
        message.reserve_days, message.refunds_return_fee,
    )  # fmt: skip


def _day(value: str) -> str:
    try:
        if not _DAY(value):
            raise ValueError
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise Invalid("terms.from_day", "must be YYYY-MM-DD") from None


# --- people and credentials -------------------------------------------------------------------------------------------


def role(value: int) -> Role:
    if value not in set(MERCHANT_ROLES):
        raise Invalid("role", "must be one at a merchant")
    return Role(value)


def valid_days(value: int) -> int:
    if value > 366:
        raise Invalid("valid_days", "must be at most 366")
    return value or 90


def overlap_hours(value: int) -> int:
    if value > 168:
        raise Invalid("overlap_hours", "must be at most 168")
    return value


def networks(values: Any) -> tuple[str, ...]:
    if len(values) > 16:
        raise Invalid("networks", "must be at most 16")
    found = []
    for index, each in enumerate(values):
        try:
            found.append(str(ipaddress.ip_network(each)))
        except ValueError:
            raise Invalid(f"networks[{index}]", "must be a network in CIDR notation, its host bits zero") from None
    return tuple(found)


# --- pages ------------------------------------------------------------------------------------------------------------


def page_size(value: int) -> int:
    if value > _LARGEST_PAGE:
        raise Invalid("page_size", f"must be at most {_LARGEST_PAGE}")
    return value or _USUAL_PAGE


def before_application(token: str) -> tuple[int, str]:
    """(applied_time_ms, merchant) from `application_token`; the end of time without one."""
    if not token:
        return _UNSIGNED_64 - 1, ""
    match = _PAGE_TOKEN(token)
    if match is None:
        raise Invalid("page_token", "is none of this call's")
    return int(match[1]), match[2]


def application_token(applied_time_ms: int, merchant: str) -> str:
    """
    >>> before_application(application_token(1_700_000_000_000, "M1"))
    (1700000000000, 'M1')
    """
    return f"{applied_time_ms}.{merchant}"


def before_change(token: str) -> UUID:
    return uuid(token, "page_token") if token else UUID(int=(1 << 128) - 1)


def after_terminal(token: str) -> str:
    return terminal_id_token(token) if token else ""


def terminal_id_token(token: str) -> str:
    if not _TERMINAL_ID(token):
        raise Invalid("page_token", "is none of this call's")
    return token
