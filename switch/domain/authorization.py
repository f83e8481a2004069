"""An authorization: what was asked (request, credential) and what is known of it (record)."""

from dataclasses import dataclass, field
from uuid import UUID

from switch.domain.money import Money
from switch.domain.payer import UNKNOWN_PAYER, Payer
from switch.domain.sensitive import Pan, PaymentCode, Sensitive
from switch.domain.states import Decision, EntryMode, Operation, State


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a card is, where it came out of the switch's own wallet. device_id: which one made the payment code."""

    user_id: UUID
    device_id: UUID | None = None


@dataclass(slots=True)
class CardCredential:
    """A card or its token, however it arrived.

    expiry_yymm: four digits or "". sequence_number: DE23, three digits or "". track2: with `=` separator, or None.
    emv: the BER-TLV bytes for DE55, or b"". holder: only of a card of the switch's own wallet.
    """

    pan: Pan
    expiry_yymm: str = ""
    sequence_number: str = ""
    track2: Sensitive | None = None
    emv: bytes = field(default=b"", repr=False)
    holder: Holder | None = None


@dataclass(slots=True)
class CodeCredential:
    """A wallet's payment code; `scheme` is "alipay", "wechat", "unionpay" or "payswitch", from the code's prefix.

    A code of payswitch's own, and a sealed handover ("handover"), become another credential on the road.
    """

    scheme: str
    code: PaymentCode


@dataclass(slots=True)
class ChannelOrder:
    """The payer presents nothing: he scans the code that a channel gives for the order. scheme: whose wallet he has,
    "alipay" or "wechat".
    """

    scheme: str


Credential = CardCredential | CodeCredential | ChannelOrder


@dataclass(slots=True)
class PinBlock:
    """An encrypted PIN block. format: ISO 9564-1 number (0, 1, 3 or 4).

    key: HSM label of the key it is under; "": the acquirer's zone PIN key.
    """

    block: bytes = field(repr=False)
    format: int = 0
    key: str = ""


@dataclass(slots=True)
class Merchant:
    """Who is paid. category_code: ISO 18245, four digits; country: ISO 3166-1 alpha-2."""

    id: str
    name: str = ""
    city: str = ""
    country: str = "CN"
    category_code: str = "5999"


@dataclass(slots=True)
class AuthorizationRequest:
    """One authorization as the acquirer asked for it. The credential is in the clear and lives no longer than this.

    scanned_order: the merchant's order that the QR names, which the payment is to pay; the service of orders leaves it
    out, for it begins its payments itself.
    """

    acquirer_id: str
    merchant: Merchant
    terminal_id: str
    idempotency_key: str
    transmission_time_ms: int
    operation: Operation  # SALE or PRE_AUTHORIZATION; ORDER of a ChannelOrder, and of nothing else
    money: Money
    entry: EntryMode
    credential: Credential
    pin: PinBlock | None = None
    payer: Payer = UNKNOWN_PAYER
    scanned_order: UUID | None = None


@dataclass(slots=True)
class Authorization:
    """The durable record: one row of the journal. Holds nothing that PCI DSS calls sensitive authentication data.

    fingerprint: keyed hash of the canonical content; empty for the tombstone of a reversal that overtook its original.
    sealed_credential: the PAN or wallet code, encrypted by the HSM; payer_key: its keyed hash.
    trace: what the channel needs to name this message again (STAN, RRN, out_trade_no …).
    attempt: counts channels asked, from 1; 0 while none was. owner: the switch process that drives it while SENT.
    order_code: of an ORDER that waits for its payer, what his wallet scans.
    Amounts are minor units of `money.currency`. approved_minor: with the increments, which are incremented_minor of it.
    """

    id: UUID
    acquirer_id: str
    merchant_id: str
    terminal_id: str
    merchant_category_code: str
    operation: Operation
    money: Money
    entry: EntryMode
    masked_credential: str
    fingerprint: bytes = b""
    payer_key: bytes = b""
    sealed_credential: bytes = field(default=b"", repr=False)
    state: State = State.SENT
    decision: Decision | None = None
    response_code: str = ""
    reason: str = ""
    stage: str = ""
    channel: str = ""
    attempt: int = 0
    route_explanation: str = ""
    trace: dict[str, str] = field(default_factory=dict)
    approval_code: str = ""
    retrieval_reference: str = ""
    channel_reference: str = ""
    emv_response: bytes = b""
    order_code: str = field(default="", repr=False)
    approved_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    incremented_minor: int = 0
    owner: UUID | None = None
    created_time_ms: int = 0
    answered_time_ms: int = 0


@dataclass(slots=True)
class FollowOn:
    """A later operation on an authorization: increment, capture, void, refund or the acquirer's reversal. One row.

    id is computed like an authorization's. money: of an increment the raise; once approved, what was approved of it.
    state: SENT, APPROVED, DECLINED or UNKNOWN (being resolved).
    """

    id: UUID
    authorization_id: UUID
    acquirer_id: str
    merchant_id: str
    operation: Operation
    money: Money
    fingerprint: bytes = b""
    state: State = State.SENT
    response_code: str = ""
    reason: str = ""
    channel_reference: str = ""
    trace: dict[str, str] = field(default_factory=dict)
    created_time_ms: int = 0
    answered_time_ms: int = 0


@dataclass(slots=True, frozen=True)
class FollowOnRequest:
    """A follow-on as it was asked for. money: None for a void or reversal: the whole.

    transmission_time_ms, idempotency_key: its own.
    """

    operation: Operation
    acquirer_id: str
    merchant_id: str
    authorization_id: UUID
    idempotency_key: str
    transmission_time_ms: int
    money: Money | None = None
