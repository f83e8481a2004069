"""What the journal tells the services around the road: one event for everything that happened to a payment."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from switch.domain.money import Money
from switch.domain.states import EntryMode, Operation


class EventKind(IntEnum):
    """The numbers are stored: they are never reused."""

    APPROVED = 1  # a sale or order that was paid, a pre-authorization that holds; of a SALE or ORDER the money moved
    DECLINED = 2  # asked and refused, by us or by the channel; no money moved
    UNANSWERED = 3  # the caller was told UNKNOWN; should money have moved, it is given back. Moves none in our books
    CAPTURED = 4  # of a pre-authorization
    REFUNDED = 5
    UNDONE = 6  # an approved authorization was voided or reversed, whole: what was captured goes back
    INCREMENTED = 7


MOVES_MONEY = frozenset({EventKind.CAPTURED, EventKind.REFUNDED, EventKind.UNDONE})


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One event. The journal has it exactly once, under (merchant_id, authorization_id, kind, follow_on_id).

    position: grows in the order in which events were found; a consumer keeps the last it has worked. 0: none yet.
    follow_on_id: of the capture, refund or increment, and nil for the others.
    money: what this event moves or, where it moves none, what was asked or approved: of APPROVED the approved amount,
    of UNDONE what had been captured and not refunded (it may be 0).
    time_ms: when it was answered. created_time_ms: when the payment was begun. payer_key: keyed hash of the credential;
    empty for an order of a channel, whose payer nobody tells.
    reference: our name at the channel (as in `BillLine`). card_prefix: the first six digits of a card, else "".
    """

    position: int
    merchant_id: str
    authorization_id: UUID
    follow_on_id: UUID
    kind: EventKind
    operation: Operation
    money: Money
    time_ms: int
    created_time_ms: int
    acquirer_id: str
    terminal_id: str
    channel: str
    entry: EntryMode
    response_code: str
    reference: str
    payer_key: bytes
    card_prefix: str

    @property
    def moved_minor(self) -> int:
        """Towards the merchant positive, back to the payer negative, 0 where no money moved. Minor units."""
        if self.kind is EventKind.APPROVED:
            return 0 if self.operation is Operation.PRE_AUTHORIZATION else self.money.amount_minor
        if self.kind is EventKind.CAPTURED:
            return self.money.amount_minor
        return -self.money.amount_minor if self.kind in (EventKind.REFUNDED, EventKind.UNDONE) else 0
