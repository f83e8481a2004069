"""What WeChat Pay's states and error codes mean: verified answers become channel results and DE39 values. Pure.

Two rules decide every doubtful case (DESIGN 5, invariant 15). Only a code listed here is a refusal: an unlisted one,
an unlisted state or a 5xx is Unknown. And a refusal refuses the *request*: the error answer of an inquiry or of a
reversal says nothing of the payment, so there it is Unknown too, and the follow-up goes on.
"""

from dataclasses import dataclass

from adapters.wechat import answers
from adapters.wechat.codec import InvalidAnswer
from switch.domain.states import Operation
from switch.ports import Approved, AwaitingPayer, ChannelResult, Declined, Phase, Unknown

# trade_state -> DE39 for the states in which the order can never be paid.
_DEAD_STATES = {"PAYERROR": "05", "REVOKED": "12", "CLOSED": "12"}
# NOTPAY: the order stands and may still be paid.
_OPEN_STATES = frozenset({"USERPAYING", "ACCEPT", "NOTPAY"})
# REFUND: paid, then (partly) refunded; refunds are follow-ons with outcomes of their own.
_PAID_STATES = frozenset({"SUCCESS", "REFUND"})

# Error code -> DE39, written without underscores: v3 says NOT_ENOUGH where its documents and v2 say NOTENOUGH.
_REFUSALS = {
    "ACCOUNTERROR": "62",
    "APPIDMCHIDNOTMATCH": "03",
    "AUTHCODEERROR": "14",
    "AUTHCODEEXPIRE": "54",
    "AUTHCODEEXPIRED": "54",
    "AUTHCODEINVALID": "14",
    "INVALIDREQUEST": "12",
    "MCHNOTEXISTS": "03",
    "NOAUTH": "57",
    "NOTENOUGH": "51",
    "ORDERCLOSED": "12",
    "ORDERNOTEXIST": "25",
    "ORDERREVERSED": "12",
    "PARAMERROR": "30",
    "REFUNDNOTEXIST": "25",
    "REQUESTBLOCKED": "34",
    "RESOURCENOTEXISTS": "25",
    "RULELIMIT": "61",
    "SIGNERROR": "96",
    "TRADEERROR": "05",
    "USERACCOUNTABNORMAL": "62",
}
# The caller was turned away, whatever he asked: of a repeat it says nothing of what was done before.
_AT_THE_DOOR = frozenset({"APPIDMCHIDNOTMATCH", "MCHNOTEXISTS", "NOAUTH", "SIGNERROR"})
_STILL_PAYING = "USERPAYING"
_ORIGINAL_MISSING = "ORDERNOTEXIST"


@dataclass(slots=True, frozen=True)
class Asked:
    """What an answer must be the answer to. total_fen: the order's; refund_fen: 0 unless a refund was asked for.

    out_refund_no: for an inquiry too, when it asks after a refund. repeated: the same was sent before.
    """

    operation: Operation
    mchid: str
    out_trade_no: str
    total_fen: int
    out_refund_no: str = ""
    refund_fen: int = 0
    repeated: bool = False


def result_of(asked: Asked, status: int, body: bytes) -> ChannelResult:
    """The meaning of an answer whose signature was verified (an answer from 500 on needs none: it says nothing).

    Not for the undoing of an order, which takes several calls: see `undo`.
    """
    try:
        if status in (200, 202, 204):
            return _success(asked, status, body)
        if 400 <= status < 500:
            return refused(asked, status, answers.error_code(body))
    except InvalidAnswer as error:
        return Unknown(Phase.SENT, f"HTTP {status}: {error}")
    return Unknown(Phase.SENT, f"HTTP {status}")


def _success(asked: Asked, status: int, body: bytes) -> ChannelResult:
    if asked.out_refund_no:
        return refund_result(asked, answers.refund_of(body))
    if asked.operation is Operation.ORDER:
        return AwaitingPayer(code=answers.code_url_of(body))
    if asked.operation in (Operation.REVERSAL, Operation.VOID):
        named = answers.reversed_out_trade_no(body)
        if named == asked.out_trade_no or (status == 204 and not named):
            return Approved()
        return Unknown(Phase.SENT, "the answer names another order")
    return trade_result(asked, answers.trade_of(body))


def trade_result(asked: Asked, trade: answers.Trade) -> ChannelResult:
    told = (trade.out_trade_no or asked.out_trade_no, trade.mchid or asked.mchid)
    if told != (asked.out_trade_no, asked.mchid):
        return Unknown(Phase.SENT, "the answer names another order")
    if trade.state in _PAID_STATES:
        if not (trade.out_trade_no and trade.transaction_id and trade.total_fen == asked.total_fen):
            return Unknown(Phase.SENT, "the answer's order differs from what was asked")
        if trade.currency not in ("", "CNY"):
            return Unknown(Phase.SENT, "the answer's currency differs from what was asked")
        return Approved(channel_reference=trade.transaction_id)
    if trade.state in _OPEN_STATES:
        return AwaitingPayer(trade.transaction_id)
    if trade.state in _DEAD_STATES:
        return Declined(_DEAD_STATES[trade.state], trade.state, trade.transaction_id)
    return Unknown(Phase.SENT, f"trade_state {trade.state}")


def refund_result(asked: Asked, refund: answers.Refund) -> ChannelResult:
    """PROCESSING is no outcome yet: whoever asked asks again, by the same number. ABNORMAL waits for a person."""
    told = (refund.out_refund_no, refund.out_trade_no)
    if told != (asked.out_refund_no, asked.out_trade_no) or asked.refund_fen not in (0, refund.refund_fen):
        return Unknown(Phase.SENT, "the answer names another refund")
    if refund.status == "SUCCESS":
        return Approved(channel_reference=refund.refund_id)
    if refund.status == "PROCESSING":
        return AwaitingPayer(refund.refund_id)
    if refund.status == "CLOSED":
        return Declined("05", "CLOSED", refund.refund_id)
    return Unknown(Phase.SENT, f"refund status {refund.status}")


def refused(asked: Asked, status: int, code: str) -> ChannelResult:
    """The platform's refusal, with its code: a verified 4xx.

    429: the gateway turned the request away before it was processed, so it counts as not sent.
    401 SIGN_ERROR: our own fault, nothing was processed. It is believed (96) because this answer is itself signed; an
    unsigned 401 could come from anyone on the way, never gets here, and is Unknown.
    """
    plain = code.replace("_", "")
    if status == 429:
        return Unknown(Phase.NOT_SENT, code)
    if plain == _STILL_PAYING and asked.operation in (Operation.SALE, Operation.INQUIRY):
        return AwaitingPayer()
    if asked.operation is Operation.INQUIRY:
        return Unknown(Phase.SENT, code)
    if asked.operation is Operation.REVERSAL and plain != _ORIGINAL_MISSING:
        return Unknown(Phase.SENT, code)
    if asked.repeated and plain in _AT_THE_DOOR:
        return Unknown(Phase.SENT, code)
    response_code = _REFUSALS.get(plain)
    return Declined(response_code, code) if response_code else Unknown(Phase.SENT, code)
