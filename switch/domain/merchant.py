"""A merchant, as others than the merchant service know it."""

from dataclasses import dataclass
from enum import IntEnum


class MerchantState(IntEnum):
    """The numbers are stored: they are never reused."""

    APPLIED = 1  # waits for its reviews
    ACTIVE = 2
    SUSPENDED = 3  # no new payments or payouts; refunds go on
    CLOSED = 4
    REJECTED = 5


@dataclass(frozen=True, slots=True)
class MerchantProfile:
    """id: DE42, 1 to 15 letters and digits. name, city: as the payer sees them (25 and 13 characters).

    category_code: ISO 18245. country: ISO 3166-1 alpha-2. acquirer_id: the participant that acquires for it.
    """

    id: str
    name: str
    city: str
    country: str
    category_code: str
    acquirer_id: str
    state: MerchantState
