"""Asynchronous notifications: what is told of a trade's change, signed anew for each attempt."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from adapters.alipay.simulator.signing import GatewayKey, joined
from adapters.alipay.simulator.trade import Trade, date_text
from adapters.simulation import Deliveries

# 4 min, 10 min, 10 min, 1 h, 2 h, 6 h, 15 h: then Alipay gives up.
PAUSES_S: Final = (240.0, 600.0, 600.0, 3_600.0, 7_200.0, 21_600.0, 54_000.0)
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


class Notifications:
    """Posts them until the receiver's body is `success`."""

    def __init__(self, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self.deliveries = Deliveries(pauses_s)

    def post(
        self, app_id: str, seller_id: str, trade: Trade, event: str, key: GatewayKey, now_s: Callable[[], float]
    ) -> None:
        """What the trade is now is what every attempt says; time and signature are made anew."""
        told = trade.notified_fields()
        if event.startswith("refund "):
            told |= {"gmt_refund": date_text(now_s()), "out_biz_no": event.removeprefix("refund ")}

        def message() -> tuple[Mapping[str, str], bytes]:
            return _FORM, urlencode(notification_form(app_id, seller_id, told, event, key, now_s())).encode()

        self.deliveries.post(trade.notify_url, f"{trade.out_trade_no} {event}", message, _accepted)


def notification_form(
    app_id: str, seller_id: str, told: Mapping[str, str], event: str, key: GatewayKey, now_s: float
) -> dict[str, str]:
    """The signed form of one notification."""
    named = f"{app_id} {told['trade_no']} {event}"
    form = dict(told) | {
        "notify_time": date_text(now_s),
        "notify_type": "trade_status_sync",
        # The same in each repeat: it names the event.
        "notify_id": hashlib.sha256(named.encode()).hexdigest()[:34],
        "app_id": app_id,
        "auth_app_id": app_id,
        "seller_id": seller_id,
        "charset": "utf-8",
        "version": "1.0",
    }
    return form | {"sign": key.signature(joined(form, frozenset())), "sign_type": "RSA2"}


def _accepted(status: int, body: bytes) -> bool:
    return status == 200 and body.strip() == b"success"
