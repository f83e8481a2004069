"""API v2 as far as older merchants still need it: micropay, its queries, reversal and refunds, over XML.

The same book answers v2 and v3. Every answer is HTTP 200; `return_code` FAIL (unsigned) says that the message was not
understood or not the merchant's, `result_code` FAIL (signed) that the business failed. The real platform takes
reversals and refunds only with the merchant's TLS certificate; here the sign alone decides.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from aiohttp import web

from adapters.simulation import NORMAL, Behaviour, Scenario
from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.errors import Refusal
from adapters.wechat.simulator.orders import Order, RefundEntry
from adapters.wechat.simulator.scenes import perform
from adapters.wechat.simulator.v2_xml import BadXml, read_xml, sign, write_xml
from adapters.wechat.simulator.world import PlatformWorld

_ZONE = ZoneInfo("Asia/Shanghai")
_NUMBER = r"[0-9A-Za-z_\-|*@]{1,32}"
_REFUND_NUMBER = r"[0-9A-Za-z_\-|*@]{1,64}"
_AMOUNT = r"[1-9][0-9]{0,9}"
_SOME = r"(?s:.{1,6000})"
# Name -> pattern; a name with `?` may be missing.
_COMMON = {"appid": r".{1,32}", "mch_id": r".{1,32}", "nonce_str": r".{1,32}", "sign": r"[0-9A-Fa-f]{32,64}"}
_COMMON |= {"sign_type?": "MD5|HMAC-SHA256", "device_info?": r".{1,32}", "sub_mch_id?": r".{0}", "version?": r".{1,16}"}
_MICROPAY = _COMMON | {
    "body": r"(?s:.{1,128})",
    "out_trade_no": _NUMBER,
    "total_fee": _AMOUNT,
    "auth_code": r"1[0-5][0-9]{16}",
    "spbill_create_ip": r"[0-9A-Fa-f.:]{3,64}",
    "fee_type?": "CNY",
    "detail?": _SOME,
    "attach?": r"(?s:.{1,127})",
    "goods_tag?": r".{1,32}",
    "limit_pay?": r".{1,32}",
    "receipt?": r".{1,8}",
    "time_start?": r"\d{14}",
    "time_expire?": r"\d{14}",
    "scene_info?": _SOME,
}
_BY_ORDER = _COMMON | {"transaction_id?": r"[0-9]{1,32}", "out_trade_no?": _NUMBER}
_REFUND = _BY_ORDER | {
    "out_refund_no": _REFUND_NUMBER,
    "total_fee": _AMOUNT,
    "refund_fee": _AMOUNT,
    "refund_fee_type?": "CNY",
    "refund_desc?": r"(?s:.{1,80})",
    "refund_account?": r"REFUND_SOURCE_(UNSETTLED|RECHARGE)_FUNDS",
    "op_user_id?": r".{1,32}",
    "notify_url?": r"https?://[^?\s]{1,250}",
}
_REFUND_QUERY = _BY_ORDER | {"out_refund_no?": _REFUND_NUMBER, "refund_id?": r"[0-9]{1,32}", "offset?": r"[0-9]{1,4}"}
# v3's code -> v2's.
_SAID = {
    "ACCOUNT_ERROR": "ACCOUNTERROR",
    "AUTH_CODE_EXPIRED": "AUTHCODEEXPIRE",
    "NOT_ENOUGH": "NOTENOUGH",
    "NO_AUTH": "NOAUTH",
    "ORDER_CLOSED": "ORDERCLOSED",
    "ORDER_NOT_EXIST": "ORDERNOTEXIST",
    "ORDER_REVERSED": "ORDERREVERSED",
    "RESOURCE_NOT_EXISTS": "REFUNDNOTEXIST",
    "RULE_LIMIT": "RULELIMIT",
    "SYSTEM_ERROR": "SYSTEMERROR",
}
_STATES = {"SUCCESS": "SUCCESS", "PROCESSING": "PROCESSING", "CLOSED": "REFUNDCLOSE", "ABNORMAL": "CHANGE"}
_Fields = Mapping[str, str]
_Act = Callable[[Book, _Fields], tuple[dict[str, str], Scenario]]


class NotUnderstood(Exception):
    """Answered with return_code FAIL and this text."""


class V2:
    def __init__(self, world: PlatformWorld) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            self._route("/pay/micropay", _MICROPAY, self._micropay),
            self._route("/pay/orderquery", _BY_ORDER, self._order_query),
            self._route("/secapi/pay/reverse", _BY_ORDER, self._reverse),
            self._route("/secapi/pay/refund", _REFUND, self._refund),
            self._route("/pay/refundquery", _REFUND_QUERY, self._refund_query),
        ]

    def _route(self, path: str, rules: Mapping[str, str], act: _Act) -> web.RouteDef:
        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                asked = self._read(await request.read(), rules)
            except (BadXml, NotUnderstood) as error:
                return _xml({"return_code": "FAIL", "return_msg": str(error)})
            book = self._world.books[asked["mch_id"]]
            scenario = NORMAL
            try:
                fault = self._world.fault_for(request.path)
                if fault is not None:
                    raise Refusal(fault.status, fault.code, "as the control endpoint was told")
                told, scenario = act(book, asked)
                fields = {"result_code": "SUCCESS"} | told
            except Refusal as refusal:
                code = _SAID.get(refusal.code, refusal.code)
                fields = {"result_code": "FAIL", "err_code": code, "err_code_des": refusal.message}
            return await perform(request, scenario, lambda behaviour: self._answer(book, asked, fields, behaviour))

        return web.post(path, handler)

    # --- the calls --------------------------------------------------------------------------------------------------

    def _micropay(self, book: Book, asked: _Fields) -> tuple[dict[str, str], Scenario]:
        content = {
            "description": asked["body"],
            "out_trade_no": asked["out_trade_no"],
            "payer": {"auth_code": asked["auth_code"]},
            "amount": {"total": int(asked["total_fee"])},
            "attach": asked.get("attach", ""),
            "scene_info": {"device_id": asked.get("device_info", "")},
        }
        order, scenario = book.pay(content, self._world.now_ms(), self._world.scenarios.choose)
        if order.state == "USERPAYING":
            raise Refusal(200, "USERPAYING", "the payer is typing a password")
        return _payment(order), scenario

    def _order_query(self, book: Book, asked: _Fields) -> tuple[dict[str, str], Scenario]:
        order = self._order(book, asked)
        told = {"out_trade_no": order.out_trade_no, "trade_state": order.state, "trade_state_desc": order.state}
        paid = order.state in ("SUCCESS", "REFUND") or order.revoked_ms
        return (_payment(order) if paid else {"total_fee": str(order.total_fen)}) | told, NORMAL

    def _reverse(self, book: Book, asked: _Fields) -> tuple[dict[str, str], Scenario]:
        number = asked.get("out_trade_no") or self._order(book, asked).out_trade_no
        book.reverse(number, self._world.now_ms())
        return {"recall": "N"}, NORMAL

    def _refund(self, book: Book, asked: _Fields) -> tuple[dict[str, str], Scenario]:
        order = self._order(book, asked)
        content = {
            "out_trade_no": order.out_trade_no,
            "out_refund_no": asked["out_refund_no"],
            "amount": {"refund": int(asked["refund_fee"]), "total": int(asked["total_fee"]), "currency": "CNY"},
        }
        refund = book.refund(content, self._world.now_ms())
        return _of_order(order) | {
            "out_refund_no": refund.out_refund_no,
            "refund_id": refund.refund_id,
            "refund_fee": str(refund.refund_fen),
            "cash_fee": str(order.total_fen),
        }, NORMAL

    def _refund_query(self, book: Book, asked: _Fields) -> tuple[dict[str, str], Scenario]:
        now_ms = self._world.now_ms()
        if "out_refund_no" in asked:
            found = [book.find_refund(asked["out_refund_no"], now_ms)]
        elif "refund_id" in asked:
            found = [each for each in book.refunds(now_ms) if each.refund_id == asked["refund_id"]]
        else:
            found = book.refunds_of(self._order(book, asked), now_ms)
        if not found:
            raise Refusal(200, "REFUNDNOTEXIST", "no such refund")
        told = _of_order(found[0].order) | {"refund_count": str(len(found))}
        for index, refund in enumerate(found):
            told |= _listed_refund(refund, index)
        return told, NORMAL

    def _order(self, book: Book, asked: _Fields) -> Order:
        if ("transaction_id" in asked) == ("out_trade_no" in asked):
            raise Refusal(200, "PARAM_ERROR", "needs exactly one of transaction_id and out_trade_no")
        if "out_trade_no" in asked:
            return book.order(asked["out_trade_no"], self._world.now_ms())
        return book.order_by_id(asked["transaction_id"], self._world.now_ms())

    # --- who asks, and the answer -----------------------------------------------------------------------------------

    def _read(self, body: bytes, rules: Mapping[str, str]) -> dict[str, str]:
        """The fields of a well-signed message, those of the call checked. Raises BadXml or NotUnderstood."""
        fields = {name: value for name, value in read_xml(body).items() if value}
        merchant = self._world.merchants.get(fields.get("mch_id", ""))
        if merchant is None or not merchant.v2_key:
            raise NotUnderstood("mch_id is not known, or has no key for this API")
        sign_type = fields.get("sign_type", "MD5")
        expected = sign(fields, merchant.v2_key, sign_type)
        if not hmac.compare_digest(expected.encode(), fields.get("sign", "").encode()):
            raise NotUnderstood("签名错误")
        if fields.get("appid") != merchant.appid:
            raise NotUnderstood("appid and mch_id do not match")
        for name, pattern in rules.items():
            plain = name.removesuffix("?")
            if plain not in fields:
                if plain == name:
                    raise NotUnderstood(f"{plain} is missing")
            elif not re.fullmatch(pattern, fields[plain]):
                raise NotUnderstood(f"{plain} is wrong")
        return fields

    def _answer(self, book: Book, asked: _Fields, told: dict[str, str], behaviour: Behaviour) -> web.StreamResponse:
        merchant = book.merchant
        fields = {
            "return_code": "SUCCESS",
            "return_msg": "OK",
            "appid": merchant.appid,
            "mch_id": merchant.mchid,
            "nonce_str": secrets.token_hex(16),
        } | told
        key = "0" * 32 if behaviour is Behaviour.FORGED else merchant.v2_key
        fields["sign"] = sign(fields, key, asked.get("sign_type", "MD5"))
        answer = _xml(fields)
        if behaviour is Behaviour.MALFORMED:
            answer.body = write_xml(fields)[:-20]
        return answer


def _payment(order: Order) -> dict[str, str]:
    told = _of_order(order) | {
        "openid": order.payer.openid if order.payer else "",
        "is_subscribe": "N",
        "trade_type": order.trade_type,
        "bank_type": "OTHERS",
        "fee_type": "CNY",
        "cash_fee_type": "CNY",
        "cash_fee": str(order.total_fen),
        "attach": order.attach,
        "device_info": order.device_id,
    }
    if order.paid_ms:
        told["time_end"] = datetime.fromtimestamp(order.paid_ms // 1000, _ZONE).strftime("%Y%m%d%H%M%S")
    return told


def _of_order(order: Order) -> dict[str, str]:
    return {
        "transaction_id": order.transaction_id,
        "out_trade_no": order.out_trade_no,
        "total_fee": str(order.total_fen),
    }


def _listed_refund(refund: RefundEntry, index: int) -> dict[str, str]:
    return {
        f"out_refund_no_{index}": refund.out_refund_no,
        f"refund_id_{index}": refund.refund_id,
        f"refund_fee_{index}": str(refund.refund_fen),
        f"refund_channel_{index}": "ORIGINAL",
        f"refund_status_{index}": _STATES[refund.status],
        f"refund_recv_accout_{index}": "支付用户零钱",  # the platform's own spelling
    }


def _xml(fields: Mapping[str, str]) -> web.Response:
    return web.Response(body=write_xml(fields), content_type="text/xml", charset="utf-8")
