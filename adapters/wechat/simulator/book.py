"""The platform's book of one merchant's orders and refunds, and how they move. No I/O; times are Unix ms."""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.simulation import NORMAL, Behaviour, Scenario
from adapters.wechat.simulator.accounts import Payer, Payers
from adapters.wechat.simulator.errors import Refusal, invalid_request, refusal_for
from adapters.wechat.simulator.merchants import WeChatMerchant

_REVERSIBLE_MS = 7 * 24 * 3_600_000
_OPEN = frozenset({"USERPAYING", "NOTPAY"})
_FINALLY_UNPAID = frozenset({"REVOKED", "CLOSED"})
_GATEWAY_STATUSES = frozenset({429, 500})


@dataclass(slots=True)
class Order:
    """state: a trade_state. digest: of the body that made it, "" for the tombstone of a reversal that came first.

    becomes, becomes_at_ms: what an undecided order turns into by itself. refusal: the error that a repeat gets too.
    """

    out_trade_no: str
    transaction_id: str
    trade_type: str
    total_fen: int
    state: str
    created_ms: int
    digest: str = ""
    payer: Payer | None = None
    attach: str = ""
    becomes: str = ""
    becomes_at_ms: int = 0
    refusal: Refusal | None = None
    paid_ms: int = 0
    refunded_fen: int = 0


@dataclass(slots=True)
class RefundEntry:
    out_refund_no: str
    refund_id: str
    order: Order
    refund_fen: int
    digest: str
    created_ms: int
    settles_ms: int

    def status(self, now_ms: int) -> str:
        return "SUCCESS" if now_ms >= self.settles_ms else "PROCESSING"


class Book:
    """One merchant's orders and refunds by their numbers. The payers are everyone's."""

    def __init__(
        self, merchant: WeChatMerchant, payers: Payers, reversal_after_ms: int, refund_settles_after_ms: int
    ) -> None:
        self.merchant = merchant
        self._payers = payers
        self._reversal_after_ms = reversal_after_ms
        self._refund_settles_after_ms = refund_settles_after_ms
        self._orders: dict[str, Order] = {}
        self._refunds: dict[str, RefundEntry] = {}
        self._by_id: dict[str, Order] = {}

    # --- orders -----------------------------------------------------------------------------------------------------

    def pay(self, content: dict[str, Any], now_ms: int, choose: Callable[[int], Scenario]) -> tuple[Order, Scenario]:
        """A codepay. The same body again gets the same answer, and no scenario."""
        digest = _digest(content)
        known = self._orders.get(content["out_trade_no"])
        if known is not None:
            self._let_happen(known, now_ms)
            return _again(known, digest), NORMAL
        code = content["payer"]["auth_code"]
        payer = self._payers.of(code)
        scenario = choose(content["amount"]["total"])
        if scenario is NORMAL:
            scenario = payer.shows or NORMAL
        refuses = scenario.code if scenario.behaviour is Behaviour.DECLINE else payer.refuses
        refusal = refusal_for(refuses) if refuses else None
        if refusal is not None and refusal.status in _GATEWAY_STATUSES:
            raise refusal  # it never got as far as the book
        if not self._payers.use(code):
            raise Refusal(400, "AUTH_CODE_INVALID", "a payment code is good for one payment only")
        order = self._open(content, "MICROPAY", digest, now_ms)
        order.payer = payer
        self._decide(order, scenario, refusal, now_ms)
        if order.refusal is not None:
            raise order.refusal
        return order, scenario

    def open_native(self, content: dict[str, Any], now_ms: int) -> Order:
        """An order that the payer will pay by scanning its code; here nobody does."""
        digest = _digest(content)
        known = self._orders.get(content["out_trade_no"])
        return self._open(content, "NATIVE", digest, now_ms) if known is None else _again(known, digest)

    def holds(self, out_trade_no: str) -> bool:
        return out_trade_no in self._orders

    def order(self, out_trade_no: str, now_ms: int) -> Order:
        return self._existing(self._orders.get(out_trade_no), now_ms)

    def order_by_id(self, transaction_id: str, now_ms: int) -> Order:
        return self._existing(self._by_id.get(transaction_id), now_ms)

    def reverse(self, out_trade_no: str, now_ms: int) -> None:
        """Give back a paid order, close an unpaid one; before its original: a tombstone that declines it later."""
        order = self._orders.get(out_trade_no)
        if order is None:
            self._orders[out_trade_no] = Order(out_trade_no, "", "MICROPAY", 0, "REVOKED", now_ms)
            return
        self._let_happen(order, now_ms)
        if order.state in _FINALLY_UNPAID:
            return
        if order.state == "REFUND":
            raise invalid_request("the order has been refunded")
        if now_ms < order.created_ms + self._reversal_after_ms:
            raise invalid_request("the order is too young to be reversed")
        if now_ms > order.created_ms + _REVERSIBLE_MS:
            raise invalid_request("the order is too old to be reversed")
        if order.state == "SUCCESS" and order.payer is not None:
            order.payer.balance_fen += order.total_fen
        order.state = "REVOKED"

    def close(self, out_trade_no: str, now_ms: int) -> None:
        order = self.order(out_trade_no, now_ms)
        if order.state not in _OPEN | {"CLOSED"}:
            raise invalid_request("only an order that is not paid can be closed")
        order.state = "CLOSED"

    def _existing(self, order: Order | None, now_ms: int) -> Order:
        if order is None or not order.digest:  # a tombstone is no order
            raise Refusal(404, "ORDER_NOT_EXIST", "no such order")
        self._let_happen(order, now_ms)
        return order

    def _open(self, content: dict[str, Any], trade_type: str, digest: str, now_ms: int) -> Order:
        order = Order(
            out_trade_no=content["out_trade_no"],
            transaction_id="42000" + f"{secrets.randbelow(10**23):023d}",
            trade_type=trade_type,
            total_fen=content["amount"]["total"],
            state="NOTPAY",
            created_ms=now_ms,
            digest=digest,
            attach=content.get("attach", ""),
        )
        self._orders[order.out_trade_no] = self._by_id[order.transaction_id] = order
        return order

    def _decide(self, order: Order, scenario: Scenario, refusal: Refusal | None, now_ms: int) -> None:
        if refusal is not None:
            order.state, order.refusal = "PAYERROR", refusal
        elif scenario.behaviour in (Behaviour.USER_PAYING, Behaviour.USER_PAYING_DECLINED):
            order.state = "USERPAYING"
            order.becomes = "SUCCESS" if scenario.behaviour is Behaviour.USER_PAYING else "PAYERROR"
            order.becomes_at_ms = now_ms + scenario.delay_ms
        elif not _charge(order, now_ms):
            order.refusal = refusal_for("51")

    def _let_happen(self, order: Order, now_ms: int) -> None:
        if order.state != "USERPAYING" or now_ms < order.becomes_at_ms:
            return
        if order.becomes == "SUCCESS":
            _charge(order, order.becomes_at_ms)
        else:
            order.state = order.becomes

    # --- refunds ----------------------------------------------------------------------------------------------------

    def refund(self, content: dict[str, Any], now_ms: int) -> RefundEntry:
        """One effect per out_refund_no; all refunds of an order together at most its total."""
        digest, amount = _digest(content), content["amount"]
        known = self._refunds.get(content["out_refund_no"])
        if known is not None:
            if known.digest != digest:
                raise invalid_request("this out_refund_no was used with other content")
            return known
        try:
            order = (
                self.order(content["out_trade_no"], now_ms)
                if "out_trade_no" in content
                else self.order_by_id(content["transaction_id"], now_ms)
            )
        except Refusal:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "no such order") from None
        if order.state not in ("SUCCESS", "REFUND") or order.payer is None:
            raise invalid_request("the order is not paid")
        if amount["total"] != order.total_fen:
            raise invalid_request("amount.total is not the order's")
        if order.refunded_fen + amount["refund"] > order.total_fen:
            raise invalid_request("more would be refunded than was paid")
        order.state = "REFUND"
        order.refunded_fen += amount["refund"]
        order.payer.balance_fen += amount["refund"]
        refund_id = "50000" + f"{secrets.randbelow(10**23):023d}"
        settles_ms = now_ms + self._refund_settles_after_ms
        entry = RefundEntry(content["out_refund_no"], refund_id, order, amount["refund"], digest, now_ms, settles_ms)
        self._refunds[entry.out_refund_no] = entry
        return entry

    def find_refund(self, out_refund_no: str) -> RefundEntry:
        entry = self._refunds.get(out_refund_no)
        if entry is None:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "no such refund")
        return entry

    # --- for people and tests ---------------------------------------------------------------------------------------

    def entries(self, now_ms: int) -> list[dict[str, Any]]:
        """Payments, then refunds, each oldest first. Payment codes are not in it."""
        for order in self._orders.values():
            self._let_happen(order, now_ms)
        payments: list[dict[str, Any]] = [
            {
                "kind": "payment",
                "mchid": self.merchant.mchid,
                "out_trade_no": each.out_trade_no,
                "transaction_id": each.transaction_id,
                "trade_type": each.trade_type,
                "trade_state": each.state,
                "amount_minor": each.total_fen,
                "refunded_minor": each.refunded_fen,
                "error": each.refusal.code if each.refusal else "",
                "tombstone": not each.digest,
            }
            for each in self._orders.values()
        ]
        refunds: list[dict[str, Any]] = [
            {
                "kind": "refund",
                "mchid": self.merchant.mchid,
                "out_refund_no": each.out_refund_no,
                "out_trade_no": each.order.out_trade_no,
                "refund_id": each.refund_id,
                "status": each.status(now_ms),
                "amount_minor": each.refund_fen,
            }
            for each in self._refunds.values()
        ]
        return payments + refunds


def _charge(order: Order, now_ms: int) -> bool:
    payer = order.payer
    if payer is None or payer.balance_fen < order.total_fen:
        order.state = "PAYERROR"
        return False
    payer.balance_fen -= order.total_fen
    order.state, order.paid_ms = "SUCCESS", now_ms
    return True


def _again(order: Order, digest: str) -> Order:
    """What a second request under the same out_trade_no gets."""
    if order.state == "REVOKED":
        raise Refusal(400, "ORDER_REVERSED", "the order has been reversed")
    if order.state == "CLOSED":
        raise Refusal(400, "ORDER_CLOSED", "the order has been closed")
    if order.digest != digest:
        raise Refusal(403, "OUT_TRADE_NO_USED", "this out_trade_no was used with other content")
    if order.refusal is not None:
        raise order.refusal
    return order


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
