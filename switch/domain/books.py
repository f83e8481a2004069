"""The ledger as finance sees it: days, sums, balances, statements, and what a check found."""

from dataclasses import dataclass

from switch.domain.ledger import PostingKind


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """day: ISO date. position: the last of the journal's events that it can hold. closed_time_ms: None while it is
    sealed and not summed yet. digest: SHA-256, of the day before's digest and the day's entries; b"" until closed."""

    day: str
    sealed_by: str
    sealed_time_ms: int
    position: int
    closed_time_ms: int | None
    transactions: int
    entries: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class DayTotal:
    """Of all merchants. Debits are positive, credits negative."""

    currency: str
    account: str
    kind: PostingKind
    amount_minor: int
    entries: int


@dataclass(frozen=True, slots=True)
class Balance:
    """closed_minor: at the end of the last closed day. now_minor: with what has been entered since.

    Debits are positive; what we owe a merchant is negative.
    """

    merchant_id: str
    currency: str
    account: str
    closed_minor: int
    now_minor: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What a check of the ledger found. rule: its name in docs/ledger.md. subject: which row, for a person."""

    rule: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transaction on a merchant's account. amount_minor, balance_minor: towards the merchant positive.

    gross_minor: what was paid or given back, 0 for what is neither a payment nor a refund. fee_minor: what we kept of
    it, then or later (PRICING); negative where it was returned.
    """

    day: str
    time_ms: int
    kind: PostingKind
    source: str
    gross_minor: int
    fee_minor: int
    amount_minor: int
    balance_minor: int


@dataclass(frozen=True, slots=True)
class StatementFrame:
    """A statement's beginning or end."""

    merchant_id: str
    currency: str
    from_day: str
    until_day: str
    balance_minor: int
