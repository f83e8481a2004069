"""API v3: what is called for each operation, and whose signature an answer must carry."""

from dataclasses import dataclass

from adapters.wechat import calls, codec, undo
from adapters.wechat.codes import Asked, result_of
from adapters.wechat.conversation import Conversation, notify_url
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.transport import Answer
from switch.domain.authorization import CodeCredential
from switch.domain.states import Operation
from switch.ports import ChannelRequest, ChannelResult, Phase, Unknown

_UNDOES = frozenset({Operation.REVERSAL, Operation.VOID})


class V3:
    signed = True

    def __init__(self, settings: WeChatSettings, keys: codec.PlatformKeys) -> None:
        self._settings = settings
        self._keys = keys
        follow_ons = {Operation.INQUIRY, Operation.REVERSAL, Operation.VOID, Operation.REFUND}
        self.operations = frozenset(follow_ons | {Operation.SALE, Operation.ORDER})

    def begin(self, request: ChannelRequest) -> Conversation:
        asked = self._asked(request)
        if request.operation in _UNDOES and request.authorization.operation is Operation.ORDER:
            return _Undoing(self._keys, undo.Undo(asked), self._settings.mchid)
        return _Asking(self._call(request), self._keys, asked)

    def _call(self, request: ChannelRequest) -> calls.Call:
        settings, trace = self._settings, request.trace
        out_trade_no = trace["out_trade_no"]
        match request.operation:
            case Operation.SALE:
                return self._codepay(request, out_trade_no)
            case Operation.ORDER:
                return self._native(request, out_trade_no)
            case Operation.INQUIRY if "out_refund_no" in trace:
                return calls.query_refund(trace["out_refund_no"])
            case Operation.INQUIRY:
                return calls.query_order(settings.mchid, out_trade_no)
            case Operation.REFUND:
                total_fen, url = request.authorization.money.amount_minor, notify_url(settings.notify_url, request)
                return calls.refund(out_trade_no, trace["out_refund_no"], request.money.amount_minor, total_fen, url)
            case _:
                return calls.reverse(settings.appid, settings.mchid, out_trade_no)

    def _codepay(self, request: ChannelRequest, out_trade_no: str) -> calls.Call:
        settings, merchant = self._settings, request.merchant
        if not isinstance(request.credential, CodeCredential):
            raise codec.InvalidAuthCode("a sale needs a payment code")
        scene = calls.Scene(merchant.id, request.authorization.terminal_id, settings.device_ip)
        code = request.credential.code.reveal()
        amount_fen, description = request.money.amount_minor, merchant.name or merchant.id
        return calls.codepay(settings.appid, settings.mchid, out_trade_no, code, amount_fen, description, scene)

    def _native(self, request: ChannelRequest, out_trade_no: str) -> calls.Call:
        settings, merchant = self._settings, request.merchant
        url = notify_url(settings.notify_url, request)
        description = merchant.name or merchant.id
        amount_fen = request.money.amount_minor
        return calls.native(settings.appid, settings.mchid, out_trade_no, amount_fen, description, url)

    def _asked(self, request: ChannelRequest) -> Asked:
        """The order's amount is the payment's own, and for what follows that of the original."""
        begins = request.operation in (Operation.SALE, Operation.ORDER)
        return Asked(
            operation=request.operation,
            mchid=self._settings.mchid,
            out_trade_no=request.trace["out_trade_no"],
            total_fen=request.money.amount_minor if begins else request.authorization.money.amount_minor,
            out_refund_no=request.trace.get("out_refund_no", ""),
            refund_fen=request.money.amount_minor if request.operation is Operation.REFUND else 0,
            repeated=request.repeat > 0,
        )


@dataclass(slots=True)
class _Asking:
    """One call and its answer."""

    call: calls.Call
    keys: codec.PlatformKeys
    asked: Asked

    def heard(self, answer: Answer, now_s: float) -> ChannelResult:
        if answer.status < 500:
            self.keys.verify(answer.headers, answer.body, now_s)
        return result_of(self.asked, answer.status, answer.body)


class _Undoing:
    """Close, and if it was paid query and refund."""

    def __init__(self, keys: codec.PlatformKeys, undoing: undo.Undo, mchid: str) -> None:
        self._keys = keys
        self._undo = undoing
        self._mchid = mchid
        self._step = undo.Step.CLOSE
        self.call = self._call_of(self._step)

    def heard(self, answer: Answer, now_s: float) -> "calls.Call | ChannelResult":
        if answer.status >= 500:
            return Unknown(Phase.SENT, f"HTTP {answer.status}")
        self._keys.verify(answer.headers, answer.body, now_s)
        outcome = self._undo.after(self._step, answer.status, answer.body)
        if not isinstance(outcome, undo.Step):
            return outcome
        self._step = outcome
        return self._call_of(outcome)

    def _call_of(self, step: undo.Step) -> calls.Call:
        asked = self._undo.asked
        match step:
            case undo.Step.CLOSE:
                return calls.close(self._mchid, asked.out_trade_no)
            case undo.Step.QUERY:
                return calls.query_order(self._mchid, asked.out_trade_no)
            case undo.Step.REFUND:
                number = undo.refund_number(asked.out_trade_no)
                return calls.refund(asked.out_trade_no, number, asked.total_fen, asked.total_fen)
