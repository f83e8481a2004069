"""The simulator's book: trades, refunds and payers' money, and what may happen to them. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.alipay.simulator.accounts import Payer, payer_of
from adapters.alipay.simulator.fields import amount_fen
from adapters.alipay.simulator.refusal import Refused, declined, refused
from adapters.simulation import NORMAL, Behaviour, Scenario, Scenarios

WAITING = "WAIT_BUYER_PAY"
PAID = "TRADE_SUCCESS"
CLOSED = "TRADE_CLOSED"
NOT_PAID = "REFUSED"  # never shown to a client: for it a refused payment is no trade

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_EXPRESS_S = {"m": 60, "h": 3_600, "d": 86_400}
_DEFAULT_TIMEOUT_EXPRESS = "15d"


@dataclass(slots=True)
class Reply:
    """code and the fields of the inner value; scenario: how the gateway is to deliver it."""

    code: str
    fields: dict[str, Any]
    scenario: Scenario = field(default_factory=lambda: NORMAL)


@dataclass(slots=True)
class Trade:
    """One out_trade_no. payments counts how often money left the payer: never more than once."""

    out_trade_no: str
    trade_no: str
    amount_minor: int
    created_s: float
    status: str
    content: tuple[str, ...] = field(default=(), repr=False)  # what a repeat must repeat
    payer: Payer | None = None
    refusal: Refused | None = None
    payer_acts_s: float | None = None
    payer_agrees: bool = False
    expires_s: float = float("inf")
    paid_s: float = 0.0
    payments: int = 0
    cancelled: bool = False
    cancel_action: str = "close"
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def refunded_minor(self) -> int:
        return sum(self.refunds.values())


class Wallets:
    """What the applications share: the payers, the codes that they showed before, and the numbers of trades."""

    def __init__(self, accounts: Mapping[str, Payer]) -> None:
        self._accounts = accounts
        self._used_codes: set[str] = set()
        self._trades = 0

    def next_trade_no(self, now_s: float) -> str:
        """28 digits: the day, a constant, and how many trades there were."""
        self._trades += 1
        return f"{_moment(now_s):%Y%m%d}2200{self._trades:016d}"

    def payer_who_shows(self, auth_code: str) -> Payer:
        """Raises Refused for a code of nobody and for one that was used before."""
        payer = payer_of(self._accounts, auth_code)
        if payer is None or auth_code in self._used_codes:
            raise refused("ACQ.PAYMENT_AUTH_CODE_INVALID")
        if not payer.keeps_code:
            self._used_codes.add(auth_code)
        return payer


class Book:
    """The trades of one application. now_s: Unix seconds.

    Every method raises Refused; a refusal changes nothing but the book's own memory of it.
    """

    def __init__(self, wallets: Wallets, scenarios: Scenarios, now_s: Callable[[], float]) -> None:
        self._wallets = wallets
        self._scenarios = scenarios
        self._now_s = now_s
        self._trades: dict[str, Trade] = {}
        self._by_trade_no: dict[str, Trade] = {}

    def entries(self) -> list[dict[str, Any]]:
        for trade in self._trades.values():
            self._settle(trade)
        return [_entry(trade) for trade in self._trades.values()]

    # --- methods ----------------------------------------------------------------------------------------------------

    def pay(self, fields: Mapping[str, Any]) -> Reply:
        content = (fields["auth_code"], fields["total_amount"], fields["subject"])
        known = self._trades.get(fields["out_trade_no"])
        if known is not None:
            return self._pay_again(known, content)
        payer = self._wallets.payer_who_shows(fields["auth_code"])
        trade = self._open(fields, content)
        trade.payer = payer
        scenario = payer.habit or self._scenarios.choose(trade.amount_minor)
        refusal = declined(scenario.code) if scenario.behaviour is Behaviour.DECLINE else None
        if refusal is None and (sub_code := payer.refusal(trade.amount_minor)):
            refusal = refused(sub_code)
        if refusal is not None:
            trade.status, trade.refusal = NOT_PAID, refusal
            raise refusal
        if scenario.behaviour in (Behaviour.USER_PAYING, Behaviour.USER_PAYING_DECLINED):
            trade.payer_acts_s = trade.created_s + scenario.delay_ms / 1_000
            trade.payer_agrees = scenario.behaviour is Behaviour.USER_PAYING
            return Reply("10003", _identity(trade))
        _take_payment(trade, trade.created_s)
        return Reply("10000", _payment_fields(trade), scenario)

    def precreate(self, fields: Mapping[str, Any]) -> Reply:
        content = ("", fields["total_amount"], fields["subject"])
        trade = self._trades.get(fields["out_trade_no"])
        if trade is None:
            trade = self._open(fields, content)
        self._settle(trade)
        if trade.status == CLOSED:
            raise refused("ACQ.TRADE_HAS_CLOSE")
        if trade.content != content:
            raise refused("ACQ.CONTEXT_INCONSISTENT")
        qr_code = f"https://qr.alipay.com/bax{trade.trade_no[-20:]}"
        return Reply("10000", {"out_trade_no": trade.out_trade_no, "qr_code": qr_code})

    def query(self, fields: Mapping[str, Any]) -> Reply:
        trade = self._existing(fields)
        answer = _identity(trade) | {"trade_status": trade.status, "total_amount": _yuan(trade.amount_minor)}
        if trade.payments:
            answer |= _payment_fields(trade) | {"send_pay_date": _date(trade.paid_s)}
        return Reply("10000", answer)

    def cancel(self, fields: Mapping[str, Any]) -> Reply:
        trade = self._named(fields)
        if trade is None:
            if "out_trade_no" not in fields:
                raise refused("ACQ.TRADE_NOT_EXIST")
            trade = self._remember(
                Trade(fields["out_trade_no"], self._wallets.next_trade_no(self._now_s()), 0, self._now_s(), CLOSED)
            )
        elif trade.status == PAID:
            if trade.refunds:
                raise refused("ACQ.TRADE_STATUS_ERROR", "the trade was refunded in part")
            _give_back(trade, trade.amount_minor)
            trade.cancel_action = "refund"
        trade.status, trade.cancelled = CLOSED, True
        return Reply("10000", _identity(trade) | {"retry_flag": "N", "action": trade.cancel_action})

    def refund(self, fields: Mapping[str, Any]) -> Reply:
        trade = self._existing(fields)
        amount_minor = amount_fen(fields["refund_amount"])
        request_no = fields.get("out_request_no")
        if request_no is None:
            if amount_minor != trade.amount_minor:
                raise refused("ACQ.INVALID_PARAMETER", "out_request_no is missing in a refund of a part")
            request_no = trade.out_trade_no
        if request_no in trade.refunds:
            if trade.refunds[request_no] != amount_minor:
                raise refused("ACQ.DISCORDANT_REPEAT_REQUEST")
            return Reply("10000", _refund_fields(trade, "N", self._now_s()))
        if trade.status != PAID:
            raise refused("ACQ.TRADE_HAS_CLOSE" if trade.status == CLOSED else "ACQ.TRADE_STATUS_ERROR")
        if trade.refunded_minor + amount_minor > trade.amount_minor:
            raise refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
        scenario = self._scenarios.choose(amount_minor)
        if scenario.behaviour is Behaviour.DECLINE:
            raise declined(scenario.code)
        _give_back(trade, amount_minor)
        trade.refunds[request_no] = amount_minor
        if trade.refunded_minor == trade.amount_minor:
            trade.status = CLOSED
        return Reply("10000", _refund_fields(trade, "Y", self._now_s()), scenario)

    def refund_query(self, fields: Mapping[str, Any]) -> Reply:
        trade = self._existing(fields)
        amount_minor = trade.refunds.get(fields["out_request_no"])
        answer = _identity(trade) | {"out_request_no": fields["out_request_no"]}
        if amount_minor is not None:
            answer |= {
                "refund_status": "REFUND_SUCCESS",
                "refund_amount": _yuan(amount_minor),
                "total_amount": _yuan(trade.amount_minor),
            }
        return Reply("10000", answer)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _pay_again(self, trade: Trade, content: tuple[str, ...]) -> Reply:
        self._settle(trade)
        if trade.status == CLOSED:
            raise refused("ACQ.TRADE_HAS_CLOSE")
        if trade.content != content:
            raise refused("ACQ.CONTEXT_INCONSISTENT")
        if trade.refusal is not None:
            raise Refused(trade.refusal.code, trade.refusal.sub_code)
        if trade.status == PAID:
            raise refused("ACQ.TRADE_HAS_SUCCESS")
        return Reply("10003", _identity(trade))

    def _open(self, fields: Mapping[str, Any], content: tuple[str, ...]) -> Trade:
        now_s = self._now_s()
        express = fields.get("timeout_express", _DEFAULT_TIMEOUT_EXPRESS)
        trade = Trade(
            fields["out_trade_no"],
            self._wallets.next_trade_no(self._now_s()),
            amount_fen(fields["total_amount"]),
            now_s,
            WAITING,
            content,
            expires_s=now_s + int(express[:-1]) * _EXPRESS_S[express[-1]],
        )
        return self._remember(trade)

    def _remember(self, trade: Trade) -> Trade:
        self._trades[trade.out_trade_no] = trade
        self._by_trade_no[trade.trade_no] = trade
        return trade

    def _existing(self, fields: Mapping[str, Any]) -> Trade:
        trade = self._named(fields)
        # A tombstone has no content: for a client there is no trade behind it.
        if trade is None or trade.status == NOT_PAID or not trade.content:
            raise refused("ACQ.TRADE_NOT_EXIST")
        return trade

    def _named(self, fields: Mapping[str, Any]) -> Trade | None:
        """trade_no goes before out_trade_no, as with Alipay."""
        if "trade_no" in fields:
            trade = self._by_trade_no.get(fields["trade_no"])
        else:
            trade = self._trades.get(fields["out_trade_no"])
        if trade is not None:
            self._settle(trade)
        return trade

    def _settle(self, trade: Trade) -> None:
        """What has happened by now to a trade that waits: its payer agreed, refused or let it expire."""
        if trade.status != WAITING:
            return
        acts_s = float("inf") if trade.payer_acts_s is None else trade.payer_acts_s
        if min(acts_s, trade.expires_s) > self._now_s():
            return
        agrees = acts_s <= trade.expires_s and trade.payer_agrees
        if agrees and trade.payer is not None and not trade.payer.refusal(trade.amount_minor):
            _take_payment(trade, acts_s)
        else:
            trade.status = CLOSED


def _take_payment(trade: Trade, paid_s: float) -> None:
    assert trade.payer is not None
    trade.payer.pay(trade.amount_minor)
    trade.status, trade.paid_s = PAID, paid_s
    trade.payments += 1


def _give_back(trade: Trade, amount_minor: int) -> None:
    assert trade.payer is not None
    trade.payer.take_back(amount_minor)


def _identity(trade: Trade) -> dict[str, Any]:
    identity = {"trade_no": trade.trade_no, "out_trade_no": trade.out_trade_no}
    if trade.payer is not None:
        identity |= {"buyer_logon_id": f"{trade.payer.name[:3]}***@alipay.net", "open_id": trade.payer.open_id}
    return identity


def _payment_fields(trade: Trade) -> dict[str, Any]:
    amount = _yuan(trade.amount_minor)
    return _identity(trade) | {
        "total_amount": amount,
        "receipt_amount": amount,
        "buyer_pay_amount": amount,
        "point_amount": "0.00",
        "invoice_amount": amount,
        "gmt_payment": _date(trade.paid_s),
        "fund_bill_list": [{"amount": amount, "fund_channel": "ALIPAYACCOUNT"}],
    }


def _refund_fields(trade: Trade, fund_change: str, now_s: float) -> dict[str, Any]:
    return _identity(trade) | {
        "fund_change": fund_change,
        "refund_fee": _yuan(trade.refunded_minor),
        "gmt_refund_pay": _date(now_s),
    }


def _entry(trade: Trade) -> dict[str, Any]:
    return {
        "out_trade_no": trade.out_trade_no,
        "trade_no": trade.trade_no,
        "amount_minor": trade.amount_minor,
        "status": trade.status,
        "payer": trade.payer.name if trade.payer else "",
        "reason": trade.refusal.sub_code if trade.refusal else "",
        "payments": trade.payments,
        "cancelled": trade.cancelled,
        "refunded_minor": trade.refunded_minor,
        "refunds": dict(trade.refunds),
        "created_time_ms": int(trade.created_s * 1_000),
    }


def _yuan(amount_minor: int) -> str:
    return f"{amount_minor // 100}.{amount_minor % 100:02d}"


def _moment(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, _SHANGHAI)


def _date(time_s: float) -> str:
    return f"{_moment(time_s):%Y-%m-%d %H:%M:%S}"
