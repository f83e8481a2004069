"""What happens in a population: payments, refunds, what happens to accounts, and what a payer is answered."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from switch.domain.payer import Place, Posture
from switch.domain.risk import FactValue, Subject
from switch.ports.risk import Happening, Later, Mark, Sighting

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
BUSINESS_OFFSET_MS: Final = 8 * HOUR_MS  # Asia/Shanghai, which has no summer time
_EPOCH_WEEKDAY: Final = 4  # 1970-01-01 was a Thursday


class Answer(Enum):
    """What a payer sees. ISSUER_DECLINED: risk control let it go on, and his bank said no."""

    APPROVED = "approved"
    ISSUER_DECLINED = "issuer_declined"
    STEP_UP = "step_up"
    DECLINED = "declined"


class Kind(Enum):
    """What a payment really is."""

    HONEST = "honest"
    STOLEN_CARD = "stolen card"
    STOLEN_NUMBER = "stolen number"
    TAKE_OVER = "account take-over"
    SKIMMED = "compromised terminal"
    DEVICE_FARM = "device farm"
    REFUND_ABUSE = "refund abuse"
    COLLUSION = "merchant collusion"
    SCAM = "scam"
    CODE_RELAY = "code relay"


@dataclass(frozen=True, slots=True)
class Chip:
    """What the chip and its terminal say (the facts `chip_…`)."""

    counter: int
    new_card: bool = False
    cardholder_not_verified: bool = False
    pin_tries_exceeded: bool = False
    pin_verified: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """What nobody knows while the payment is judged.

    purchase: one intended purchase may be tried several times. value_minor: what it was meant to take or buy. proves:
    the payer would pass a step-up. issuer_code: DE39 that the issuer answers with, if it is asked. told_ms: after the
    payment, when it is known to be fraud; -1: never.
    """

    kind: Kind
    purchase: str
    value_minor: int
    proves: bool = True
    issuer_code: str = "00"
    told_ms: int = -1


@dataclass(frozen=True, slots=True)
class Payment:
    """As the switch sees it, and its truth. subjects: keys as the counters have them. proved: the same purchase was
    answered with a step-up, and the payer has proved himself.
    """

    id: str
    time_ms: int
    amount_minor: int
    entry: str
    operation: str
    merchant_category: str
    merchant_country: str
    acquirer: str
    card_range: str
    code_scheme: str
    pin_given: bool
    proved: bool
    subjects: dict[Subject, str]
    place: Place | None
    posture: Posture | None
    chip: Chip | None
    truth: Truth = field(repr=False)

    def facts(self) -> dict[str, FactValue]:
        """Those that the payment itself says; nothing of its truth."""
        local_ms = self.time_ms + BUSINESS_OFFSET_MS
        facts: dict[str, FactValue] = {
            "amount_minor": self.amount_minor,
            "hour": local_ms // HOUR_MS % 24,
            "weekday": (local_ms // DAY_MS + _EPOCH_WEEKDAY - 1) % 7 + 1,
            "currency": "CNY",
            "entry": self.entry,
            "operation": self.operation,
            "merchant_category": self.merchant_category,
            "merchant_country": self.merchant_country,
            "acquirer": self.acquirer,
            "card_range": self.card_range,
            "code_scheme": self.code_scheme,
            "pin_given": self.pin_given,
            "chip_known": self.chip is not None,
            "place_known": self.place is not None,
            "posture_known": self.posture is not None,
        }
        if self.chip is not None:
            facts |= _chip_facts(self.chip)
        if self.posture is not None:
            facts |= {f"device_{name}": flag in self.posture for name, flag in _POSTURES}
        for subject in Subject:
            known = subject in self.subjects
            facts[f"{subject}_known"] = known
            if known:
                facts[f"{subject}_lists"] = []
        return facts

    def sighting(self) -> Sighting:
        return Sighting(self.id, self.subjects, self.amount_minor, self.place)

    def happening(self, what: Later, time_ms: int, amount_minor: int = 0) -> Happening:
        return Happening(f"{self.id}:{what}", what, self.subjects, time_ms, amount_minor)


@dataclass(frozen=True, slots=True)
class Refund:
    """Asked for of a payment that was approved."""

    time_ms: int
    payment: Payment
    amount_minor: int

    def happening(self) -> Happening:
        return self.payment.happening(Later.REFUNDS, self.time_ms, self.amount_minor)


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """At the switch's own doors: a wrong password or code (happening), or a mark of an account."""

    time_ms: int
    happening: Happening | None = None
    mark: Mark | None = None


Event = Payment | Refund | AccountEvent

_POSTURES: Final = tuple((flag.name.lower(), flag) for flag in Posture if flag.name)


def _chip_facts(chip: Chip) -> dict[str, FactValue]:
    return {
        "chip_data_authentication_failed": False,
        "chip_cardholder_not_verified": chip.cardholder_not_verified,
        "chip_pin_tries_exceeded": chip.pin_tries_exceeded,
        "chip_expired": False,
        "chip_new_card": chip.new_card,
        "chip_pin_verified": chip.pin_verified,
        "chip_counter": chip.counter,
    }
