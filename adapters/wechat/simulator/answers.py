"""Orders and refunds in the platform's words."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.orders import Order, RefundEntry

_ZONE = ZoneInfo("Asia/Shanghai")
_DESCRIPTIONS = {
    "SUCCESS": "支付成功",
    "REFUND": "订单发生过退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
    "REVOKED": "订单已撤销",
    "USERPAYING": "需要用户输入支付密码",
    "PAYERROR": "支付失败",
}


def order_content(order: Order, merchant: WeChatMerchant) -> dict[str, Any]:
    content: dict[str, Any] = {
        "appid": merchant.appid,
        "mchid": merchant.mchid,
        "out_trade_no": order.out_trade_no,
        "trade_type": order.trade_type,
        "trade_state": order.state,
        "trade_state_desc": _DESCRIPTIONS[order.state],
        "amount": {"total": order.total_fen, "currency": "CNY"},
    }
    if order.paid_ms and order.payer is not None:
        content |= {
            "transaction_id": order.transaction_id,
            "bank_type": "OTHERS",
            "success_time": _time(order.paid_ms),
            "payer": {"openid": order.payer.openid},
            "promotion_detail": [],
        }
        content["amount"] |= {"payer_total": order.total_fen, "payer_currency": "CNY"}
        if order.attach:
            content["attach"] = order.attach
    return content


def refund_content(refund: RefundEntry) -> dict[str, Any]:
    status, order = refund.status, refund.order
    content: dict[str, Any] = {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": _time(refund.created_ms),
        "status": status,
        "funds_account": "UNSETTLED",
        "amount": {
            "total": order.total_fen,
            "refund": refund.refund_fen,
            "payer_total": order.total_fen,
            "payer_refund": refund.refund_fen,
            "settlement_refund": refund.refund_fen,
            "settlement_total": order.total_fen,
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    if status == "SUCCESS":
        content["success_time"] = _time(refund.settles_ms)
    return content


def book_entries(book: Book, now_ms: int) -> list[dict[str, Any]]:
    """Payments, then refunds, each oldest first. Payment codes are not in it."""
    payments: list[dict[str, Any]] = [
        {
            "kind": "payment",
            "mchid": book.merchant.mchid,
            "out_trade_no": each.out_trade_no,
            "transaction_id": each.transaction_id,
            "trade_type": each.trade_type,
            "trade_state": each.state,
            "amount_minor": each.total_fen,
            "refunded_minor": each.refunded_fen,
            "payer": each.payer.openid if each.payer else "",
            "error": each.refusal.code if each.refusal else "",
            "tombstone": not each.digest,
        }
        for each in book.orders(now_ms)
    ]
    refunds: list[dict[str, Any]] = [
        {
            "kind": "refund",
            "mchid": book.merchant.mchid,
            "out_refund_no": each.out_refund_no,
            "out_trade_no": each.order.out_trade_no,
            "refund_id": each.refund_id,
            "status": each.status,
            "amount_minor": each.refund_fen,
        }
        for each in book.refunds(now_ms)
    ]
    return payments + refunds


def _time(time_ms: int) -> str:
    """RFC 3339 in China's time, as the platform writes it."""
    return datetime.fromtimestamp(time_ms // 1000, _ZONE).isoformat()


def payment_event_content(order: Order, merchant: WeChatMerchant) -> dict[str, Any]:
    """What the `resource` of a TRANSACTION.SUCCESS holds: the order as a query tells it."""
    return order_content(order, merchant)


def refund_event_content(refund: RefundEntry, merchant: WeChatMerchant) -> dict[str, Any]:
    """What the `resource` of a REFUND.* holds: shorter than the answer of a query, and with other names."""
    order = refund.order
    content: dict[str, Any] = {
        "mchid": merchant.mchid,
        "out_trade_no": order.out_trade_no,
        "transaction_id": order.transaction_id,
        "out_refund_no": refund.out_refund_no,
        "refund_id": refund.refund_id,
        "refund_status": refund.status,
        "user_received_account": "支付用户零钱",
        "amount": {
            "total": order.total_fen,
            "refund": refund.refund_fen,
            "payer_total": order.total_fen,
            "payer_refund": refund.refund_fen,
        },
    }
    if refund.status == "SUCCESS":
        content["success_time"] = _time(refund.settles_ms)
    return content
