"""Undoing an order that the payer scans takes up to three calls: close it; if it turns out paid, refund it whole.

WeChat Pay reverses only payments by code. Pure: what to send next, given what was answered. Every step may be repeated:
a close has one effect, and the refund has a number derived from the order's.
"""

from dataclasses import dataclass
from enum import Enum, auto

from adapters.wechat import answers
from adapters.wechat.codec import InvalidAnswer
from adapters.wechat.codes import Asked, result_of
from switch.domain.states import Operation
from switch.ports import Approved, ChannelResult, Declined, Phase, Unknown

_CLOSED = frozenset({"CLOSED", "REVOKED", "PAYERROR"})
_PAID = frozenset({"SUCCESS", "REFUND"})


class Step(Enum):
    CLOSE = auto()
    QUERY = auto()
    REFUND = auto()


def refund_number(out_trade_no: str) -> str:
    """Always the same for an order, so that undoing it again refunds nothing again."""
    return f"undo-{out_trade_no}"


@dataclass(slots=True, frozen=True)
class Undo:
    """The undoing of one order. asked.operation: REVERSAL or VOID."""

    asked: Asked

    def after(self, step: Step, status: int, body: bytes) -> "Step | ChannelResult":
        """What is next, or what it came to. The answer's signature was verified."""
        if not (status in (200, 204) or 400 <= status < 500) or status == 429:
            return Unknown(Phase.SENT, f"HTTP {status}")
        try:
            match step:
                case Step.CLOSE:
                    return self._after_close(status, body)
                case Step.QUERY:
                    return self._after_query(status, body)
                case Step.REFUND:
                    return self._after_refund(status, body)
        except InvalidAnswer as error:
            return Unknown(Phase.SENT, f"HTTP {status}: {error}")

    def _after_close(self, status: int, body: bytes) -> "Step | ChannelResult":
        if status == 204:
            return Approved()
        if status == 200:
            return Unknown(Phase.SENT, "HTTP 200 to a close")
        code = answers.error_code(body)
        if code.replace("_", "") == "ORDERNOTEXIST":
            return Declined("25", code)
        if status in (401, 403):
            return Unknown(Phase.SENT, code)
        return Step.QUERY  # paid, or closed before: its state tells

    def _after_query(self, status: int, body: bytes) -> "Step | ChannelResult":
        if status != 200:
            return Unknown(Phase.SENT, answers.error_code(body))
        trade = answers.trade_of(body)
        if trade.out_trade_no != self.asked.out_trade_no:
            return Unknown(Phase.SENT, "the answer names another order")
        if trade.state in _CLOSED:
            return Approved()
        return Step.REFUND if trade.state in _PAID else Unknown(Phase.SENT, f"trade_state {trade.state}")

    def _after_refund(self, status: int, body: bytes) -> ChannelResult:
        """As of any refund, but a reversal is not over because one was refused."""
        asked = Asked(
            Operation.REFUND, self.asked.mchid, self.asked.out_trade_no, self.asked.total_fen,
            refund_number(self.asked.out_trade_no), self.asked.total_fen,
        )  # fmt: skip
        result = result_of(asked, status, body)
        if isinstance(result, Declined) and self.asked.operation is Operation.REVERSAL:
            return Unknown(Phase.SENT, result.reason)
        return result
