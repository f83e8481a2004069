"""What stands in the platform's book of one merchant: orders, refunds, movements of the merchant's account."""

from dataclasses import dataclass

from adapters.wechat.simulator.accounts import Payer
from adapters.wechat.simulator.errors import Refusal

# The merchant's discount rate, in ten-thousandths: 0.60 %.
FEE_RATE = 60


def fee_of(amount_fen: int) -> int:
    """Half up to whole fen.

    >>> fee_of(1_000), fee_of(83), fee_of(84)
    (6, 0, 1)
    """
    return (amount_fen * FEE_RATE + 5_000) // 10_000


@dataclass(slots=True)
class Order:
    """state: a trade_state. digest: of the body that made it, "" for the tombstone of a reversal that came first.

    becomes, becomes_at_ms: what an undecided order turns into by itself. refusal: the error that a repeat gets too.
    prepay_id: of an order that the payer opens; its last nine digits are the code_url's. time_expire_ms: 0 for none.
    refunded_fen: in refunds that were not closed. fee_given_back_fen: of the fee, in those refunds.
    """

    out_trade_no: str
    transaction_id: str
    trade_type: str
    total_fen: int
    state: str
    created_ms: int
    digest: str = ""
    description: str = ""
    payer: Payer | None = None
    attach: str = ""
    device_id: str = ""
    notify_url: str = ""
    prepay_id: str = ""
    time_expire_ms: int = 0
    becomes: str = ""
    becomes_at_ms: int = 0
    refusal: Refusal | None = None
    paid_ms: int = 0
    revoked_ms: int = 0
    refunded_fen: int = 0
    fee_given_back_fen: int = 0

    @property
    def fee_fen(self) -> int:
        return fee_of(self.total_fen)


@dataclass(slots=True)
class RefundEntry:
    """status: PROCESSING until settles_ms, then `becomes`: SUCCESS, CLOSED or ABNORMAL.

    fee_fen: what the platform gives back of its fee with this refund. told: whether its notification was ordered.
    """

    out_refund_no: str
    refund_id: str
    order: Order
    refund_fen: int
    fee_fen: int
    digest: str
    created_ms: int
    settles_ms: int
    becomes: str = "SUCCESS"
    status: str = "PROCESSING"
    notify_url: str = ""
    reason: str = ""
    told: bool = False


@dataclass(slots=True, frozen=True)
class Movement:
    """One movement of the merchant's account. amount_fen: negative for money that left. balance_fen: after it."""

    time_ms: int
    business_id: str
    flow_id: str
    kind: str
    amount_fen: int
    balance_fen: int
    reference: str


@dataclass(slots=True)
class RefundOutcome:
    """What the next refunds become. amount_minor: of which amount, None for any. times: of how many, 0 for all."""

    status: str
    settles_after_ms: int = 0
    amount_minor: int | None = None
    times: int = 1

    def __post_init__(self) -> None:
        if self.status not in ("SUCCESS", "CLOSED", "ABNORMAL"):
            raise ValueError("status must be SUCCESS, CLOSED or ABNORMAL")
