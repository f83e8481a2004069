"""A merchant as its own service knows it: what it applied with, who reviewed it, what it may become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final
from uuid import UUID

from switch.domain.merchant import MerchantProfile, MerchantState
from switch.domain.registration import RegistrationKind

S = MerchantState
# Terminal: CLOSED. A rejected one may apply again.
MERCHANT_TRANSITIONS: Final[Mapping[MerchantState, frozenset[MerchantState]]] = {
    S.APPLIED: frozenset({S.ACTIVE, S.REJECTED}),
    S.ACTIVE: frozenset({S.SUSPENDED, S.CLOSED}),
    S.SUSPENDED: frozenset({S.ACTIVE, S.CLOSED}),
    S.REJECTED: frozenset({S.APPLIED}),
    S.CLOSED: frozenset(),
}
REVIEWS_NEEDED: Final = 2


@dataclass(frozen=True, slots=True)
class Contact:
    """phone: E.164."""

    name: str
    phone: str
    email: str


@dataclass(frozen=True, slots=True)
class Business:
    """display_name, city: as the payer sees them. country: ISO 3166-1 alpha-2. category_code: ISO 18245."""

    legal_name: str
    registration_kind: RegistrationKind
    registration: str
    contact: Contact
    display_name: str
    city: str
    country: str
    category_code: str


@dataclass(frozen=True, slots=True)
class AskedMove:
    """A change of state that one person has asked for and another one may do. NONE_ASKED: there is none."""

    state: MerchantState | None = None
    who: str = ""
    reason: str = ""
    time_ms: int = 0


NONE_ASKED: Final = AskedMove()


@dataclass(frozen=True, slots=True)
class MerchantRecord:
    """applicant: `Caller.name`. round: how often it applied. reason: why it is in its state."""

    id: str
    state: MerchantState
    business: Business
    acquirer_id: str
    applicant: str
    round: int
    applied_time_ms: int
    reason: str = ""
    asked: AskedMove = NONE_ASKED

    @property
    def profile(self) -> MerchantProfile:
        business = self.business
        return MerchantProfile(
            self.id, business.display_name, business.city, business.country, business.category_code, self.acquirer_id,
            self.state,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Review:
    """reviewer: `Caller.name`."""

    round: int
    reviewer: str
    approved: bool
    reason: str
    time_ms: int


class DocumentKind(IntEnum):
    """The numbers are stored: they are never reused."""

    BUSINESS_LICENCE = 1
    IDENTITY = 2
    ACCOUNT_PROOF = 3
    PREMISES = 4
    OTHER = 5


@dataclass(frozen=True, slots=True)
class Document:
    """sha256: hexadecimal."""

    id: UUID
    kind: DocumentKind
    media_type: str
    size_bytes: int
    sha256: str
    added_by: str
    added_time_ms: int


class AccountState(IntEnum):
    """The numbers are stored: they are never reused. An approved one is in force from its time on."""

    PROPOSED = 1
    APPROVED = 2
    CANCELLED = 3


@dataclass(frozen=True, slots=True)
class SettlementAccount:
    """number: sealed by the HSM, bound to merchant and id. masked: what may be shown of it."""

    id: UUID
    state: AccountState
    account_name: str
    sealed_number: bytes = field(repr=False)
    masked_number: str
    bank_code: str
    proposed_by: str
    proposed_time_ms: int
    decided_by: str = ""
    in_force_time_ms: int = 0


def account_in_force(accounts: list[SettlementAccount], now_ms: int) -> SettlementAccount | None:
    """The last approved one whose cooling-off is over."""
    approved = [each for each in accounts if each.state is AccountState.APPROVED and each.in_force_time_ms <= now_ms]
    return max(approved, key=lambda each: (each.in_force_time_ms, each.id.int), default=None)


def person_of(name: str) -> str:
    """
    >>> person_of("reviewer/ann")
    'ann'
    """
    return name.partition("/")[2]
