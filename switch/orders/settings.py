"""What the order desk and its worker keep to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrderSettings:
    """step_up_above_minor: what a payer may pay without a second factor of late, in minor units.

    budget_s: what an authorization is given. shop_order_s: how long an order of a shop code waits.
    The worker: poll_s between looks, `batch` payments at once under a lease; a pause doubles from backoff_first_s to
    backoff_max_s. begun_s: after so long nobody waits any more for an authorization that was never recorded.
    """

    step_up_above_minor: int = 100_000
    budget_s: float = 1.0
    shop_order_s: int = 300
    poll_s: float = 0.5
    batch: int = 32
    lease_s: float = 30.0
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0
    begun_s: float = 10.0
