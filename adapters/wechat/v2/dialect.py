"""API v2: what is called for each operation, and what its answers mean. The merchant's key signs, not the HSM's.

An answer with `return_code` FAIL is unsigned, so that it says nothing: the payment stays unknown and is asked after.
"""

import secrets
from collections.abc import Mapping

from adapters.wechat import calls, codec
from adapters.wechat.answers import Refund, Trade
from adapters.wechat.codes import Asked, refund_result, refused, trade_result
from adapters.wechat.conversation import Conversation
from adapters.wechat.settings import WeChatSettings
from adapters.wechat.transport import Answer
from adapters.wechat.v2 import codec as xml
from switch.domain.authorization import CodeCredential
from switch.domain.states import Operation
from switch.ports import Approved, ChannelRequest, ChannelResult, Phase, Unknown

_REFUND_STATUSES = {
    "SUCCESS": "SUCCESS",
    "PROCESSING": "PROCESSING",
    "REFUNDCLOSE": "CLOSED",
    "CHANGE": "ABNORMAL",
}


class V2:
    operations = frozenset({Operation.SALE, Operation.INQUIRY, Operation.REVERSAL, Operation.VOID, Operation.REFUND})
    signed = False

    def __init__(self, settings: WeChatSettings) -> None:
        self._settings = settings

    def begin(self, request: ChannelRequest) -> Conversation:
        """Raises InvalidField. The bounds of the numbers are v3's, which are no wider."""
        trace, amount_fen = request.trace, request.money.amount_minor
        total_fen = amount_fen if request.operation is Operation.SALE else request.authorization.money.amount_minor
        out_trade_no, out_refund_no = trace["out_trade_no"], trace.get("out_refund_no", "")
        refund_fen = amount_fen if request.operation is Operation.REFUND else 0
        asked = Asked(
            request.operation, self._settings.mchid, out_trade_no, total_fen, out_refund_no, refund_fen,
            request.repeat > 0,
        )  # fmt: skip
        return _Talk(self._settings, request, asked)


class _Talk:
    """One call, and for a refund a query after it: v2 says of a refund only that it was taken on."""

    def __init__(self, settings: WeChatSettings, request: ChannelRequest, asked: Asked) -> None:
        self._settings = settings
        self._asked = asked
        self._querying_refund = request.operation is Operation.INQUIRY and bool(asked.out_refund_no)
        self.call = self._first(request)

    def heard(self, answer: Answer, now_s: float) -> "calls.Call | ChannelResult":
        if answer.status != 200:
            return Unknown(Phase.SENT, f"HTTP {answer.status}")
        try:
            fields = xml.decode(answer.body)
            if fields.get("return_code") != "SUCCESS":
                return Unknown(Phase.SENT, "return_code is not SUCCESS")
            xml.check(fields, self._settings.v2_key)
            return self._understood(fields)
        except codec.InvalidAnswer as error:
            return Unknown(Phase.SENT, str(error))

    def _understood(self, fields: Mapping[str, str]) -> "calls.Call | ChannelResult":
        asked = self._asked
        if (fields.get("mch_id"), fields.get("appid")) != (self._settings.mchid, self._settings.appid):
            return Unknown(Phase.SENT, "the answer is another merchant's")
        if fields.get("result_code") != "SUCCESS":
            code = fields.get("err_code", "")[:64]
            # A refused query says nothing of the refund that was taken on before it.
            return Unknown(Phase.SENT, code) if self._querying_refund else refused(asked, 400, code)
        if self._querying_refund:
            return refund_result(asked, self._refund_of(fields))
        match asked.operation:
            case Operation.REFUND:
                self._querying_refund = True
                return self._call("/pay/refundquery", {"out_refund_no": asked.out_refund_no})
            case Operation.REVERSAL | Operation.VOID:
                return Approved() if fields.get("recall") == "N" else Unknown(Phase.SENT, "it wants to be recalled")
            case _:
                return trade_result(asked, _trade_of(fields))

    def _first(self, request: ChannelRequest) -> calls.Call:
        asked, order = self._asked, {"out_trade_no": self._asked.out_trade_no}
        match asked.operation:
            case Operation.SALE:
                return self._micropay(request)
            case Operation.INQUIRY if self._querying_refund:
                return self._call("/pay/refundquery", {"out_refund_no": asked.out_refund_no})
            case Operation.INQUIRY:
                return self._call("/pay/orderquery", order)
            case Operation.REFUND:
                if not 1 <= asked.refund_fen <= asked.total_fen:
                    raise codec.InvalidField("refund_fee must be positive and at most total_fee")
                fields = order | {"out_refund_no": asked.out_refund_no, "refund_fee": str(asked.refund_fen)}
                fields["total_fee"] = str(asked.total_fen)
                return self._call("/secapi/pay/refund", fields)
            case _:
                return self._call("/secapi/pay/reverse", order)

    def _micropay(self, request: ChannelRequest) -> calls.Call:
        if not isinstance(request.credential, CodeCredential):
            raise codec.InvalidAuthCode("a sale needs a payment code")
        description = request.merchant.name or request.merchant.id
        fields = {
            "body": description[:42],  # 128 bytes
            "out_trade_no": self._asked.out_trade_no,
            "total_fee": str(calls.checked_amount(request.money.amount_minor)),
            "auth_code": calls.checked_auth_code(request.credential.code.reveal()),
            "spbill_create_ip": self._settings.device_ip,
            "device_info": request.authorization.terminal_id[:32],
        }
        return self._call("/pay/micropay", fields)

    def _call(self, target: str, fields: Mapping[str, str]) -> calls.Call:
        settings = self._settings
        common = {
            "appid": settings.appid,
            "mch_id": settings.mchid,
            "nonce_str": secrets.token_hex(16),
            "sign_type": xml.SIGN_TYPE,
        }
        told = common | {name: value for name, value in fields.items() if value}
        return calls.Call("POST", target, xml.encode(told | {"sign": xml.sign(told, settings.v2_key)}))

    def _refund_of(self, fields: Mapping[str, str]) -> Refund:
        """Raises InvalidAnswer."""
        return Refund(
            status=_REFUND_STATUSES.get(fields.get("refund_status_0", ""), "UNKNOWN"),
            out_refund_no=fields.get("out_refund_no_0", ""),
            refund_id=fields.get("refund_id_0", ""),
            out_trade_no=fields.get("out_trade_no", ""),
            refund_fen=_fen(fields, "refund_fee_0"),
        )


def _trade_of(fields: Mapping[str, str]) -> Trade:
    """A micropay that succeeded tells no trade_state: it is paid. Raises InvalidAnswer."""
    return Trade(
        state=fields.get("trade_state", "SUCCESS"),
        out_trade_no=fields.get("out_trade_no", ""),
        transaction_id=fields.get("transaction_id", ""),
        mchid=fields.get("mch_id", ""),
        total_fen=_fen(fields, "total_fee") if "total_fee" in fields else None,
        currency=fields.get("fee_type", ""),
    )


def _fen(fields: Mapping[str, str], name: str) -> int:
    value = fields.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise codec.InvalidAnswer(f"{name} is not an amount")
    return int(value)
