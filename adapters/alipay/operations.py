"""What each operation says to Alipay and what the answer means. Pure: a request in, a message or a result out."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from adapters.alipay import codes
from adapters.alipay.codec import Answer, ForgedAnswer, MalformedAnswer
from adapters.alipay.messages import (
    order_content,
    pay_content,
    refund_content,
    refund_query_content,
    trade_content,
)
from switch.domain.authorization import CodeCredential
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, ChannelRequest, ChannelResult, Declined, Phase, Unknown

PAY: Final = "alipay.trade.pay"
PRECREATE: Final = "alipay.trade.precreate"
QUERY: Final = "alipay.trade.query"
CANCEL: Final = "alipay.trade.cancel"
REFUND: Final = "alipay.trade.refund"
REFUND_QUERY: Final = "alipay.trade.fastpay.refund.query"

OUT_TRADE_NO: Final = "out_trade_no"
OUT_REQUEST_NO: Final = "out_request_no"

_AUTH_CODE = re.compile(r"(?:2[5-9]|30)[0-9]{14,22}", re.ASCII)
_PAID = frozenset({"TRADE_SUCCESS", "TRADE_FINISHED"})


@dataclass(slots=True, frozen=True)
class Message:
    """One call of the gateway, and how to read its answer: a result, or the message that must be sent to learn it.

    `read` raises ForgedAnswer or MalformedAnswer where the answer is not to this question. notify_url: where Alipay is
    to tell what becomes of it, "" for nowhere.
    """

    method: str
    biz_content: str = field(repr=False)
    read: "Callable[[Answer], ChannelResult | Message]" = field(repr=False)
    notify_url: str = ""


@dataclass(slots=True, frozen=True)
class Terms:
    """What every new payment and order is sent with. notify_url: of our door, "" for no notifications."""

    timeout_express: str
    notify_url: str = ""

    def notify_url_of(self, request: ChannelRequest) -> str:
        """The door finds the row by its primary key."""
        if not self.notify_url:
            return ""
        authorization = request.authorization
        merchant_id = quote(authorization.merchant_id, safe="")
        return f"{self.notify_url.rstrip('/')}/{merchant_id}/{authorization.id.hex}"


def message_for(request: ChannelRequest, terms: Terms) -> Message | Declined:
    """The message of a prepared request; Declined where Alipay could only refuse it, so that nothing is sent."""
    if request.money.currency != "CNY":
        return Declined("40", "currency_not_supported")
    begin, follow_on = _BEGINNINGS.get(request.operation), _FOLLOW_ONS.get(request.operation)
    if begin is not None:
        return begin(request, terms)
    if follow_on is not None:
        return follow_on(request)
    return Declined("40", f"alipay has no {request.operation.name.lower()}")


def probe(out_trade_no: str) -> Message:
    """A question about a trade that does not exist: whatever is answered, a verified answer means Alipay is there."""
    return Message(QUERY, trade_content(out_trade_no), lambda answer: Approved(response_code=answer.code))


# --- sale -----------------------------------------------------------------------------------------------------------


def _pay(request: ChannelRequest, terms: Terms) -> Message | Declined:
    credential = request.credential
    if not isinstance(credential, CodeCredential) or not _AUTH_CODE.fullmatch(credential.code.reveal()):
        return Declined("14", "no_alipay_payment_code")
    content = pay_content(
        out_trade_no=request.trace[OUT_TRADE_NO],
        auth_code=credential.code.reveal(),
        total_amount=request.money.decimal_text(),
        subject=request.merchant.name or request.merchant.id,
        store_id=request.merchant.id,
        terminal_id=request.authorization.terminal_id,
        timeout_express=terms.timeout_express,
    )
    return Message(PAY, content, lambda answer: _read_pay(request, answer), terms.notify_url_of(request))


def _read_pay(request: ChannelRequest, answer: Answer) -> ChannelResult:
    if answer.code == codes.AWAITING_PAYER:
        _same_trade(request, answer)
        return AwaitingPayer(channel_reference=answer.text("trade_no"))
    if answer.code != codes.DONE:
        # Alipay does not know and says: ask. A payment is cancelled only when asking has not helped for a minute.
        return AwaitingPayer() if codes.is_to_be_asked(answer.code, answer.sub_code) else _refusal(request, answer)
    # The signature does not cover the method: a query's answer put under the key of a payment has a trade_status.
    if answer.text("trade_status"):
        return _by_trade_status(request, answer, request.money.amount_minor)
    return _paid(request, answer, request.money.amount_minor)


# --- order ----------------------------------------------------------------------------------------------------------


def _order(request: ChannelRequest, terms: Terms) -> Message:
    content = order_content(
        out_trade_no=request.trace[OUT_TRADE_NO],
        total_amount=request.money.decimal_text(),
        subject=request.merchant.name or request.merchant.id,
        store_id=request.merchant.id,
        terminal_id=request.authorization.terminal_id,
        timeout_express=terms.timeout_express,
    )
    return Message(PRECREATE, content, lambda answer: _read_order(request, answer), terms.notify_url_of(request))


def _read_order(request: ChannelRequest, answer: Answer) -> ChannelResult:
    if answer.code != codes.DONE:
        return _refusal(request, answer)
    _same_trade(request, answer)
    if not answer.text("qr_code"):
        raise MalformedAnswer("qr_code is missing")
    return AwaitingPayer(code=answer.text("qr_code"))


# --- inquiry --------------------------------------------------------------------------------------------------------


def _inquire(request: ChannelRequest) -> Message:
    """Of the payment; of the refund that trace["out_request_no"] names, where there is one."""
    if OUT_REQUEST_NO in request.trace:
        return _refund_query(request)
    content = trade_content(request.trace[OUT_TRADE_NO])
    return Message(QUERY, content, lambda answer: _read_query(request, answer))


def _read_query(request: ChannelRequest, answer: Answer) -> ChannelResult:
    if answer.code == codes.DONE:
        return _by_trade_status(request, answer, request.authorization.money.amount_minor)
    if (answer.code, answer.sub_code) == (codes.BUSINESS_FAILURE, codes.TRADE_NOT_EXIST):
        if request.authorization.operation is Operation.ORDER:
            # An order is no trade until somebody scans it.
            return AwaitingPayer()
        # Not final for a payment just sent: it may still be on its way. The resolver cancels it to be sure.
        return Declined("25", answer.sub_code)
    # A refused question says nothing about the payment.
    return _open(answer)


def _by_trade_status(request: ChannelRequest, answer: Answer, amount_minor: int) -> ChannelResult:
    status = answer.text("trade_status")
    if status in _PAID:
        return _paid(request, answer, amount_minor)
    _same_trade(request, answer)
    if status == "WAIT_BUYER_PAY":
        return AwaitingPayer(channel_reference=answer.text("trade_no"))
    if status == "TRADE_CLOSED":
        return Declined("05", status, channel_reference=answer.text("trade_no"))
    raise MalformedAnswer("trade_status is unknown")


# --- cancel ---------------------------------------------------------------------------------------------------------


def _cancel(request: ChannelRequest) -> Message:
    content = trade_content(request.trace[OUT_TRADE_NO])
    return Message(CANCEL, content, lambda answer: _read_cancel(request, answer))


def _read_cancel(request: ChannelRequest, answer: Answer) -> ChannelResult:
    if answer.code == codes.DONE:
        _same_trade(request, answer)
        match answer.text("retry_flag"):
            case "N":
                return Approved(channel_reference=answer.text("trade_no"))
            case "Y":
                return Unknown(Phase.SENT, "cancel_must_be_retried")
        raise MalformedAnswer("retry_flag is neither Y nor N")
    if (answer.code, answer.sub_code) == (codes.BUSINESS_FAILURE, codes.TRADE_HAS_CLOSE):
        return Approved(channel_reference=answer.text("trade_no"))
    return _refusal(request, answer)


# --- refund ---------------------------------------------------------------------------------------------------------


def _refund(request: ChannelRequest) -> Message:
    trace = request.trace
    content = refund_content(trace[OUT_TRADE_NO], trace[OUT_REQUEST_NO], request.money.decimal_text())
    return Message(REFUND, content, lambda answer: _read_refund(request, answer))


def _read_refund(request: ChannelRequest, answer: Answer) -> ChannelResult | Message:
    """fund_change Y: money moved now. N: it moved before or not at all, so the refund itself is asked for."""
    if answer.code != codes.DONE:
        return _refusal(request, answer)
    _same_trade(request, answer)
    if answer.text("fund_change") != "Y":
        return _refund_query(request)
    # refund_fee is the sum of all refunds of the trade.
    if answer.amount_minor("refund_fee") < request.money.amount_minor:
        raise ForgedAnswer("refund_fee is less than was asked")
    return Approved(channel_reference=answer.text("trade_no"))


def _refund_query(request: ChannelRequest) -> Message:
    content = refund_query_content(request.trace[OUT_TRADE_NO], request.trace[OUT_REQUEST_NO])
    return Message(REFUND_QUERY, content, lambda answer: _read_refund_query(request, answer))


def _read_refund_query(request: ChannelRequest, answer: Answer) -> ChannelResult:
    if answer.code != codes.DONE:
        return _open(answer)
    if answer.text("refund_status") != "REFUND_SUCCESS":
        # Absent means not refunded so far. A repeat of the refund settles it: it is idempotent.
        return Unknown(Phase.SENT, "refund_not_confirmed")
    _same_trade(request, answer)
    if answer.text(OUT_REQUEST_NO) != request.trace[OUT_REQUEST_NO]:
        raise ForgedAnswer("another refund")
    if answer.amount_minor("refund_amount") != request.money.amount_minor:
        raise ForgedAnswer("another refund amount")
    return Approved(channel_reference=answer.text("trade_no"))


# --- what they share ------------------------------------------------------------------------------------------------

_FOLLOW_ONS: Final[dict[Operation, Callable[[ChannelRequest], Message]]] = {
    Operation.INQUIRY: _inquire,
    Operation.REVERSAL: _cancel,
    Operation.VOID: _cancel,
    Operation.REFUND: _refund,
}
_BEGINNINGS: Final[dict[Operation, Callable[[ChannelRequest, Terms], Message | Declined]]] = {
    Operation.SALE: _pay,
    Operation.ORDER: _order,
}
OPERATIONS: Final = frozenset({*_BEGINNINGS, *_FOLLOW_ONS})


def _paid(request: ChannelRequest, answer: Answer, amount_minor: int) -> Approved:
    _same_trade(request, answer)
    if answer.amount_minor("total_amount") != amount_minor:
        raise ForgedAnswer("another amount")
    if not answer.text("trade_no"):
        raise MalformedAnswer("trade_no is missing")
    return Approved(channel_reference=answer.text("trade_no"))


def _same_trade(request: ChannelRequest, answer: Answer) -> None:
    """A signature covers an answer, not the question: an old answer to another question must not pass for this one."""
    if answer.text(OUT_TRADE_NO) != request.trace[OUT_TRADE_NO]:
        raise ForgedAnswer("another trade")


def _refusal(request: ChannelRequest, answer: Answer) -> Declined | Unknown:
    response_code = codes.response_code(answer.code, answer.sub_code)
    # Turned away at the door: a repeat learns nothing about what was sent before it, and a reversal must come again.
    insistent = request.repeat > 0 or request.operation is Operation.REVERSAL
    if response_code is None or (insistent and answer.code in codes.GATEWAY_REFUSALS):
        return _open(answer)
    return Declined(response_code, answer.sub_code or answer.code, channel_reference=answer.text("trade_no"))


def _open(answer: Answer) -> Unknown:
    return Unknown(Phase.SENT, answer.sub_code or f"code_{answer.code}")
