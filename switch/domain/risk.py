"""What risk control says: rules as they are written, and the judgement of one payment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final
from uuid import UUID

FactValue = int | bool | str | list[str]


class Subject(StrEnum):
    """Who a velocity is counted of. USER and DEVICE: `switch.domain.payer.Payer`; CARD: its keyed hash."""

    CARD = "card"
    USER = "user"
    DEVICE = "device"
    MERCHANT = "merchant"
    TERMINAL = "terminal"
    IP = "ip"


class Mode(StrEnum):
    LIVE = "live"
    SHADOW = "shadow"  # judged and stored, without effect
    OFF = "off"


class Action(StrEnum):
    SCORE = "score"  # adds to the score
    DECLINE = "decline"
    STEP_UP = "step_up"  # declined so that the payer proves himself: by a PIN at a terminal, by his second factor else
    REVIEW = "review"  # goes on; a person looks afterwards
    LIMIT = "limit"  # declined above an amount


class WithoutFacts(StrEnum):
    """What a rule does when the counters it reads (Redis), or the model, are not there."""

    PASS = "pass"  # noqa: S105 - as if it had not fired
    LOCAL = "local"  # judged by what this process counted itself, with limits divided by the number of processes
    FIRE = "fire"  # as if it had fired: the stricter side


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a rule set, as its document has it.

    when: a CEL expression of type bool over the published facts (`switch.risk.facts`). score: of SCORE, 1 to 1000.
    response_code: DE39 of DECLINE, STEP_UP and LIMIT. limit_minor: of LIMIT, minor units of the payment's currency.
    reason: for the caller and the payer, by language ("en", "zh").
    """

    id: str
    version: int
    owner: str
    when: str
    action: Action
    reason: Mapping[str, str]
    mode: Mode = Mode.LIVE
    score: int = 0
    response_code: str = ""
    limit_minor: int = 0
    without_facts: WithoutFacts = WithoutFacts.PASS


class Outcome(IntEnum):
    """Of a judgement, from mild to hard. The numbers are stored."""

    PASS = 1
    REVIEW = 2
    STEP_UP = 3
    DECLINE = 4


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided of one payment, and all that it was decided on.

    response_code, reason: of a STEP_UP or DECLINE. score: the rules' sum, 0 to 1000. model_score: 0 to 1000, the
    chance of fraud in thousandths; None without a model. fired, shadow: ids of the rules that fired, live and shadow,
    in the document's order, after what lists said: "list:" and the name of one that declined, "allow:" and a subject
    that is spared. absent: what was missing of the counters and the model ("counters", "model"). failed: ids of rules
    whose evaluation failed, by a division or a number too large.
    rules_version: 0 for the built-in limits alone. facts: those known, by name; never a card number or an address.
    """

    outcome: Outcome
    response_code: str = ""
    reason: str = ""
    score: int = 0
    model_score: int | None = None
    fired: Sequence[str] = ()
    shadow: Sequence[str] = ()
    absent: Sequence[str] = ()
    rules_version: int = 0
    model_version: int = 0
    facts: Mapping[str, FactValue] = field(default_factory=dict)
    failed: Sequence[str] = ()

    @property
    def declines(self) -> bool:
        return self.outcome in _DECLINING


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgement as it is stored. packed_facts, packed_subjects: `switch.risk.packing`."""

    judgement: Judgement
    packed_facts: bytes
    packed_subjects: bytes


_DECLINING: Final = frozenset({Outcome.STEP_UP, Outcome.DECLINE})
NOTHING_JUDGED: Final[Mapping[UUID, Judged]] = {}


class ListKind(IntEnum):
    """The numbers are stored. ALLOW spares a subject every rule's score and review, never a hard decline or limit."""

    BLOCK = 1
    ALLOW = 2
    WATCH = 3
    STEP_UP = 4


@dataclass(frozen=True, slots=True)
class Listing:
    """A subject on a list. key: `Subject`'s key as the counters have it. name: what a rule asks for: `"stolen" in
    card_lists`. expires_time_ms: Unix milliseconds, 0 for never. source: who put it there, or which bundle.
    """

    kind: ListKind
    name: str
    subject: Subject
    key: str
    reason: str
    source: str
    expires_time_ms: int = 0


class Label(IntEnum):
    """What a payment turned out to be. The numbers are stored."""

    LEGITIMATE = 1
    FRAUD = 2
