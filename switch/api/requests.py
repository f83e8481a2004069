"""From the wire to the domain: every field is checked here, and a bad one is refused by name."""

import re
import uuid

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import common_pb2
from switch.api.errors import InvalidField, NotAllowed
from switch.api.payer_context import payer_of
from switch.domain.authorization import (
    AuthorizationRequest,
    CardCredential,
    ChannelOrder,
    CodeCredential,
    Credential,
    FollowOnRequest,
    Merchant,
    PinBlock,
)
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.domain.payer import UNKNOWN_PAYER
from switch.domain.states import EntryMode, Operation
from switch.entry.bluetooth import HANDOVER_SCHEME, parse_handover
from switch.entry.emv import parse_tap
from switch.entry.keyed import parse_keyed
from switch.entry.merchant_qr import check_against, parse_merchant_qr
from switch.entry.order_code import order_in
from switch.entry.payer_code import parse_payer_code

_MERCHANT_ID = re.compile(r"[0-9A-Za-z]{1,15}", re.ASCII).fullmatch
_TERMINAL_ID = re.compile(r"[0-9A-Za-z]{1,8}", re.ASCII).fullmatch
_KEY = re.compile(r"[ -~]{1,64}", re.ASCII).fullmatch
_CATEGORY = re.compile(r"[0-9]{4}", re.ASCII).fullmatch
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII).fullmatch
_LARGEST_TIME_MS = (1 << 48) - 1
_PIN_BLOCK_BYTES = {0: 8, 1: 8, 3: 8, 4: 16}
_ORDER_SCHEMES = ("alipay", "wechat")
_OPERATIONS = {
    pb.AUTHORIZATION_KIND_UNSPECIFIED: Operation.SALE,
    pb.AUTHORIZATION_KIND_SALE: Operation.SALE,
    pb.AUTHORIZATION_KIND_PRE_AUTHORIZATION: Operation.PRE_AUTHORIZATION,
}


def authorization_request(message: pb.AuthorizeRequest, caller: str, by_platform: bool = False) -> AuthorizationRequest:
    """Raises InvalidField, EntryError, or NotAllowed if the request names another acquirer than the caller.

    by_platform: another process of the switch asks; it says how the payer presented to it.
    """
    acquirer_id(message.acquirer_id, caller)
    money_ = money(message.amount, "amount")
    if not _TERMINAL_ID(message.terminal_id):
        raise InvalidField("terminal_id", "must be 1 to 8 letters or digits")
    key, time_ms = _repeatable(message, "")
    operation = _OPERATIONS.get(message.kind)
    if operation is None:
        raise InvalidField("kind", "is not a known kind")
    merchant_ = _merchant(message)
    scanned_order = _scanned_order(message, merchant_, money_)
    entry, credential = _presented(message, money_)
    if message.presented_as:
        if not by_platform or entry is not EntryMode.KEYED:
            raise InvalidField("presented_as", "is another process's of the switch, with keyed")
        entry = EntryMode(message.presented_as)
    pin = _pin(message, credential)
    if scanned_order is not None and operation is not Operation.SALE:
        raise InvalidField("kind", "an order is paid by a sale")
    if isinstance(credential, ChannelOrder):
        if operation is not Operation.SALE:
            raise InvalidField("kind", "an order is a sale")
        operation = Operation.ORDER
    payer = UNKNOWN_PAYER
    if message.HasField("context"):
        payer = payer_of(message.context, "" if by_platform else f"{caller}:")
    return AuthorizationRequest(
        caller, merchant_, message.terminal_id, key, time_ms, operation, money_, entry, credential, pin, payer,
        scanned_order,
    )  # fmt: skip


def acquirer_id(named: str, caller: str) -> None:
    if named and named != caller:
        raise NotAllowed("acquirer_id is not the caller's")


def merchant_id(value: str, field: str = "merchant_id") -> str:
    if not _MERCHANT_ID(value):
        raise InvalidField(field, "must be 1 to 15 letters or digits")
    return value


def authorization_id(value: str, field: str = "authorization_id") -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except ValueError as error:
        raise InvalidField(field, "must be a UUID") from error


def money(message: common_pb2.Money, field: str) -> Money:
    amount_minor, currency = message.amount_minor, message.currency
    if currency not in CURRENCIES:
        raise InvalidField(f"{field}.currency", "is not a supported ISO 4217 alphabetic code")
    if not 0 < amount_minor <= LARGEST_AMOUNT_MINOR:
        raise InvalidField(f"{field}.amount_minor", f"must be 1 to {LARGEST_AMOUNT_MINOR}")
    return Money(amount_minor, currency)


def follow_on_request(
    message: pb.FollowOn, caller: str, operation: Operation, amount: common_pb2.Money | None = None
) -> FollowOnRequest:
    acquirer_id(message.acquirer_id, caller)
    key, time_ms = _repeatable(message, "follow_on.")
    return FollowOnRequest(
        operation, caller, merchant_id(message.merchant_id, "follow_on.merchant_id"),
        authorization_id(message.authorization_id, "follow_on.authorization_id"), key, time_ms,
        None if amount is None else money(amount, "amount"),
    )  # fmt: skip


def transmission_time_ms(value: int, field: str) -> int:
    if not 0 < value <= _LARGEST_TIME_MS:
        raise InvalidField(field, "must be Unix milliseconds")
    return value


def idempotency_key(value: str, field: str) -> str:
    if not _KEY(value):
        raise InvalidField(field, "must be 1 to 64 printable ASCII characters")
    return value


def _repeatable(message: pb.AuthorizeRequest | pb.FollowOn, prefix: str) -> tuple[str, int]:
    key = idempotency_key(message.idempotency_key, f"{prefix}idempotency_key")
    return key, transmission_time_ms(message.transmission_time_ms, f"{prefix}transmission_time_ms")


def _merchant(message: pb.AuthorizeRequest) -> Merchant:
    merchant_id(message.merchant_id)
    name, city = message.merchant_name, message.merchant_city
    if len(name) > 25 or not name.isprintable():
        raise InvalidField("merchant_name", "must be at most 25 printable characters")
    if len(city) > 13 or not city.isprintable():
        raise InvalidField("merchant_city", "must be at most 13 printable characters")
    country = message.merchant_country or "CN"
    if not _COUNTRY(country):
        raise InvalidField("merchant_country", "must be an ISO 3166-1 alpha-2 code")
    category = message.merchant_category_code or "5999"
    if not _CATEGORY(category):
        raise InvalidField("merchant_category_code", "must be four digits (ISO 18245)")
    return Merchant(message.merchant_id, name, city, country, category)


def _presented(message: pb.AuthorizeRequest, money_: Money) -> tuple[EntryMode, Credential]:
    match message.WhichOneof("presented"):
        case "nfc":
            return EntryMode.NFC, parse_tap(message.nfc.emv, money_)
        case "payer_code":
            return parse_payer_code(message.payer_code.code)
        case "bluetooth":
            return EntryMode.BLUETOOTH, parse_handover(message.bluetooth.record, money_)
        case "merchant_qr":
            return EntryMode.MERCHANT_QR, _card(message.merchant_qr.card, "merchant_qr.card")
        case "keyed":
            return EntryMode.KEYED, _card(message.keyed, "keyed")
        case "order":
            if message.order.scheme not in _ORDER_SCHEMES:
                raise InvalidField("order.scheme", f"must be one of {', '.join(_ORDER_SCHEMES)}")
            return EntryMode.MERCHANT_QR, ChannelOrder(message.order.scheme)
        case _:
            raise InvalidField("presented", "exactly one way of presenting is needed")


def _scanned_order(message: pb.AuthorizeRequest, merchant_: Merchant, money_: Money) -> uuid.UUID | None:
    """A merchant's QR must be of this merchant and amount, and may be that of an order of ours."""
    if not message.HasField("merchant_qr"):
        return None
    payload = parse_merchant_qr(message.merchant_qr.payload)
    check_against(payload, merchant_, money_)
    return order_in(payload, merchant_)


def _card(message: pb.KeyedCard, field: str) -> CardCredential:
    return parse_keyed(message.pan, message.expiry, field)


def _pin(message: pb.AuthorizeRequest, credential: Credential) -> PinBlock | None:
    if not message.HasField("pin"):
        return None
    if isinstance(credential, ChannelOrder) or (
        isinstance(credential, CodeCredential) and credential.scheme != HANDOVER_SCHEME
    ):
        raise InvalidField("pin", "only a card takes a PIN")
    return pin_block(message.pin)


def pin_block(message: common_pb2.PinBlock) -> PinBlock:
    wanted = _PIN_BLOCK_BYTES.get(message.format)
    if wanted is None:
        raise InvalidField("pin.format", "must be an ISO 9564-1 format: 0, 1, 3 or 4")
    if len(message.block) != wanted:
        raise InvalidField("pin.block", f"must be {wanted} bytes in this format")
    return PinBlock(message.block, message.format)
