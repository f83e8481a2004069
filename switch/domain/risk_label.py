"""What a payment turned out to be, and who says so."""

from dataclasses import dataclass
from uuid import UUID

from switch.domain.risk import Label


@dataclass(frozen=True, slots=True)
class PaymentLabel:
    """source: "dispute", "case/<id>" or whoever knows; of one source the latest stays, of several the latest counts.

    time_ms: Unix milliseconds, when it became known.
    """

    merchant_id: str
    authorization_id: UUID
    source: str
    label: Label
    time_ms: int
