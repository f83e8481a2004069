"""A movement of money as our own records tell it: the other side of a `BillLine`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from switch.domain.bill import BillKind
from switch.domain.money import Money


class Standing(StrEnum):
    """What a bill should say of it."""

    DONE = "done"  # it is in the bill
    UNDONE = "undone"  # a payment that was undone, or what undid it: both are in the bill, or neither
    DOUBTFUL = "doubtful"  # as UNDONE, but whether the payment ever was the channel never said
    OPEN = "open"  # it has not ended: both is right
    POSSIBLE = "possible"  # no record of its own, but right where the bill has it: the reversal that is being tried
    REFUSED = "refused"  # it is not in the bill


@dataclass(frozen=True, slots=True)
class Movement:
    """reference: our name for it, as in `BillLine`; also: further names under which the channel may have booked it.

    original_reference: of a refund or reversal, that of its payment. money: positive; kind says which way.
    time_ms: when it was answered, or else begun. record: what it is and where it is found, for a person.
    merchant_id, authorization_id: of the payment that it is or belongs to.
    """

    kind: BillKind
    reference: str
    money: Money
    time_ms: int
    standing: Standing
    original_reference: str = ""
    record: str = ""
    also: tuple[str, ...] = ()
    merchant_id: str = ""
    authorization_id: UUID | None = None


# The first that a message's trace holds is its name: a wallet's refund carries its payment's out_trade_no, too.
_NAMES = ("out_request_no", "out_refund_no", "message_id")


def reference_in(trace: Mapping[str, str]) -> str:
    """Our name of a message, from what was kept to name it again; "" where nothing was kept.

    >>> reference_in({"out_trade_no": "t1", "out_refund_no": "r1"}), reference_in({"out_trade_no": "t1"})
    ('r1', 't1')
    >>> reference_in({"transmission": "0102030405", "stan": "000017", "rrn": "x"})
    '0102030405-000017'
    """
    for name in _NAMES:
        if name in trace:
            return trace[name]
    if "stan" in trace:
        return f"{trace.get('transmission', '')}-{trace['stan']}"
    return trace.get("out_trade_no", "")
