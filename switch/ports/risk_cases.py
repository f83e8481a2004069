"""What risk control's cases and lists are kept in. All raise StoreUnavailable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.risk import Outcome, Subject
from switch.domain.risk_case import Case, CaseChange, CaseFile, CaseQueue
from switch.domain.risk_listing import (
    ListingBatch,
    ListingChange,
    ListingEntry,
    ListingKey,
    SharedAs,
    StoredListing,
)
from switch.ports.risk import Alert

Keys = Mapping[Subject, frozenset[str]]


@dataclass(frozen=True, slots=True)
class ListsHead:
    """position: of the last change. purged: who has not come so far has missed entries that are forgotten."""

    position: int
    purged: int


class ListingFeed(Protocol):
    """What every process follows."""

    async def head(self) -> ListsHead: ...

    async def changes(
        self, after: int, until: int, from_key: ListingChange | None, limit: int
    ) -> Sequence[ListingChange]:
        """Those of a position above `after` and at most `until`, in their order, behind `from_key`."""

    async def expire(self, now_ms: int, limit: int) -> int:
        """Take off what has expired; how many. 0, too, where another process is at it."""


class Listings(Protocol):
    """Each change with its entry in the audit trail, in one transaction."""

    async def put(self, batch: ListingBatch, entries: Sequence[ListingEntry], entry: AuditEntry) -> None:
        """On the lists at once if it is APPLIED; else it waits. Raises NotPossible where they are full."""

    async def decide(self, batch_id: UUID, approves: bool, entry: AuditEntry, now_ms: int) -> ListingBatch:
        """By another person than asked for it. Raises Missing, NotPermitted, NotPossible."""

    async def remove(self, which: Sequence[ListingKey], entry: AuditEntry, now_ms: int) -> int:
        """How many were on a list."""

    async def remove_of_source(self, source: str, entry: AuditEntry, now_ms: int) -> int:
        """How many were on a list; what still waits is refused."""

    async def page(
        self, subject: Subject | None, key: str, name: str, behind: ListingKey | None, limit: int
    ) -> list[StoredListing]:
        """In the order of subject, key, kind and name; of one list by kind first. key: with a subject. key, name:
        "" for all."""

    async def batches(self, waiting: bool, before_ms: int, limit: int) -> list[ListingBatch]:
        """The newest first."""

    async def unconfirmed_keys(self, created_by: str, since_ms: int) -> Keys:
        """What that one put on block and step-up lists since then and no second person saw."""


class SharedObjects(Protocol):
    async def known(self, partner: str, stix_ids: Sequence[str]) -> Mapping[str, str]:
        """Their last `modified`, by id; of those that were never applied nothing."""

    async def revoke(self, objects: Sequence[SharedAs], entry: AuditEntry, now_ms: int) -> int:
        """What no other object of a partner holds comes off the lists; how many entries."""


class Traffic(Protocol):
    """Subjects as judgements store them (`switch.risk.packing`)."""

    async def passed(self, since_ms: int) -> Sequence[bytes]:
        """Of payments that were transmitted since then and let pass: all of them, or some 200,000 drawn by pages."""

    async def subjects(self, merchant_id: str, authorization_id: UUID) -> bytes | None:
        """Of a payment; None where none was judged."""


class Cases(Protocol):
    async def queue(self, wanted: CaseQueue, behind: Case | None, limit: int) -> list[Case]: ...

    async def file(self, case_id: UUID) -> CaseFile | None: ...

    async def confirmed(self, subject: Subject, since_ms: int, limit: int) -> list[Case]:
        """Closed as fraud since then, the latest first."""

    async def change(self, case_id: UUID, version: int, change: CaseChange, entry: AuditEntry, now_ms: int) -> Case:
        """Raises Missing; NotPossible where it is of another version by now, or another case of its subject is open."""


@dataclass(frozen=True, slots=True)
class JudgedPayment:
    """A payment that was answered, with what was judged of it. subjects: packed. time_ms: when it was judged."""

    merchant_id: str
    authorization_id: UUID
    outcome: Outcome
    score: int
    model_score: int | None
    rules_version: int
    fired: Sequence[str]
    subjects: bytes
    amount_minor: int
    currency: str
    time_ms: int


class AlertsOfPayments(Protocol):
    async def __call__(self, payments: Sequence[JudgedPayment]) -> Sequence[Alert | None]:
        """In order; None where nobody is to look at it."""
