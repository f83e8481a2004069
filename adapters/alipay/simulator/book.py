"""The simulator's book of one application: its trades, refunds and orders, and what may happen to them. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adapters.alipay.simulator.accounts import Payer, Wallets
from adapters.alipay.simulator.fields import amount_fen
from adapters.alipay.simulator.refusal import Refused, declined, refused
from adapters.alipay.simulator.trade import CLOSED, NOT_PAID, PAID, WAITING, Reply, Trade, date_text, moment, yuan
from adapters.simulation import Behaviour, Scenario, Scenarios

_EXPRESS_S = {"m": 60, "h": 3_600, "d": 86_400}
_DEFAULT_TIMEOUT_EXPRESS = "15d"
_FEE_PER_MILLE: Final = 6


@dataclass(frozen=True, slots=True)
class Movement:
    """Money of one trade that moved at one time: a line of the bill. request_no: of a refund; "" for a payment."""

    trade: Trade
    amount_minor: int
    time_s: float
    request_no: str = ""

    @property
    def fee_minor(self) -> int:
        """0.6 % of the amount, half a fen up; what is kept of a payment and given back with a refund."""
        return (self.amount_minor * _FEE_PER_MILLE + 500) // 1_000


@dataclass(frozen=True, slots=True)
class Origin:
    """How a request came: where its trade's changes are to be told, and whether in certificate mode."""

    notify_url: str = ""
    certified: bool = False


class Book:
    """The trades of one application. now_s: Unix seconds. announce: told of each change of a trade, by its name.

    Every method raises Refused; a refusal changes nothing but the book's own memory of it.
    """

    def __init__(
        self,
        wallets: Wallets,
        scenarios: Scenarios,
        now_s: Callable[[], float],
        announce: Callable[[Trade, str], None] = lambda trade, event: None,
    ) -> None:
        self._wallets = wallets
        self._scenarios = scenarios
        self._now_s = now_s
        self._announce = announce
        self._trades: dict[str, Trade] = {}
        self._by_trade_no: dict[str, Trade] = {}
        self._movements: list[Movement] = []

    def entries(self) -> list[dict[str, Any]]:
        for trade in self._trades.values():
            self.settle(trade)
        return [trade.entry() for trade in self._trades.values()]

    def movements(self, period: str) -> list[Movement]:
        """Of one day (yyyy-mm-dd) or one month (yyyy-mm) in Shanghai, in order."""
        for trade in self._trades.values():
            self.settle(trade)
        of_period = [each for each in self._movements if f"{moment(each.time_s):%Y-%m-%d}".startswith(period)]
        return sorted(of_period, key=lambda each: each.time_s)

    # --- methods ----------------------------------------------------------------------------------------------------

    def pay(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        content = (fields["auth_code"], yuan(amount_fen(fields["total_amount"])), fields["subject"])
        known = self._trades.get(fields["out_trade_no"])
        if known is not None:
            return self._pay_again(known, content)
        payer = self._wallets.payer_who_shows(fields["auth_code"])
        trade = self._open(fields, content, origin)
        trade.payer = payer
        scenario = payer.habit or self._scenarios.choose(trade.amount_minor)
        refusal = declined(scenario.code) if scenario.behaviour is Behaviour.DECLINE else None
        if refusal is None and (sub_code := payer.refusal(trade.amount_minor)):
            refusal = refused(sub_code)
        if refusal is not None:
            trade.status, trade.refusal, trade.shown = NOT_PAID, refusal, False
            raise refusal
        if scenario.behaviour in (Behaviour.USER_PAYING, Behaviour.USER_PAYING_DECLINED):
            trade.payer_acts_s = trade.created_s + scenario.delay_ms / 1_000
            trade.payer_agrees = scenario.behaviour is Behaviour.USER_PAYING
            return Reply("10003", trade.identity())
        self._take_payment(trade, trade.created_s)
        return Reply("10000", trade.payment_fields(), scenario)

    def precreate(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        """An order that is no trade until a payer scans its code."""
        trade, scenario = self._order(fields, origin, shown=False)
        return Reply("10000", {"out_trade_no": trade.out_trade_no, "qr_code": trade.qr_code}, scenario)

    def create(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        """A trade that its buyer pays in Alipay's own app."""
        if not fields.keys() & {"buyer_id", "buyer_open_id", "buyer_logon_id"}:
            raise refused("ACQ.INVALID_PARAMETER", "buyer_id is missing")
        trade, scenario = self._order(fields, origin, shown=True)
        return Reply("10000", trade.identity(), scenario)

    def query(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        trade = self._existing(fields)
        answer = trade.identity() | {"trade_status": trade.status, "total_amount": yuan(trade.amount_minor)}
        if trade.payments:
            answer |= trade.payment_fields() | {"send_pay_date": date_text(trade.paid_s)}
        return Reply("10000", answer)

    def cancel(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        trade = self._named(fields)
        if trade is None:
            if "out_trade_no" not in fields:
                raise refused("ACQ.TRADE_NOT_EXIST")
            now_s = self._now_s()
            tombstone = Trade(fields["out_trade_no"], self._wallets.next_trade_no(now_s), 0, now_s, CLOSED, shown=False)
            trade = self._remember(tombstone)
        elif trade.status == PAID:
            if trade.refunds:
                raise refused("ACQ.TRADE_STATUS_ERROR", "the trade was refunded in part")
            self._give_back(trade, trade.amount_minor, trade.out_trade_no)
            trade.cancel_action = "refund"
        trade.cancelled = True
        self._close(trade)
        return Reply("10000", trade.identity() | {"retry_flag": "N", "action": trade.cancel_action})

    def close(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        """Of a trade that nobody has paid."""
        trade = self._existing(fields)
        if trade.status != WAITING:
            raise refused("ACQ.TRADE_STATUS_ERROR")
        self._close(trade)
        return Reply("10000", {"trade_no": trade.trade_no, "out_trade_no": trade.out_trade_no})

    def refund(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
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
            return Reply("10000", trade.refund_fields("N", self._now_s()))
        if trade.status != PAID:
            raise refused("ACQ.TRADE_HAS_CLOSE" if trade.status == CLOSED else "ACQ.TRADE_STATUS_ERROR")
        if trade.refunded_minor + amount_minor > trade.amount_minor:
            raise refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
        scenario = self._scenarios.choose(amount_minor)
        if scenario.behaviour is Behaviour.DECLINE:
            raise declined(scenario.code)
        self._give_back(trade, amount_minor, request_no)
        trade.refunds[request_no] = amount_minor
        if trade.refunded_minor == trade.amount_minor:
            trade.status, trade.closed_s = CLOSED, self._now_s()
        self._announce(trade, f"refund {request_no}")
        return Reply("10000", trade.refund_fields("Y", self._now_s()), scenario)

    def refund_query(self, fields: Mapping[str, Any], origin: Origin) -> Reply:
        trade = self._existing(fields)
        amount_minor = trade.refunds.get(fields["out_request_no"])
        answer = trade.identity() | {"out_request_no": fields["out_request_no"]}
        if amount_minor is not None:
            answer |= {
                "refund_status": "REFUND_SUCCESS",
                "refund_amount": yuan(amount_minor),
                "total_amount": yuan(trade.amount_minor),
            }
        return Reply("10000", answer)

    # --- what payers do ---------------------------------------------------------------------------------------------

    def order(self, named: str) -> Trade | None:
        """That has this out_trade_no or QR code."""
        if named.startswith("https:"):
            return next((each for each in self._trades.values() if each.qr_code == named), None)
        return self._trades.get(named)

    def scan(self, trade: Trade, payer: Payer, delay_ms: int, agrees: bool) -> None:
        """A payer scans an order's code, and pays or refuses after delay_ms. Raises Refused."""
        self.settle(trade)
        if trade.status != WAITING or trade.payer_acts_s is not None:
            raise refused("ACQ.TRADE_HAS_SUCCESS" if trade.status == PAID else "ACQ.TRADE_HAS_CLOSE")
        if sub_code := payer.refusal(trade.amount_minor):
            raise refused(sub_code)
        trade.payer, trade.shown = payer, True
        trade.payer_acts_s, trade.payer_agrees = self._now_s() + delay_ms / 1_000, agrees
        self.settle(trade)

    def settle(self, trade: Trade) -> None:
        """What has happened by now to a trade that waits: its payer agreed, refused or let it expire."""
        if trade.status != WAITING:
            return
        acts_s = float("inf") if trade.payer_acts_s is None else trade.payer_acts_s
        if min(acts_s, trade.expires_s) > self._now_s():
            return
        agrees = acts_s <= trade.expires_s and trade.payer_agrees
        if agrees and trade.payer is not None and not trade.payer.refusal(trade.amount_minor):
            self._take_payment(trade, acts_s)
        else:
            self._close(trade)

    def next_change_s(self, trade: Trade) -> float:
        """How long until `settle` will have something to do; infinity where it never will."""
        if trade.status != WAITING:
            return float("inf")
        acts_s = float("inf") if trade.payer_acts_s is None else trade.payer_acts_s
        return min(acts_s, trade.expires_s) - self._now_s()

    # --- parts ------------------------------------------------------------------------------------------------------

    def _order(self, fields: Mapping[str, Any], origin: Origin, shown: bool) -> tuple[Trade, Scenario]:
        content = ("", yuan(amount_fen(fields["total_amount"])), fields["subject"])
        trade = self._trades.get(fields["out_trade_no"])
        scenario = Scenario(Behaviour.NORMAL)
        if trade is None:
            scenario = self._scenarios.choose(amount_fen(fields["total_amount"]))
            if scenario.behaviour is Behaviour.DECLINE:
                raise declined(scenario.code)
            trade = self._open(fields, content, origin)
            trade.shown = shown
        self.settle(trade)
        if trade.status == CLOSED:
            raise refused("ACQ.TRADE_HAS_CLOSE")
        if trade.content != content:
            raise refused("ACQ.CONTEXT_INCONSISTENT")
        if trade.status == PAID:
            raise refused("ACQ.TRADE_HAS_SUCCESS")
        return trade, scenario

    def _pay_again(self, trade: Trade, content: tuple[str, ...]) -> Reply:
        self.settle(trade)
        if trade.status == CLOSED:
            raise refused("ACQ.TRADE_HAS_CLOSE")
        if trade.content != content:
            raise refused("ACQ.CONTEXT_INCONSISTENT")
        if trade.refusal is not None:
            raise Refused(trade.refusal.code, trade.refusal.sub_code)
        if trade.status == PAID:
            raise refused("ACQ.TRADE_HAS_SUCCESS")
        return Reply("10003", trade.identity())

    def _open(self, fields: Mapping[str, Any], content: tuple[str, ...], origin: Origin) -> Trade:
        now_s = self._now_s()
        express = fields.get("timeout_express", _DEFAULT_TIMEOUT_EXPRESS)
        trade = Trade(
            fields["out_trade_no"],
            self._wallets.next_trade_no(now_s),
            amount_fen(fields["total_amount"]),
            now_s,
            WAITING,
            content,
            expires_s=now_s + int(express[:-1]) * _EXPRESS_S[express[-1]],
            notify_url=origin.notify_url,
            certified=origin.certified,
            subject=fields["subject"],
            store_id=fields.get("store_id", ""),
            terminal_id=fields.get("terminal_id", ""),
            operator_id=fields.get("operator_id", ""),
        )
        return self._remember(trade)

    def _remember(self, trade: Trade) -> Trade:
        self._trades[trade.out_trade_no] = trade
        self._by_trade_no[trade.trade_no] = trade
        return trade

    def _existing(self, fields: Mapping[str, Any]) -> Trade:
        trade = self._named(fields)
        if trade is None or not trade.shown:
            raise refused("ACQ.TRADE_NOT_EXIST")
        return trade

    def _named(self, fields: Mapping[str, Any]) -> Trade | None:
        """trade_no goes before out_trade_no, as with Alipay."""
        if "trade_no" in fields:
            trade = self._by_trade_no.get(fields["trade_no"])
        else:
            trade = self._trades.get(fields["out_trade_no"])
        if trade is not None:
            self.settle(trade)
        return trade

    def _take_payment(self, trade: Trade, paid_s: float) -> None:
        assert trade.payer is not None
        trade.payer.pay(trade.amount_minor)
        trade.status, trade.paid_s = PAID, paid_s
        trade.payments += 1
        self._movements.append(Movement(trade, trade.amount_minor, paid_s))
        self._announce(trade, "payment")

    def _give_back(self, trade: Trade, amount_minor: int, request_no: str) -> None:
        assert trade.payer is not None
        trade.payer.take_back(amount_minor)
        self._movements.append(Movement(trade, amount_minor, self._now_s(), request_no))

    def _close(self, trade: Trade) -> None:
        if trade.status == CLOSED:
            return
        trade.status, trade.closed_s = CLOSED, self._now_s()
        if trade.shown:
            self._announce(trade, "close")
