"""What the merchant service keeps. `switch.store.merchant_administration` meets it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.contract_version import ContractVersion
from switch.domain.merchant_people import ApiCredential, Invitation, Member, Store, StoreTerminal
from switch.domain.merchant_record import Document, MerchantRecord, Review, SettlementAccount
from switch.domain.merchant_standing import Standings

T = TypeVar("T")


class Books(Protocol):
    """All that is kept of one merchant, while nobody else may change it: within one transaction.

    `keep_…` replaces what has the same id.
    """

    @property
    def record(self) -> MerchantRecord: ...

    async def keep_record(self, record: MerchantRecord) -> None: ...

    async def reviews(self) -> list[Review]:
        """Of the present round, in order of time."""

    async def add_review(self, review: Review) -> None: ...

    async def documents(self) -> list[Document]: ...

    async def add_document(self, document: Document, content: bytes) -> None: ...

    async def accounts(self) -> list[SettlementAccount]:
        """Newest first."""

    async def keep_account(self, account: SettlementAccount) -> None: ...

    async def contracts(self) -> list[ContractVersion]:
        """Newest first."""

    async def keep_contract(self, version: ContractVersion) -> None: ...

    async def stores(self) -> list[Store]: ...

    async def keep_store(self, store: Store) -> None: ...

    async def terminal(self, terminal_id: str) -> StoreTerminal | None: ...

    async def count_terminals(self) -> int: ...

    async def keep_terminal(self, terminal: StoreTerminal) -> None: ...

    async def members(self) -> list[Member]: ...

    async def keep_member(self, member: Member) -> None: ...

    async def remove_member(self, user_id: UUID) -> None: ...

    async def invitations(self) -> list[Invitation]: ...

    async def keep_invitation(self, invitation: Invitation) -> None: ...

    async def remove_invitation(self, invitation_id: str) -> None: ...

    async def credentials(self) -> list[ApiCredential]:
        """Revoked and expired ones left out."""

    async def keep_credential(self, credential: ApiCredential) -> None: ...

    async def audit(self, entry: AuditEntry) -> None: ...


Work = Callable[[Books], Awaitable[T]]


class MerchantStore(Protocol):
    """Raises StoreUnavailable. `work` may be run again after a rollback: it changes nothing but the books."""

    async def change(self, merchant_id: str, work: Work[T]) -> T:
        """Raises Missing where there is no such merchant."""

    async def read(self, merchant_id: str, work: Work[T]) -> T:
        """Like `change`, without keeping anybody else out."""

    async def create(
        self, applicant: str, decide: Callable[[Sequence[MerchantRecord]], MerchantRecord], then: Work[None]
    ) -> MerchantRecord:
        """decide: from those of the applicant that wait, at most 100, to a new one or to one of them.

        then: done to a new one.
        """

    async def applications(
        self, applicant: str, state: int, before: tuple[int, str], limit: int
    ) -> list[MerchantRecord]:
        """Newest first, of those before (applied_time_ms, id). "" and 0: of anybody, in any state."""

    async def terminals(self, merchant_id: str, after: str, limit: int) -> list[StoreTerminal]: ...

    async def document(self, merchant_id: str, document_id: UUID) -> tuple[Document, bytes] | None: ...

    async def memberships(self, user_id: UUID) -> list[tuple[MerchantRecord, Member]]:
        """At most 500."""

    async def changes(self, merchant_id: str, before: UUID, limit: int) -> list[tuple[UUID, int, AuditEntry]]:
        """(id, Unix milliseconds, entry), newest first."""


class StandingStore(Protocol):
    async def standings(self, since_ms: int) -> Standings:
        """What has changed since that Unix time of the database; 0: all that there is. Raises StoreUnavailable."""
