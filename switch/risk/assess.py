"""The limits that hold before any channel is asked: pure, over facts gathered by the road."""

from dataclasses import dataclass

from switch.domain.authorization import AuthorizationRequest, CardCredential
from switch.domain.states import EntryMode

_CONTACTLESS = frozenset({EntryMode.NFC, EntryMode.BLUETOOTH})


@dataclass(slots=True, frozen=True)
class Limits:
    """contactless_no_pin_limit_minor: above it a tap needs a PIN (1,000 yuan). Only for `currency`.

    payer_attempts: how many authorizations one payer may ask for in `window_s`.
    """

    contactless_no_pin_limit_minor: int = 100_000
    currency: str = "CNY"
    payer_attempts: int = 60
    window_s: int = 60
    decline_without_counters: bool = False


@dataclass(slots=True, frozen=True)
class Refusal:
    """response_code: DE39."""

    response_code: str
    reason: str


def judge(request: AuthorizationRequest, payer_attempts: int | None, limits: Limits) -> Refusal | None:
    """None if the payment may go on. payer_attempts: in the window, this one included; None: counters unavailable."""
    money = request.money
    if (
        request.entry in _CONTACTLESS
        and isinstance(request.credential, CardCredential)
        and request.pin is None
        and money.currency == limits.currency
        and money.amount_minor > limits.contactless_no_pin_limit_minor
    ):
        return Refusal("61", "a contactless payment above the limit needs a PIN")
    if payer_attempts is None:
        return Refusal("96", "velocity unknown and policy declines") if limits.decline_without_counters else None
    if payer_attempts > limits.payer_attempts:
        return Refusal("65", "too many payments by this payer")
    return None
