"""What the switch and a direct issuer say to each other: protos/payswitch/v1/issuer.proto as plain values."""

from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum

from switch.domain.bill import BillKind
from switch.domain.money import Money
from switch.domain.sensitive import Pan, Sensitive
from switch.domain.states import EntryMode, Operation


@dataclass(slots=True)
class StandInApproval:
    """What the switch approved in the issuer's place. approved_time_ms: Unix time."""

    approval_code: str
    approved_time_ms: int


@dataclass(slots=True)
class IssuerMessage:
    """One thing an issuer is asked to do.

    message_id: unique per issuer; a repeat carries the same and has one effect. original_message_id: of the sale or
    pre-authorization, for everything that follows one. expiry_yymm, card_sequence_number (DE23): "" if not known.
    pin_block: 8 bytes under the issuer's zone PIN key, ISO 9564-1 format 0, or b"". emv: BER-TLV (DE55), or b"".
    budget_ms: how long the answer is of use. repeat: 0 for the first sending. track2: with `=` separator, or None.
    stand_in: set in an advice, whose `operation` and `message_id` are those of the message that it stands for.
    """

    message_id: str
    operation: Operation
    authorization_id: str
    money: Money
    original_message_id: str = ""
    pan: Pan | None = None
    expiry_yymm: str = field(default="", repr=False)
    card_sequence_number: str = ""
    pin_block: bytes = field(default=b"", repr=False)
    emv: bytes = field(default=b"", repr=False)
    entry: EntryMode | None = None
    acquirer_id: str = ""
    merchant_id: str = ""
    merchant_name: str = ""
    merchant_category_code: str = ""
    terminal_id: str = ""
    transmission_time_ms: int = 0
    budget_ms: int = 0
    repeat: int = 0
    track2: Sensitive | None = None
    stand_in: StandInApproval | None = None


class OutcomeState(IntEnum):
    """What became of a sale or pre-authorization, in the words of the wire. UNSPECIFIED is none of them."""

    UNSPECIFIED = 0
    APPROVED = 1
    DECLINED = 2
    UNDONE = 3
    OPEN = 4


@dataclass(slots=True)
class Outcome:
    """The answer to an inquiry. state: an OutcomeState, or a number that is none. approved: with code "10"."""

    state: int
    response_code: str = ""
    approval_code: str = ""
    approved: Money | None = None


@dataclass(slots=True)
class IssuerAnswer:
    """What an issuer answered. response_code is DE39, approval_code DE38; approved only with response code "10".

    outcome: of an inquiry with response code "00". Nothing of it has been checked.
    """

    message_id: str
    response_code: str
    approval_code: str = ""
    approved: Money | None = None
    emv_response: bytes = b""
    reason: str = ""
    outcome: Outcome | None = None


@dataclass(slots=True)
class IssuerNotice:
    """What an issuer says by itself. state: as in `Outcome`. Nothing of it has been checked."""

    notice_id: str
    message_id: str
    refund_message_id: str = ""
    state: int = 0


@dataclass(slots=True)
class BillRequest:
    """day: the business day, Asia/Shanghai."""

    request_id: str
    day: date


@dataclass(slots=True)
class IssuerBillLine:
    """kind: None where the wire named none that is known. Times are Unix milliseconds."""

    kind: BillKind | None
    message_id: str
    money: Money
    booked_time_ms: int
    original_message_id: str = ""
    issuer_reference: str = ""
    fee_minor: int = 0


@dataclass(slots=True)
class IssuerBillTotal:
    """Of one kind and currency: how many lines, and the sums of their amounts and fees."""

    kind: BillKind | None
    currency: str
    lines: int
    amount_minor: int
    fee_minor: int


@dataclass(slots=True)
class BillChunk:
    """A part of a bill. sequence: from 0. totals: in the last one."""

    request_id: str
    sequence: int
    lines: list[IssuerBillLine] = field(default_factory=list)
    totals: list[IssuerBillTotal] = field(default_factory=list)
    last: bool = False
    not_ready: bool = False
