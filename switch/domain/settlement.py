"""Settlement: what merchants are paid out, in batches that one person makes and another releases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from uuid import UUID

from switch.domain.ledger import BANK, IN_TRANSIT, MERCHANT, RESERVE, Leg, Posting, PostingKind


class PayoutState(IntEnum):
    """Of a payout, and of its batch: PAID when no payout of it is RELEASED any more. The numbers are stored."""

    DRAFT = 1  # the money is set aside
    RELEASED = 2  # it may be paid: the payout file can be had
    PAID = 3
    RETURNED = 4  # the bank did not pay, or it came back: it is the merchant's again
    REJECTED = 5


TRANSITIONS: dict[PayoutState, frozenset[PayoutState]] = {
    PayoutState.DRAFT: frozenset({PayoutState.RELEASED, PayoutState.REJECTED}),
    PayoutState.RELEASED: frozenset({PayoutState.PAID, PayoutState.RETURNED}),
    PayoutState.PAID: frozenset({PayoutState.RETURNED}),
    PayoutState.RETURNED: frozenset(),
    PayoutState.REJECTED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Debtor:
    """Our own account, from which is paid. bank_code: BIC, or CNAPS (12 digits)."""

    name: str = ""
    account: str = ""
    bank_code: str = ""


@dataclass(frozen=True, slots=True)
class Payout:
    """net_minor: what is settled; reserve_minor of it is held back, payout_minor is paid.

    masked_number: the account number's last four characters behind asterisks; the whole one is kept sealed, apart.
    end_to_end_id: names the payment at the banks, at most 35 characters.
    """

    merchant_id: str
    batch_id: UUID
    currency: str
    state: PayoutState
    net_minor: int
    reserve_minor: int
    payout_minor: int
    account_name: str = field(repr=False)
    masked_number: str = field(repr=False)
    bank_code: str = field(repr=False)
    end_to_end_id: str
    created_time_ms: int
    changed_time_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Who had a balance and is not in the batch. balance_minor: negative where the merchant owes us."""

    merchant_id: str
    balance_minor: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """through_day: the last closed day. created_by, decided_by: `Caller.name`. decided: released or rejected.

    execution_day, debtor: what the payout file says, fixed when the batch is released.
    """

    id: UUID
    currency: str
    through_day: str
    state: PayoutState
    payouts: int
    total_minor: int
    reserve_minor: int
    created_by: str
    created_time_ms: int
    decided_by: str = ""
    decided_time_ms: int = 0
    reason: str = ""
    execution_day: str = ""
    debtor: Debtor = Debtor()

    @property
    def message_id(self) -> str:
        """Names the payout file at the bank: the same in every copy. 32 characters."""
        return self.id.hex


@dataclass(frozen=True, slots=True)
class Drafted:
    """Who is paid, who is not, and when what is held back is given back, by merchant."""

    payouts: tuple[Payout, ...]
    left_out: tuple[LeftOut, ...]
    release_days: Mapping[str, str]


def batch_id_of(idempotency_key: str) -> UUID:
    return UUID(bytes=sha256(f"settlement batch:{idempotency_key}".encode()).digest()[:16], version=5)


def end_to_end_id_of(batch_id: UUID, merchant_id: str) -> str:
    """At most 32 characters.

    >>> end_to_end_id_of(UUID(int=1 << 64), "104110053110001")
    '0000000000000001-104110053110001'
    """
    return f"{batch_id.hex[:16]}-{merchant_id}"


def set_aside(payout: Payout, day: str, time_ms: int) -> Posting:
    """From the merchant's account to what is in transit and what is held back."""
    amounts = ((MERCHANT, payout.net_minor), (IN_TRANSIT, -payout.payout_minor), (RESERVE, -payout.reserve_minor))
    return _posting(payout, PostingKind.SETTLEMENT, "set aside", amounts, (day, time_ms))


def given_up(payout: Payout, day: str, time_ms: int) -> Posting:
    """Of a rejected batch: all of it is the merchant's again."""
    amounts = ((MERCHANT, -payout.net_minor), (IN_TRANSIT, payout.payout_minor), (RESERVE, payout.reserve_minor))
    return _posting(payout, PostingKind.SETTLEMENT, "given up", amounts, (day, time_ms))


def paid(payout: Payout, day: str, time_ms: int) -> Posting:
    amounts = ((IN_TRANSIT, payout.payout_minor), (BANK, -payout.payout_minor))
    return _posting(payout, PostingKind.PAYOUT, "paid", amounts, (day, time_ms))


def returned(payout: Payout, day: str, time_ms: int) -> Posting:
    """What was not paid, or came back, is the merchant's again; what is held back of it stays so until its day."""
    account = BANK if payout.state is PayoutState.PAID else IN_TRANSIT
    amounts = ((account, payout.payout_minor), (MERCHANT, -payout.payout_minor))
    return _posting(payout, PostingKind.PAYOUT_RETURNED, "returned", amounts, (day, time_ms))


def reserve_released(merchant_id: str, batch_id: UUID, money: tuple[int, str], day: str, time_ms: int) -> Posting:
    """money: (minor units, currency)."""
    amount, currency = money
    return Posting(
        merchant_id, _id(batch_id, merchant_id, "reserve"), PostingKind.RESERVE_RELEASE, day, currency,
        (Leg(RESERVE, amount), Leg(MERCHANT, -amount)), f"settlement/{batch_id}", time_ms,
    )  # fmt: skip


def _posting(
    payout: Payout, kind: PostingKind, what: str, amounts: tuple[tuple[str, int], ...], when: tuple[str, int]
) -> Posting:
    day, time_ms = when
    legs = tuple(Leg(account, amount) for account, amount in amounts if amount)
    identity = _id(payout.batch_id, payout.merchant_id, what)
    source = f"payout/{payout.end_to_end_id}"
    return Posting(payout.merchant_id, identity, kind, day, payout.currency, legs, source, time_ms)


def _id(batch_id: UUID, merchant_id: str, what: str) -> UUID:
    """One of each kind for each payout: entered again, it is the same."""
    return UUID(bytes=sha256(batch_id.bytes + f"{what}:{merchant_id}".encode()).digest()[:16], version=5)
