"""Rows of orders, their payments and shop codes, to records and back."""

from typing import Any
from uuid import UUID

from asyncpg import Record

from switch.domain.authorization import Merchant
from switch.domain.money import Money
from switch.domain.order import Order, OrderPayment, OrderState, PaymentState, ShopCode
from switch.domain.states import EntryMode


def order_row(order: Order) -> tuple[Any, ...]:
    """In the order of the columns of `orders`."""
    merchant, money = order.merchant, order.money
    return (
        merchant.id, order.id, order.acquirer_id, order.terminal_id, order.store_id, merchant.name, merchant.city,
        merchant.country, merchant.category_code, money.amount_minor, money.currency, order.subject, order.number,
        order.key, order.content, order.created_by, order.created_time_ms, order.expires_time_ms, order.state,
        order.shop_code, order.paid_by, order.paid_scheme, order.refunded_minor, order.changed_time_ms,
    )  # fmt: skip


def order_from(row: Record) -> Order:
    return Order(
        id=_uuid(row["id"]),
        merchant=Merchant(
            row["merchant_id"], row["merchant_name"], row["merchant_city"], row["merchant_country"],
            row["merchant_category_code"],
        ),
        acquirer_id=row["acquirer_id"],
        terminal_id=row["terminal_id"],
        store_id=row["store_id"],
        money=Money(row["amount_minor"], row["currency"]),
        subject=row["subject"],
        number=row["number"],
        key=row["key"],
        content=row["content"],
        created_by=row["created_by"],
        created_time_ms=row["created_time_ms"],
        expires_time_ms=row["expires_time_ms"],
        state=OrderState(row["state"]),
        shop_code=None if row["shop_code"] is None else _uuid(row["shop_code"]),
        paid_by=None if row["paid_by"] is None else _uuid(row["paid_by"]),
        paid_scheme=row["paid_scheme"],
        refunded_minor=row["refunded_minor"],
        changed_time_ms=row["changed_time_ms"],
    )  # fmt: skip


def payment_from(row: Record) -> OrderPayment:
    return OrderPayment(
        merchant_id=row["merchant_id"],
        order_id=_uuid(row["order_id"]),
        authorization_id=_uuid(row["authorization_id"]),
        acquirer_id=row["acquirer_id"],
        scheme=row["scheme"],
        payer=row["payer"],
        payer_key=row["payer_key"],
        entry=EntryMode(row["entry"]),
        key=row["key"],
        transmission_time_ms=row["transmission_time_ms"],
        state=PaymentState(row["state"]),
        code=row["code"],
        response_code=row["response_code"],
        reason=row["reason"],
        undo_number=row["undo_number"],
        undo_time_ms=row["undo_time_ms"],
        refunded_minor=row["refunded_minor"],
        attempts=row["attempts"],
        fence=row["fence"],
        stepped_up=row["stepped_up"],
    )


def shop_code_from(row: Record) -> ShopCode:
    return ShopCode(
        _uuid(row["id"]), row["merchant_id"], row["store_id"], row["terminal_id"], row["label"], row["currency"],
        row["version"], row["created_by"], row["created_time_ms"], row["revoked_time_ms"],
    )  # fmt: skip


def _uuid(value: Any) -> UUID:
    """asyncpg's own UUID is one by inheritance; the domain's are plain."""
    return UUID(int=value.int)
