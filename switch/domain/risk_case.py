"""Cases of risk control: alerts about one subject, looked at by a person, with an outcome."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from uuid import UUID

from switch.domain.risk import Label, Subject

# Payments that one case keeps and labels: the first ones.
MOST_PAYMENTS: Final = 1_000


class CaseState(IntEnum):
    """The numbers are stored: they are never reused."""

    OPEN = 1
    CLOSED = 2


class CaseOutcome(IntEnum):
    """The numbers are stored: they are never reused."""

    CONFIRMED_FRAUD = 1
    FALSE_ALARM = 2
    UNDECIDED = 3


LABEL_OF: Final[Mapping[CaseOutcome, Label | None]] = {
    CaseOutcome.CONFIRMED_FRAUD: Label.FRAUD,
    CaseOutcome.FALSE_ALARM: Label.LEGITIMATE,
    CaseOutcome.UNDECIDED: None,
}


class CaseAction(IntEnum):
    """FREEZE: on the block list. STEP_UP: its payments need a proof of identity. LIFT: what this case did, undone."""

    FREEZE = 1
    STEP_UP = 2
    LIFT = 3


@dataclass(frozen=True, slots=True)
class Case:
    """severity: the highest of its alerts, 1 to 1000. assigned_to: `Caller.name`, "" for nobody. alerts: how many were
    told, repeats included. version: grows with what people do to it. Times are Unix milliseconds, 0 for not yet.
    """

    id: UUID
    subject: Subject
    key: str
    state: CaseState
    severity: int
    assigned_to: str
    outcome: CaseOutcome | None
    alerts: int
    opened_time_ms: int
    last_time_ms: int
    closed_time_ms: int
    version: int


@dataclass(frozen=True, slots=True)
class CaseAlert:
    """count: how often it was told within its window. facts: JSON, for reading."""

    id: str
    kind: str
    severity: int
    text: str
    facts: str
    count: int
    time_ms: int
    last_time_ms: int


@dataclass(frozen=True, slots=True)
class CasePayment:
    merchant_id: str
    authorization_id: UUID
    rule: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class CaseEvent:
    number: int
    who: str
    act: str
    text: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A case with what is kept of it: the latest alerts, payments, history; and other cases of its subject."""

    case: Case
    alerts: tuple[CaseAlert, ...]
    payments: tuple[CasePayment, ...]
    events: tuple[CaseEvent, ...]
    others: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class CaseChange:
    """What a person does to a case. act: the event's name ("taken"). None: left as it is."""

    act: str
    text: str
    assigned_to: str | None = None
    closes_as: CaseOutcome | None = None
    reopens: bool = False


@dataclass(frozen=True, slots=True)
class CaseQueue:
    """What is listed: the most severe first. assigned_to: None for anybody's, "" for nobody's."""

    state: CaseState = CaseState.OPEN
    least_severity: int = 1
    assigned_to: str | None = None
    subject: Subject | None = None
