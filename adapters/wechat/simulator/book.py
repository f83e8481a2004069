"""The platform's book of one merchant's orders, refunds and money, and how they move. No I/O; times are Unix ms."""

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

from adapters.simulation import NORMAL, Behaviour, Scenario
from adapters.wechat.simulator.accounts import Payer, Payers
from adapters.wechat.simulator.errors import Refusal, invalid_request, refusal_for
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.orders import Movement, Order, RefundEntry, RefundOutcome

_REVERSIBLE_MS = 7 * 24 * 3_600_000
_REFUNDABLE_MS = 365 * 24 * 3_600_000
_OPEN = frozenset({"USERPAYING", "NOTPAY"})
_FINALLY_UNPAID = frozenset({"REVOKED", "CLOSED"})
_GATEWAY_STATUSES = frozenset({429, 500})


class Book:
    """One merchant's orders and refunds by their numbers. The payers are everyone's."""

    def __init__(
        self, merchant: WeChatMerchant, payers: Payers, reversal_after_ms: int, refund_settles_after_ms: int
    ) -> None:
        self.merchant = merchant
        self.movements: list[Movement] = []
        self.refund_outcomes: list[RefundOutcome] = []
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

    def prepay(self, content: dict[str, Any], trade_type: str, time_expire_ms: int, now_ms: int) -> Order:
        """An order that the payer opens and pays in the wallet. The same body again gets the same order."""
        digest = _digest(content)
        known = self._orders.get(content["out_trade_no"])
        if known is not None:
            self._let_happen(known, now_ms)
            if known.state not in _OPEN | _FINALLY_UNPAID:
                raise invalid_request("the order has been paid")
            return _again(known, digest)
        order = self._open(content, trade_type, digest, now_ms)
        order.notify_url, order.time_expire_ms = content["notify_url"], time_expire_ms
        order.prepay_id = f"wx{secrets.token_hex(8)}{secrets.randbelow(10**18):018d}"
        return order

    def scan(self, prepay_id: str, payer: Payer, now_ms: int) -> Order | None:
        """A payer opens the order of a code_url (its last nine digits) or prepay_id, and pays. None: no such order.

        Raises Refusal if it can no longer be paid, or the payer cannot; then it stays as it is.
        """
        opened = (each for each in self._orders.values() if prepay_id in (each.prepay_id, each.prepay_id[-9:]))
        order = next(opened, None) if prepay_id else None
        if order is None:
            return None
        if order.state != "NOTPAY":
            raise invalid_request(f"the order is {order.state}")
        if order.time_expire_ms and now_ms > order.time_expire_ms:
            raise invalid_request("the order has expired")
        if payer.refuses or payer.balance_fen < order.total_fen:
            raise refusal_for(payer.refuses or "51")
        order.payer = payer
        self._charge(order, now_ms)
        return order

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
        if order.trade_type != "MICROPAY":
            raise invalid_request("only a payment by code can be reversed")
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
            order.revoked_ms = now_ms
            self._move(now_ms, order, "撤销", -order.total_fen, order.out_trade_no)
            self._move(now_ms, order, "手续费退回", order.fee_fen, order.out_trade_no)
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
            description=content["description"],
            attach=content.get("attach", ""),
            device_id=content.get("scene_info", {}).get("device_id", ""),
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
        elif not self._charge(order, now_ms):
            order.refusal = refusal_for("51")

    def _let_happen(self, order: Order, now_ms: int) -> None:
        if order.state != "USERPAYING" or now_ms < order.becomes_at_ms:
            return
        if order.becomes == "SUCCESS":
            self._charge(order, order.becomes_at_ms)
        else:
            order.state = order.becomes

    def _charge(self, order: Order, now_ms: int) -> bool:
        payer = order.payer
        if payer is None or payer.balance_fen < order.total_fen:
            order.state = "PAYERROR"
            return False
        payer.balance_fen -= order.total_fen
        order.state, order.paid_ms = "SUCCESS", now_ms
        self._move(now_ms, order, "交易", order.total_fen, order.out_trade_no)
        self._move(now_ms, order, "扣除交易手续费", -order.fee_fen, order.out_trade_no)
        return True

    # --- refunds ----------------------------------------------------------------------------------------------------

    def refund(self, content: dict[str, Any], now_ms: int) -> RefundEntry:
        """One effect per out_refund_no; all refunds of an order together at most its total."""
        digest, amount = _digest(content), content["amount"]
        known = self._refunds.get(content["out_refund_no"])
        if known is not None:
            if known.digest != digest:
                raise invalid_request("this out_refund_no was used with other content")
            return self._settled(known, now_ms)
        order = self._refundable(content, now_ms)
        if amount["total"] != order.total_fen:
            raise invalid_request("amount.total is not the order's")
        if order.refunded_fen + amount["refund"] > order.total_fen:
            raise invalid_request("more would be refunded than was paid")
        status, settles_after_ms = self._outcome_of(amount["refund"])
        order.state = "REFUND"
        order.refunded_fen += amount["refund"]
        # In proportion, and with the last part whatever is left of it.
        fee_fen = order.fee_fen * order.refunded_fen // order.total_fen - order.fee_given_back_fen
        order.fee_given_back_fen += fee_fen
        entry = RefundEntry(
            content["out_refund_no"],
            "50000" + f"{secrets.randbelow(10**23):023d}",
            order,
            amount["refund"],
            fee_fen,
            digest,
            now_ms,
            now_ms + settles_after_ms,
            becomes=status,
            notify_url=content.get("notify_url", ""),
            reason=content.get("reason", ""),
        )
        self._move(now_ms, order, "退款", -entry.refund_fen, entry.out_refund_no)
        self._move(now_ms, order, "手续费退回", fee_fen, entry.out_refund_no)
        self._refunds[entry.out_refund_no] = entry
        return self._settled(entry, now_ms)

    def find_refund(self, out_refund_no: str, now_ms: int) -> RefundEntry:
        entry = self._refunds.get(out_refund_no)
        if entry is None:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "no such refund")
        return self._settled(entry, now_ms)

    def refunds_of(self, order: Order, now_ms: int) -> list[RefundEntry]:
        return [self._settled(each, now_ms) for each in self._refunds.values() if each.order is order]

    def pay_out_abnormal(self, refund_id: str, out_refund_no: str, now_ms: int) -> RefundEntry:
        """An ABNORMAL refund goes to another account of the payer's, where it arrives."""
        entry = self.find_refund(out_refund_no, now_ms)
        if entry.refund_id != refund_id:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "no such refund")
        if entry.status != "ABNORMAL":
            raise invalid_request("the refund is not abnormal")
        entry.status, entry.becomes, entry.told = "PROCESSING", "SUCCESS", False
        entry.settles_ms = now_ms + self._refund_settles_after_ms
        return entry

    def _refundable(self, content: dict[str, Any], now_ms: int) -> Order:
        try:
            order = (
                self.order(content["out_trade_no"], now_ms)
                if "out_trade_no" in content
                else self.order_by_id(content["transaction_id"], now_ms)
            )
        except Refusal:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "no such order") from None
        if order.state not in ("SUCCESS", "REFUND"):
            raise invalid_request("the order is not paid")
        if now_ms > order.paid_ms + _REFUNDABLE_MS:
            raise invalid_request("the order is too old to be refunded")
        return order

    def _outcome_of(self, refund_fen: int) -> tuple[str, int]:
        for outcome in self.refund_outcomes:
            if outcome.amount_minor in (None, refund_fen):
                if outcome.times:
                    outcome.times -= 1
                    if outcome.times == 0:
                        self.refund_outcomes.remove(outcome)
                return outcome.status, outcome.settles_after_ms or self._refund_settles_after_ms
        return "SUCCESS", self._refund_settles_after_ms

    def _settled(self, entry: RefundEntry, now_ms: int) -> RefundEntry:
        if entry.status != "PROCESSING" or now_ms < entry.settles_ms:
            return entry
        entry.status, order = entry.becomes, entry.order
        if entry.status == "SUCCESS" and order.payer is not None:
            order.payer.balance_fen += entry.refund_fen
        elif entry.status == "CLOSED":
            order.refunded_fen -= entry.refund_fen
            order.fee_given_back_fen -= entry.fee_fen
            if not order.refunded_fen:
                order.state = "SUCCESS"
            self._move(entry.settles_ms, order, "退款关闭", entry.refund_fen, entry.out_refund_no)
            self._move(entry.settles_ms, order, "扣除交易手续费", -entry.fee_fen, entry.out_refund_no)
        return entry

    # --- for bills, people and tests --------------------------------------------------------------------------------

    def orders(self, now_ms: int) -> list[Order]:
        for order in self._orders.values():
            self._let_happen(order, now_ms)
        return list(self._orders.values())

    def refunds(self, now_ms: int) -> list[RefundEntry]:
        return [self._settled(each, now_ms) for each in self._refunds.values()]

    def balance_fen(self) -> int:
        return self.movements[-1].balance_fen if self.movements else 0

    def _move(self, time_ms: int, order: Order, kind: str, amount_fen: int, reference: str) -> None:
        if amount_fen:
            flow_id = f"{len(self.movements) + 1:032d}"
            balance_fen = self.balance_fen() + amount_fen
            self.movements.append(
                Movement(time_ms, order.transaction_id, flow_id, kind, amount_fen, balance_fen, reference)
            )


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
