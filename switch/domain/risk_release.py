"""The life of a rule set or a model: draft, replayed, approved by a second person and live, retired or taken back."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from switch.domain.risk_replay import ReplayReport


class ReleaseKind(IntEnum):
    """The numbers are stored: they are never reused."""

    RULES = 1
    MODEL = 2


class ReleaseState(IntEnum):
    """The numbers are stored: they are never reused. At most one of a kind is LIVE; without one version 0 is."""

    DRAFT = 1
    REPLAYED = 2
    LIVE = 3
    RETIRED = 4  # another one took its place; it is live again if that one is rolled back
    ROLLED_BACK = 5  # never again: who wants it adds it anew


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a rule set (the document's text) or of a model (its file). Its content is never changed.

    sha256: of the content, hexadecimal. replaces: what was live when it was approved, 0 for version 0. replay_id: what
    it was approved on. …_by: `Caller.name`, "" for nobody yet. Times are Unix milliseconds.
    """

    kind: ReleaseKind
    version: int
    name: str
    sha256: str
    size_bytes: int
    state: ReleaseState
    created_by: str
    created_time_ms: int
    approved_by: str = ""
    approved_time_ms: int = 0
    replay_id: UUID | None = None
    replaces: int = 0
    changed_by: str = ""
    changed_time_ms: int = 0


class ReplayState(IntEnum):
    """The numbers are stored: they are never reused."""

    RUNNING = 1
    DONE = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Replay:
    """A candidate judged over stored judgements.

    live_rules, live_model: the versions that were live when it began: it counts against these alone. from_time_ms,
    to_time_ms: of the payments' transmission, the end excluded. judged: so far. failure: why it failed. beat_time_ms:
    when its process was last heard of.
    """

    id: UUID
    kind: ReleaseKind
    version: int
    sha256: str
    live_rules: int
    live_model: int
    from_time_ms: int
    to_time_ms: int
    state: ReplayState
    started_by: str
    started_time_ms: int
    beat_time_ms: int
    ended_time_ms: int = 0
    judged: int = 0
    failure: str = ""
    report: ReplayReport | None = None
