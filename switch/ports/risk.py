"""What risk control needs of the world: counters that all processes share, and what its desk keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from switch.domain.payer import Place
from switch.domain.risk import Subject


@dataclass(frozen=True, slots=True)
class Sighting:
    """One payment as the counters see it.

    event_id: the authorization's: seen again it adds nothing. subjects: those that are known, with their keys (hex of
    16 bytes; never a card number, an address or a login). amount_minor: 0 in another than the reference currency.
    """

    event_id: str
    subjects: Mapping[Subject, str]
    amount_minor: int
    place: Place | None = None


class Later(StrEnum):
    """What becomes known of a payment, or happens to an account, after or beside the road."""

    DECLINES = "declines"
    PIN_FAILURES = "pin_failures"
    REFUNDS = "refunds"
    LOGIN_FAILURES = "login_failures"
    WRONG_CODES = "wrong_codes"


@dataclass(frozen=True, slots=True)
class Happening:
    """event_id: told again it adds nothing. amount_minor: of REFUNDS. time_ms: Unix milliseconds, when it happened."""

    event_id: str
    what: Later
    subjects: Mapping[Subject, str]
    time_ms: int
    amount_minor: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """The last time that something happened to an account. name: of `switch.risk.facts.MARKS`."""

    name: str
    user: str
    time_ms: int


class Velocity(Protocol):
    """Sliding windows over all processes. Raises CountersUnavailable, after a bounded time."""

    async def see(self, sightings: Sequence[Sighting]) -> list[dict[str, int]]:
        """Count each once; the facts of source "counters" that each now has, by name, itself included. One round trip.

        A window of length W holds an event for at least W and at most W + W/12; within that the numbers are exact.
        """

    async def tell(self, happenings: Sequence[Happening], marks: Sequence[Mark] = ()) -> None:
        """Each once."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person should see. kind: a rule's id, or the monitor's name for it ("credential_stuffing").

    subject, key: what a case of it is about. facts: short, for reading; no secret, card number or address in it.
    """

    id: str
    kind: str
    subject: Subject
    key: str
    severity: int  # 1 to 1000
    time_ms: int
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)


class Alerts(Protocol):
    async def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """Each id once. Raises StoreUnavailable."""
