"""Orders between the wire and the domain: every field is checked here, and a bad one is refused by name."""

import re
import uuid
from typing import Final

from payswitch.v1 import common_pb2
from payswitch.v1 import order_pb2 as pb
from switch.api import requests
from switch.api.errors import InvalidField
from switch.domain.authorization import PinBlock
from switch.domain.money import CURRENCIES
from switch.domain.order import Order, OrderFilter, OrderPayment, OrderState, PaymentState, ShopCode
from switch.domain.states import EntryMode
from switch.orders.desk import Draft

_STORE = re.compile(r"[0-9A-Za-z_-]{0,32}", re.ASCII).fullmatch
_TERMINAL = re.compile(r"[0-9A-Za-z]{1,8}", re.ASCII).fullmatch
_NUMBER = re.compile(r"[ -~]{0,32}", re.ASCII).fullmatch
_USUAL_LIFE_S: Final = 900
_USUAL_TERMINAL: Final = "00000000"
_USUAL_PAGE: Final = 50
_LARGEST_PAGE: Final = 200
NEWEST: Final = uuid.UUID(int=(1 << 128) - 1)

_ENTRIES: Final = {
    common_pb2.ENTRY_MODE_UNSPECIFIED: EntryMode.MERCHANT_QR,
    common_pb2.ENTRY_MODE_MERCHANT_QR: EntryMode.MERCHANT_QR,
    common_pb2.ENTRY_MODE_NFC: EntryMode.NFC,
    common_pb2.ENTRY_MODE_BLUETOOTH: EntryMode.BLUETOOTH,
}
_OUTCOMES: Final = {
    PaymentState.BEGUN: pb.PAYMENT_OUTCOME_UNDER_WAY,
    PaymentState.AWAITING: pb.PAYMENT_OUTCOME_UNDER_WAY,
    PaymentState.WON: pb.PAYMENT_OUTCOME_PAID,
    PaymentState.FAILED: pb.PAYMENT_OUTCOME_DECLINED,
    PaymentState.UNDOING: pb.PAYMENT_OUTCOME_BEING_GIVEN_BACK,
    PaymentState.UNDONE: pb.PAYMENT_OUTCOME_GIVEN_BACK,
}


def draft(request: pb.CreateOrderRequest) -> Draft:
    if not _NUMBER(request.order_number):
        raise InvalidField("order_number", "must be at most 32 printable ASCII characters")
    store_id, terminal_id = place(request.store_id, request.terminal_id)
    return Draft(
        requests.merchant_id(request.merchant_id),
        requests.idempotency_key(request.idempotency_key, "idempotency_key"),
        requests.money(request.amount, "amount"),
        label(request.subject, "subject"),
        request.expires_in_s or _USUAL_LIFE_S,
        request.order_number,
        terminal_id,
        store_id,
    )


def place(store_id: str, terminal_id: str) -> tuple[str, str]:
    if not _STORE(store_id):
        raise InvalidField("store_id", "must be at most 32 letters, digits, - and _")
    if terminal_id and not _TERMINAL(terminal_id):
        raise InvalidField("terminal_id", "must be 1 to 8 letters or digits")
    return store_id, terminal_id or _USUAL_TERMINAL


def label(text: str, field: str) -> str:
    if not 1 <= len(text) <= 64 or not text.isprintable() or not text.strip():
        raise InvalidField(field, "must be 1 to 64 printable characters")
    return text


def currency(text: str) -> str:
    if text and text not in CURRENCIES:
        raise InvalidField("currency", "is not a supported ISO 4217 alphabetic code")
    return text or "CNY"


def identity(text: str, field: str) -> uuid.UUID:
    return requests.authorization_id(text, field)


def wanted(request: pb.ListOrdersRequest) -> OrderFilter:
    for field, value in (("from_time_ms", request.from_time_ms), ("to_time_ms", request.to_time_ms)):
        if not 0 <= value < 1 << 48:
            raise InvalidField(field, "must be Unix milliseconds")
    try:
        states = frozenset(OrderState(int(each)) for each in request.states)
    except ValueError:
        raise InvalidField("states", "has an unknown state") from None
    if not _NUMBER(request.order_number):
        raise InvalidField("order_number", "must be at most 32 printable ASCII characters")
    return OrderFilter(states, request.order_number, request.from_time_ms, request.to_time_ms)


def page(request: pb.ListOrdersRequest | pb.ListShopCodesRequest) -> tuple[uuid.UUID, int]:
    """(ids below this, how many)."""
    size = request.page_size or _USUAL_PAGE
    if size > _LARGEST_PAGE:
        raise InvalidField("page_size", f"must be 1 to {_LARGEST_PAGE}")
    return identity(request.page_token, "page_token") if request.page_token else NEWEST, size


def entry(value: int) -> EntryMode:
    found = _ENTRIES.get(value)  # type: ignore[call-overload]
    if found is None:
        raise InvalidField("entry", "must be MERCHANT_QR, NFC or BLUETOOTH")
    return EntryMode(found)


def pin(request: pb.PayOrderRequest | pb.PayShopCodeRequest) -> PinBlock | None:
    return requests.pin_block(request.pin) if request.HasField("pin") else None


# --- and back ---------------------------------------------------------------------------------------------------------


def order_message(order: Order) -> pb.Order:
    return pb.Order(
        order_id=str(order.id),
        merchant_id=order.merchant.id,
        state=int(order.state),  # type: ignore[arg-type]
        amount=common_pb2.Money(amount_minor=order.money.amount_minor, currency=order.money.currency),
        subject=order.subject,
        order_number=order.number,
        store_id=order.store_id,
        terminal_id=order.terminal_id,
        created_time_ms=order.created_time_ms,
        expires_time_ms=order.expires_time_ms,
        authorization_id=str(order.paid_by or ""),
        paid_scheme=order.paid_scheme,
        refunded_minor=order.refunded_minor,
        shop_code_id=str(order.shop_code or ""),
    )


def payment_message(order: Order, payment: OrderPayment) -> pb.PayOrderResponse:
    return pb.PayOrderResponse(
        outcome=_OUTCOMES[payment.state],
        authorization_id=str(payment.authorization_id),
        response_code=payment.response_code,
        reason=payment.reason,
        order=order_message(order),
    )


def shop_code_message(code: ShopCode) -> pb.ShopCode:
    return pb.ShopCode(
        shop_code_id=str(code.id),
        merchant_id=code.merchant_id,
        store_id=code.store_id,
        terminal_id=code.terminal_id,
        label=code.label,
        currency=code.currency,
        version=code.version,
        created_time_ms=code.created_time_ms,
        revoked_time_ms=code.revoked_time_ms,
    )
