"""What the switch and a direct issuer say to each other: protos/payswitch/v1/issuer.proto as plain values."""

from dataclasses import dataclass, field

from switch.domain.money import Money
from switch.domain.sensitive import Pan
from switch.domain.states import EntryMode, Operation


@dataclass(slots=True)
class IssuerMessage:
    """One thing an issuer is asked to do.

    message_id: unique per issuer; a repeat carries the same and has one effect. original_message_id: of the sale or
    pre-authorization, for everything that follows one. expiry_yymm, card_sequence_number (DE23): "" if not known.
    pin_block: 8 bytes under the issuer's zone PIN key, ISO 9564-1 format 0, or b"". emv: BER-TLV (DE55), or b"".
    budget_ms: how long the answer is of use. repeat: 0 for the first sending.
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


@dataclass(slots=True)
class IssuerAnswer:
    """What an issuer answered. response_code is DE39, approval_code DE38; approved only with response code "10"."""

    message_id: str
    response_code: str
    approval_code: str = ""
    approved: Money | None = None
    emv_response: bytes = b""
    reason: str = ""
