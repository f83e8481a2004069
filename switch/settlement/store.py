"""What settlement needs of the world beside `switch.ports`; `switch.store` meets these by shape."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date
from typing import Protocol
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.books import Balance, ClosedDay, DayTotal, Fault, StatementFrame, StatementLine
from switch.domain.pricing import Unpriced
from switch.domain.settlement import Batch, Debtor, Drafted, LeftOut, Payout, PayoutState


class Feed(Protocol):
    """The journal's feed."""

    async def complete_day(self, day: date) -> int:
        """Find whatever of that business day has no position yet; how many events were new. Raises StoreUnavailable."""


class Follower(Protocol):
    async def step(self) -> int:
        """Enter some of the journal's events; 0 where there are none, or somebody else is at it."""


class Days(Protocol):
    """Every method raises StoreUnavailable if it cannot be sure."""

    async def fed(self) -> int:
        """The last position that the journal's events have."""

    async def followed(self) -> int:
        """The position of the last event that was entered."""

    async def day(self, day: str) -> ClosedDay | None: ...

    async def totals(self, day: str) -> tuple[list[DayTotal], list[Unpriced]]: ...

    async def seal(self, day: str, by: str, position: int, now_ms: int) -> None:
        """From here on nothing is entered into it. Nothing where it is sealed. Raises NotPossible."""

    async def sum_up(self, day: str, now_ms: int) -> ClosedDay:
        """All of it or nothing; the same again where it was done before."""


class Checker(Protocol):
    async def check(self, day: str) -> list[Fault]: ...


class Reserves(Protocol):
    async def release_due(self, day: str, now_ms: int) -> int:
        """Give back what was held until that day or one before, each once; returns how many."""


class Batches(Protocol):
    """Every method raises StoreUnavailable if it cannot be sure. What changes is audited in the same transaction."""

    async def closed_through(self) -> str:
        """The last closed day, "" where there is none."""

    async def available(self, currency: str) -> dict[str, int]:
        """merchant_id -> what may be settled, minor units, negative where it owes us; no zeros.

        What came to the merchant counts once its day is closed, what left it counts at once.
        """

    async def find(self, batch_id: UUID) -> Batch | None: ...

    async def create(
        self,
        batch: Batch,
        decide: Callable[[Mapping[str, int]], Drafted],
        numbers: Mapping[str, str],
        entry: AuditEntry,
    ) -> Batch:
        """Set the money aside. decide: of what is available while nobody else sets money aside; pure, may be called
        again, what it raises ends it. numbers: merchant_id -> account number, of all that it may decide for; they are
        sealed before anything is locked. The stored batch: this one with its sums, if there was none under its id.
        Raises the HSM's error: nothing was set aside."""

    async def release(self, batch_id: UUID, debtor: Debtor, entry: AuditEntry, day: str, now_ms: int) -> Batch:
        """DRAFT becomes RELEASED; the same again by the same person has no effect. Raises NotPossible."""

    async def reject(self, batch_id: UUID, reason: str, entry: AuditEntry, day: str, now_ms: int) -> Batch:
        """DRAFT becomes REJECTED, and the money is the merchants' again. Raises NotPossible."""

    async def batches(self, before: tuple[int, UUID] | None, limit: int) -> list[Batch]:
        """Newest first."""

    async def payouts(self, batch_id: UUID) -> list[Payout]:
        """By merchant."""

    async def account_numbers(self, batch_id: UUID) -> dict[str, str]:
        """merchant_id -> account number, opened: for the payout file alone. Raises the HSM's error, or NotPossible
        where one does not open."""

    async def left_out(self, batch_id: UUID) -> list[LeftOut]: ...

    async def keep_file(self, batch_id: UUID, form: str, digest: bytes, entry: AuditEntry) -> tuple[str, bytes]:
        """Form and digest of the first file that was handed out: this one, if none was."""

    async def end_payouts(
        self,
        batch_id: UUID,
        merchant_ids: Sequence[str],
        state: PayoutState,
        reason: str,
        entry: AuditEntry,
        day: str,
        now_ms: int,
    ) -> int:
        """Bring payouts to PAID or RETURNED and enter it; those that are there already stay. merchant_ids: none, all.

        Returns how many changed. Raises Missing, or NotPossible for one that may not become that.
        """  # fmt: skip

    async def payouts_of(self, merchant_id: str, before: tuple[int, UUID] | None, limit: int) -> list[Payout]:
        """Newest first."""


class Accounts(Protocol):
    async def balances(self, after: tuple[str, str, str], limit: int) -> list[Balance]:
        """Every account's, by (merchant_id, currency, account)."""

    async def balances_of(self, merchant_id: str) -> list[Balance]: ...

    def statement(
        self, merchant_id: str, currency: str, from_day: str, until_day: str
    ) -> AsyncIterator[StatementFrame | StatementLine]:
        """A frame with the opening balance, every line, a frame with the closing balance; as of one moment."""
