"""A payment as its merchant's people see it, and how they look for it."""

from dataclasses import dataclass
from uuid import UUID

from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation, State


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """What is None, 0 or "" selects nothing out; all the rest must hold.

    from_ms, until_ms: of the payment's own time (transmission), Unix milliseconds, the end excluded. terminal_ids: any
    of them; None: every one. authorization_ids: likewise. currency is given where an amount is.
    """

    from_ms: int = 0
    until_ms: int = 0
    authorization_ids: tuple[UUID, ...] | None = None
    terminal_ids: tuple[str, ...] | None = None
    state: State | None = None
    channel: str = ""
    entry: EntryMode | None = None
    currency: str = ""
    at_least_minor: int = 0
    at_most_minor: int = 0
    response_code: str = ""
    reference: str = ""
    channel_reference: str = ""
    retrieval_reference: str = ""
    approval_code: str = ""
    card_first_six: str = ""
    card_last_four: str = ""
    payer_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row of the merchant's list. Its own time is in its id (`transmission_time_ms_of`).

    captured_minor, refunded_minor: without what is still on its way.
    """

    merchant_id: str
    id: UUID
    answered_time_ms: int
    operation: Operation
    state: State
    money: Money
    approved_minor: int
    captured_minor: int
    refunded_minor: int
    entry: EntryMode
    terminal_id: str
    channel: str
    response_code: str
    reason: str
    approval_code: str
    retrieval_reference: str
    channel_reference: str
    reference: str
    masked_credential: str


@dataclass(frozen=True, slots=True)
class Page:
    """resume: the search goes on before this id; None: there is no more."""

    rows: list[Transaction]
    resume: UUID | None
