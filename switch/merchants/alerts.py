"""What a merchant's people should hear of at once: another settlement account, a new owner, a new credential.

Here it is logged and counted; who wants to send it on gives another `Alert`.
"""

from collections.abc import Callable

import structlog

from switch.ops.metrics import MERCHANT_ALERTS

log = structlog.get_logger()

# (merchant, what happened, a line about it, without secrets)
Alert = Callable[[str, str, str], None]


def log_alert(merchant_id: str, kind: str, text: str) -> None:
    MERCHANT_ALERTS.labels(kind).inc()
    log.warning("merchant_alert", merchant_id=merchant_id, kind=kind, text=text)
