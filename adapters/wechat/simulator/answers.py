"""Orders and refunds in the platform's words."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.wechat.simulator.book import Order, RefundEntry
from adapters.wechat.simulator.merchants import WeChatMerchant

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


def refund_content(refund: RefundEntry, now_ms: int) -> dict[str, Any]:
    status, order = refund.status(now_ms), refund.order
    content: dict[str, Any] = {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": order.transaction_id,
        "out_trade_no": order.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": _time(refund.created_ms),
        "status": status,
        "funds_account": "AVAILABLE",
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


def _time(time_ms: int) -> str:
    """RFC 3339 in China's time, as the platform writes it."""
    return datetime.fromtimestamp(time_ms // 1000, _ZONE).isoformat()
