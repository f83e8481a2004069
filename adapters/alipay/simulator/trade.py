"""One trade of the simulator and how the gateway speaks of it. No rules: the book has them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from adapters.alipay.simulator.accounts import Payer
from adapters.alipay.simulator.refusal import Refused
from adapters.simulation import NORMAL, Scenario

WAITING: Final = "WAIT_BUYER_PAY"
PAID: Final = "TRADE_SUCCESS"
CLOSED: Final = "TRADE_CLOSED"
NOT_PAID: Final = "REFUSED"  # never shown to a client: for it a refused payment is no trade

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


@dataclass(slots=True)
class Reply:
    """code and the fields of the inner value; scenario: how the gateway is to deliver it."""

    code: str
    fields: dict[str, Any]
    scenario: Scenario = field(default_factory=lambda: NORMAL)


@dataclass(slots=True)
class Trade:
    """One out_trade_no. payments counts how often money left the payer: never more than once.

    shown: whether there is a trade for a client: a precreated order is none until a payer scans it, a cancel that
    found nothing leaves none. notify_url: where its changes are told, "" for nowhere; certified: in certificate mode.
    """

    out_trade_no: str
    trade_no: str
    amount_minor: int
    created_s: float
    status: str
    content: tuple[str, ...] = field(default=(), repr=False)  # what a repeat must repeat
    subject: str = ""
    store_id: str = ""
    terminal_id: str = ""
    operator_id: str = ""
    shown: bool = True
    notify_url: str = ""
    certified: bool = False
    payer: Payer | None = None
    refusal: Refused | None = None
    payer_acts_s: float | None = None
    payer_agrees: bool = False
    expires_s: float = float("inf")
    paid_s: float = 0.0
    closed_s: float = 0.0
    payments: int = 0
    cancelled: bool = False
    cancel_action: str = "close"
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def refunded_minor(self) -> int:
        return sum(self.refunds.values())

    @property
    def qr_code(self) -> str:
        return f"https://qr.alipay.com/bax{self.trade_no[-20:]}"

    def identity(self) -> dict[str, Any]:
        identity = {"trade_no": self.trade_no, "out_trade_no": self.out_trade_no}
        if self.payer is not None:
            identity |= {"buyer_logon_id": self.payer.logon_id, "open_id": self.payer.open_id}
            identity["buyer_user_id"] = self.payer.user_id
        return identity

    def payment_fields(self) -> dict[str, Any]:
        return (
            self.identity() | self._amounts() | {"gmt_payment": date_text(self.paid_s), "fund_bill_list": self._funds()}
        )

    def refund_fields(self, fund_change: str, now_s: float) -> dict[str, Any]:
        return self.identity() | {
            "fund_change": fund_change,
            "refund_fee": yuan(self.refunded_minor),
            "gmt_refund_pay": date_text(now_s),
        }

    def notified_fields(self) -> dict[str, Any]:
        """What a notification says of it, all text."""
        told = {"trade_no": self.trade_no, "out_trade_no": self.out_trade_no, "trade_status": self.status}
        told |= {"subject": self.subject, "gmt_create": date_text(self.created_s)}
        told |= {"total_amount": yuan(self.amount_minor)}
        if self.payer is not None:
            told |= {"buyer_id": self.payer.user_id, "buyer_logon_id": self.payer.logon_id}
        if self.payments:
            told |= self._amounts() | {"gmt_payment": date_text(self.paid_s)}
            told["fund_bill_list"] = f'[{{"amount":"{yuan(self.amount_minor)}","fundChannel":"ALIPAYACCOUNT"}}]'
        if self.refunds:
            told["refund_fee"] = yuan(self.refunded_minor)
        if self.closed_s:
            told["gmt_close"] = date_text(self.closed_s)
        return told

    def entry(self) -> dict[str, Any]:
        """A line of the book for the control endpoint: no payment code."""
        return {
            "out_trade_no": self.out_trade_no,
            "trade_no": self.trade_no,
            "amount_minor": self.amount_minor,
            "status": self.status,
            "payer": self.payer.name if self.payer else "",
            "reason": self.refusal.sub_code if self.refusal else "",
            "payments": self.payments,
            "cancelled": self.cancelled,
            "refunded_minor": self.refunded_minor,
            "refunds": dict(self.refunds),
            "created_time_ms": int(self.created_s * 1_000),
        }

    def _amounts(self) -> dict[str, str]:
        names = ("total_amount", "receipt_amount", "buyer_pay_amount", "invoice_amount")
        return dict.fromkeys(names, yuan(self.amount_minor)) | {"point_amount": "0.00"}

    def _funds(self) -> list[dict[str, str]]:
        return [{"amount": yuan(self.amount_minor), "fund_channel": "ALIPAYACCOUNT"}]


def yuan(amount_minor: int) -> str:
    """
    >>> yuan(1205), yuan(-7)
    ('12.05', '-0.07')
    """
    sign, amount_minor = "-" if amount_minor < 0 else "", abs(amount_minor)
    return f"{sign}{amount_minor // 100}.{amount_minor % 100:02d}"


def moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, SHANGHAI)


def date_text(time_s: float) -> str:
    return f"{moment(time_s):%Y-%m-%d %H:%M:%S}"
