"""Whether a merchant and its terminal may take a new payment."""

from dataclasses import dataclass, field

from switch.domain.merchant import MerchantState


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no new payment is taken. response_code: DE39."""

    response_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Standings:
    """What is known of merchants and terminals that were onboarded. read_ms: the database's time of the reading."""

    merchants: dict[str, MerchantState]
    terminals: dict[tuple[str, str], bool] = field(default_factory=dict)  # (merchant, terminal) -> active
    read_ms: int = 0
