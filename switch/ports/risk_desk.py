"""What risk control's desk keeps: rule sets, models, replays; and the judgements and labels that it reads.

All raise StoreUnavailable.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.risk import Outcome
from switch.domain.risk_label import PaymentLabel
from switch.domain.risk_release import Release, ReleaseKind, Replay
from switch.domain.risk_replay import ReplayReport


@dataclass(frozen=True, slots=True)
class InForce:
    """Versions; 0: the program's own, which for a model is none."""

    rules: int = 0
    model: int = 0

    def of(self, kind: ReleaseKind) -> int:
        return self.rules if kind is ReleaseKind.RULES else self.model


class Releases(Protocol):
    """What every process reads: which version is live, and its content."""

    async def in_force(self) -> InForce: ...

    async def find(self, kind: ReleaseKind, version: int) -> Release | None: ...

    async def content(self, kind: ReleaseKind, version: int) -> bytes:
        """In chunks, so that nobody waits long for the event loop; b"" if there is no such version."""


class ReleaseDesk(Releases, Protocol):
    """What the desk does with them; each change with its entry in the audit trail, in one transaction."""

    async def add(self, kind: ReleaseKind, name: str, content: bytes, entry: AuditEntry, now_ms: int) -> Release:
        """A draft by `entry.who`, with the next version of its kind. The entry's subject gets the version."""

    async def page(self, kind: ReleaseKind, before: int, limit: int) -> list[Release]:
        """Those of versions below `before`, the newest first."""

    async def put_in_force(
        self, release: Release, instead_of: InForce, replay_id: UUID, entry: AuditEntry, now_ms: int
    ) -> Release:
        """REPLAYED becomes LIVE, the live one of its kind RETIRED.

        Raises NotPossible: it is not REPLAYED (any more), or others than `instead_of` are live.
        """

    async def roll_back(self, release: Release, entry: AuditEntry, now_ms: int) -> Release:
        """LIVE becomes ROLLED_BACK, and what it replaced LIVE again. Raises NotPossible: it is not live (any more)."""


class Replays(Protocol):
    async def begin(self, replay: Replay) -> None: ...

    async def beat(self, replay_id: UUID, judged: int, now_ms: int) -> None: ...

    async def done(self, replay: Replay, report: ReplayReport, now_ms: int) -> None:
        """A DRAFT of its version becomes REPLAYED."""

    async def failed(self, replay_id: UUID, failure: str, now_ms: int) -> None: ...

    async def find_replay(self, replay_id: UUID) -> Replay | None: ...

    async def latest(self, kind: ReleaseKind, version: int) -> Replay | None:
        """The last one of that version that is DONE."""


@dataclass(frozen=True, slots=True)
class StoredJudgement:
    """A row of risk_judgements. facts: packed (`switch.risk.packing`)."""

    merchant_id: str
    authorization_id: UUID
    outcome: Outcome
    response_code: str
    score: int
    model_score: int | None
    rules_version: int
    model_version: int
    fired: Sequence[str]
    shadow: Sequence[str]
    absent: Sequence[str]
    facts: bytes
    amount_minor: int
    currency: str
    time_ms: int


class Judgements(Protocol):
    async def judgement(self, merchant_id: str, authorization_id: UUID) -> StoredJudgement | None: ...

    async def oldest_time_ms(self) -> int | None:
        """The beginning of the first UTC day with a payment of which there is a judgement; None without any."""


class Labels(Protocol):
    async def put_labels(self, labels: Sequence[PaymentLabel]) -> None:
        """Each source's label of a payment once: what it says later takes the place of what it said before."""

    async def labels_of(self, merchant_id: str, authorization_id: UUID) -> list[PaymentLabel]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is judged by. rules: the text of a document; None: version 0. model: a model's file; None: by the scores
    that are stored."""

    rules: str | None
    model: bytes | None = None


class Rejudge(Protocol):
    async def __call__(
        self, candidate: Candidate, from_time_ms: int, to_time_ms: int, heard: Callable[[int], Awaitable[None]]
    ) -> ReplayReport:
        """The candidate over the stored judgements of payments transmitted in that time, the end excluded.

        heard: told now and then how many are judged so far. Raises ReplayFailed.
        """


class ReplayFailed(Exception):
    """The text says why, for a person."""
