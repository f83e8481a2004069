"""The durable truth of payments, and the processes that write it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.risk import NOTHING_JUDGED, Judged
from switch.domain.states import Operation, State
from switch.ports.channels import Hastened, Notice


class StoreUnavailable(Exception):
    """The database cannot be reached or refuses to write: nothing may be approved."""


@dataclass(slots=True)
class FollowUp:
    """Work that must end: a reversal or an inquiry of an authorization, a capture, refund or increment that is open.

    operation: REVERSAL, INQUIRY, CAPTURE, REFUND or INCREMENT. attempts: how often it was sent by a resolver. fence:
    grows with every claim; a result is accepted only under the fence it was claimed with. follow_on: the capture,
    refund or increment, which was sent once before under `trace`; None for a reversal and an inquiry.
    """

    authorization: Authorization
    operation: Operation
    attempts: int
    fence: int
    first_due_time_ms: int
    trace: dict[str, str] = field(default_factory=dict)
    follow_on: FollowOn | None = None


class Journal(Protocol):
    """The durable truth. Every method raises StoreUnavailable if it cannot be sure. Lists are one transaction."""

    async def record_intents(
        self, intents: Sequence[Authorization], judged: Mapping[UUID, Judged] = NOTHING_JUDGED
    ) -> list[Authorization | None]:
        """Insert; per item None if recorded, else the record that was there already (a repeat). Durable on return.

        judged: by authorization id, what risk control judged of those that it was asked about; stored with them.
        """

    async def record_attempts(self, authorizations: Sequence[Authorization]) -> list[bool]:
        """The next channel of a cascade: channel, attempt, trace, explanation of rows still SENT and owned by us."""

    async def record_outcomes(
        self, authorizations: Sequence[Authorization], follow_up_after_s: Sequence[float]
    ) -> list[bool]:
        """Outcome of rows SENT and owned by us: state and answer fields; False where the row was no longer ours.

        An UNKNOWN outcome opens its reversal, an AWAITING_PAYER one its inquiry, due after so many seconds, in the
        same transaction. Durable on return.
        """

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None: ...

    async def find_follow_ons(self, merchant_id: str, authorization_id: UUID) -> list[FollowOn]: ...

    async def begin_follow_on(
        self, follow_on: FollowOn, tombstone: Authorization | None
    ) -> "tuple[FollowOn, Authorization | None]":
        """Check and reserve under the original's row lock (invariant 9), insert the follow-on, durable on return.

        Returns the stored follow-on and its original. A repeat returns what was stored before, untouched. A refused
        one is stored DECLINED with its reason (25 original missing, 64 amount, 12 not in this state). A REVERSAL of
        an original that does not exist stores `tombstone` in its place: state REVERSED.
        """

    async def finish_follow_on(self, follow_on: FollowOn, original: Authorization) -> None:
        """Outcome of a follow-on that is SENT: what was reserved for a declined one is given back; VOID and REVERSAL
        move the original, and an approved INCREMENT raises it; an UNKNOWN one is the resolver's from now on: a REVERSAL
        of the original, or the CAPTURE, REFUND or INCREMENT again. If it was not SENT any more nothing changes.
        `follow_on` and `original` then say what is stored.
        """

    async def hasten(self, notice: Notice, merchant_id: str | None, authorization_id: UUID) -> Hastened:
        """Make due now what is open of the payment, or of the refund, that the notice is of. Durable on return.

        Who has claimed it already asks again at once, should it learn nothing. merchant_id None: found by the id alone.
        """

    async def claim_follow_ups(self, owner: UUID, limit: int, lease_s: float) -> list[FollowUp]:
        """Due work, at most one per payer_key and in its order, leased to `owner` (FOR UPDATE SKIP LOCKED)."""

    async def keep_follow_up_trace(self, follow_ups: Sequence[FollowUp]) -> None:
        """The trace of the message about to be sent, durable before its first byte."""

    async def finish_follow_ups(self, results: "Sequence[tuple[FollowUp, FollowUpResult]]") -> None: ...

    async def release_follow_ups(self, follow_ups: Sequence[FollowUp]) -> None:
        """Claimed, and given up unfinished: for anybody at once. Those whose claim is over stay as they are."""

    async def claim_in_doubt(self, owner: UUID) -> int:
        """Rows left SENT by processes whose lease ran out become UNKNOWN with an open reversal; returns how many."""


@dataclass(slots=True)
class FollowUpResult:
    """What a follow-up came to.

    state: the authorization's new state, or None to try again after `retry_after_s`.
    For an inquiry that ends in UNKNOWN a reversal is opened, due after `retry_after_s`.
    answer fields (approval_code …) are taken from `FollowUp.authorization`, which the resolver has updated.
    Of a capture, refund or increment it is the follow-on's: APPROVED, or DECLINED, which gives back what was
    reserved; its answer fields are taken from `FollowUp.follow_on`. DEAD_LETTER leaves it UNKNOWN and open, due after
    `retry_after_s`, but it no longer holds up what is newer of its payer.
    """

    state: State | None
    retry_after_s: float = 0.0


class ProcessLeases(Protocol):
    """Liveness of switch processes. slot: 0–63, unique among the living; partitions STANs."""

    async def join(self, name: str) -> "tuple[UUID, int]": ...

    async def announce(self, owner: UUID, address: str) -> None:
        """Where the process can be dialled, host:port; "" for nowhere (any more)."""

    async def living(self) -> "list[tuple[UUID, str]]":
        """(owner, address) of every process that lives and has announced an address, by slot."""

    async def beat(self, owner: UUID, oldest_open_time_ms: int) -> bool:
        """Extend the lease; False if it was lost (the process must stop sending)."""

    async def leave(self, owner: UUID) -> None: ...
