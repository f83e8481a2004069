"""Entries of lists as risk control's desk keeps them: who put them there, until when, and who confirmed them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final
from uuid import UUID

from switch.domain.risk import Listing, ListKind, Subject

MOST_A_BATCH: Final = 10_000


class BatchState(IntEnum):
    """The numbers are stored: they are never reused."""

    WAITING = 1  # for a second person
    APPLIED = 2
    REFUSED = 3


class Marking(IntEnum):
    """The Traffic Light Protocol, 2.0 (FIRST, 2022), from open to closed."""

    CLEAR = 1
    GREEN = 2
    AMBER = 3
    AMBER_STRICT = 4
    RED = 5


@dataclass(frozen=True, slots=True)
class SharedAs:
    """The object of a partner's bundle that an entry comes from. modified: RFC 3339, as STIX writes it."""

    partner: str
    stix_id: str
    modified: str


@dataclass(frozen=True, slots=True)
class ListingEntry:
    """One entry of a batch. shown: in clear, where it is no personal secret. expires_time_ms: Unix milliseconds, 0 for
    never. shared: the objects that say the same, of one partner."""

    subject: Subject
    key: str
    expires_time_ms: int
    shown: str = ""
    shared: tuple[SharedAs, ...] = ()


@dataclass(frozen=True, slots=True)
class ListingBatch:
    """Entries of one list that were asked for together.

    why: what a second person is to look at, empty where none is needed. marking: None of our own. …_by: `Caller.name`,
    "" for nobody yet. Times are Unix milliseconds.
    """

    id: UUID
    kind: ListKind
    name: str
    reason: str
    source: str
    size: int
    state: BatchState
    created_by: str
    created_time_ms: int
    why: tuple[str, ...] = ()
    marking: Marking | None = None
    decided_by: str = ""
    decided_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class StoredListing:
    """second: who confirmed it, "" where nobody had to."""

    listing: Listing
    shown: str
    marking: Marking | None
    batch_id: UUID
    created_by: str
    second: str
    changed_time_ms: int


@dataclass(frozen=True, slots=True)
class ListingChange:
    """live: whether it is on the list now."""

    position: int
    listing: Listing
    live: bool


@dataclass(frozen=True, slots=True)
class ListingKey:
    """What an entry is known by."""

    kind: ListKind
    name: str
    subject: Subject
    key: str


@dataclass(frozen=True, slots=True)
class Impact:
    """What keys would have met of the payments that were let pass.

    payments, payers: counted, and those that were hit; payers are distinct cards, else users, else devices. merchants:
    of each listed merchant the payments, by key.
    """

    payments: int = 0
    payments_hit: int = 0
    payers: int = 0
    payers_hit: int = 0
    merchants: Mapping[str, int] = field(default_factory=dict)

    @property
    def payer_basis_points(self) -> int:
        """Rounded up."""
        return -(-self.payers_hit * 10_000 // self.payers) if self.payers else 0

    @property
    def merchant_basis_points(self) -> int:
        """Of the largest merchant among them, rounded up."""
        largest = max(self.merchants.values(), default=0)
        return -(-largest * 10_000 // self.payments) if self.payments else 0
