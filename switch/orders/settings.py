"""What the order desk and its worker keep to."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OrderSettings:
    """step_up_above_minor: by currency, what a payer may pay in 24 hours without a second factor of late; of another
    currency nothing. budget_s: what an authorization is given.

    shop_order_s: how long an order of a shop code waits. open_per_shop_code: how many of one code a maker may have open
    at once; all who use the page are one maker.
    The worker: poll_s between looks, `batch` payments at once under a lease; a pause doubles from backoff_first_s to
    backoff_max_s. begun_s: after so long nobody waits any more for an authorization that was never recorded.
    What has ended is dropped unpaid_kept_days after it was closed or expired, paid_kept_days (0: never) after it was
    paid or refunded last; looked for every drop_s.
    """

    step_up_above_minor: Mapping[str, int] = field(default_factory=lambda: {"CNY": 100_000})
    budget_s: float = 1.0
    shop_order_s: int = 300
    open_per_shop_code: int = 100
    poll_s: float = 0.5
    batch: int = 32
    lease_s: float = 30.0
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0
    begun_s: float = 10.0
    unpaid_kept_days: int = 30
    paid_kept_days: int = 0
    drop_s: float = 300.0
