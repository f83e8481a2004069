"""What the platform tells a merchant by itself: signed, its resource encrypted, repeated until it is accepted."""

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.simulation import Deliveries
from adapters.wechat.simulator.answers import payment_event_content, refund_event_content
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.orders import Order, RefundEntry
from adapters.wechat.simulator.platform import Platform

# Before each repeat: 15 s, 15 s, 30 s, 3 min, 10 min, 20 min, 30 min ×3, 60 min, 3 h ×3, 6 h ×2.
SCHEDULE_S = (15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600, 10_800, 10_800, 10_800, 21_600, 21_600)
_ZONE = ZoneInfo("Asia/Shanghai")
_SUMMARIES = {
    "TRANSACTION.SUCCESS": "支付成功",
    "REFUND.SUCCESS": "退款成功",
    "REFUND.ABNORMAL": "退款异常",
    "REFUND.CLOSED": "退款关闭",
}


def encrypted(plain: bytes, associated: str, apiv3_key: bytes) -> dict[str, str]:
    """AEAD_AES_256_GCM as the platform writes it: a nonce of 12 characters, base64 of ciphertext and tag."""
    nonce = secrets.token_hex(6)
    ciphertext = AESGCM(apiv3_key).encrypt(nonce.encode(), plain, associated.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": associated,
        "ciphertext": base64.b64encode(ciphertext).decode(),
    }


class Notifier:
    """Sends to the notify_url of an order or refund; nothing where there is none.

    A notification is signed under the platform's public key; under a platform certificate for a merchant that asked
    for its order without naming that key.
    """

    def __init__(self, platform: Platform, time_s: Callable[[], float], pauses_s: Sequence[float]) -> None:
        self.deliveries = Deliveries(pauses_s)
        self._platform = platform
        self._time_s = time_s

    def paid(self, merchant: WeChatMerchant, order: Order, serial: str) -> None:
        if order.notify_url:
            self._post(order.notify_url, order.out_trade_no, self.payment(merchant, order), serial)

    def refunded(self, merchant: WeChatMerchant, refund: RefundEntry, serial: str) -> None:
        if refund.notify_url:
            self._post(refund.notify_url, refund.out_refund_no, self.refund(merchant, refund), serial)

    def payment(self, merchant: WeChatMerchant, order: Order) -> bytes:
        return self._event(merchant, "TRANSACTION.SUCCESS", "transaction", payment_event_content(order, merchant))

    def refund(self, merchant: WeChatMerchant, refund: RefundEntry) -> bytes:
        return self._event(merchant, f"REFUND.{refund.status}", "refund", refund_event_content(refund, merchant))

    def headers(self, body: bytes, serial: str) -> dict[str, str]:
        headers = self._platform.headers(body, serial)
        return headers | {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Mozilla/4.0"}

    def _event(self, merchant: WeChatMerchant, event_type: str, kind: str, content: Mapping[str, Any]) -> bytes:
        """The same body in every repeat."""
        plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        event = {
            "id": f"EV-{secrets.randbelow(10**28):028d}",
            "create_time": datetime.fromtimestamp(int(self._time_s()), _ZONE).isoformat(),
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": _SUMMARIES[event_type],
            "resource": {"original_type": kind} | encrypted(plain, kind, merchant.apiv3_key),
        }
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    def _post(self, url: str, name: str, body: bytes, serial: str) -> None:
        self.deliveries.post(
            url, name, lambda: (self.headers(body, serial), body), lambda status, _: status in (200, 204)
        )
