"""API v3: who asks, what is asked, what the book says to it, how it is signed."""

import gzip
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from adapters.simulation import Behaviour
from adapters.wechat.simulator import bodies
from adapters.wechat.simulator.answers import order_content, refund_content
from adapters.wechat.simulator.bills import fund_flow_bill, trade_bill
from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.errors import Refusal, bad_parameter
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.notifications import encrypted
from adapters.wechat.simulator.orders import Order
from adapters.wechat.simulator.scenes import perform
from adapters.wechat.simulator.signatures import MerchantGate
from adapters.wechat.simulator.world import PlatformWorld

_MERCHANT = web.RequestKey("merchant", WeChatMerchant)
_ABSOLUTE = re.compile(r"^https?://[^/]*")  # what a proxy puts before the path, and nobody signs
_TIME = "%Y-%m-%dT%H:%M:%SZ"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class V3:
    """The calls of API v3 as aiohttp handlers. Every answer but a bill's file is signed, refusals too."""

    def __init__(self, world: PlatformWorld) -> None:
        self._world = world
        self._gate = MerchantGate(list(world.merchants.values()), world.now_s)

    def routes(self) -> list[web.RouteDef]:
        orders, refunds = "/v3/pay/transactions", "/v3/refund/domestic/refunds"
        return [
            web.post(f"{orders}/codepay", self._codepay),
            web.post(f"{orders}/native", self._native),
            web.post(f"{orders}/h5", self._h5),
            web.post(f"{orders}/jsapi", self._jsapi),
            web.post(f"{orders}/app", self._app),
            web.get(f"{orders}/out-trade-no/{{number}}", self._query),
            web.get(f"{orders}/id/{{id}}", self._query_by_id),
            web.post(f"{orders}/out-trade-no/{{number}}/reverse", self._reverse),
            web.post(f"{orders}/out-trade-no/{{number}}/close", self._close),
            web.post(refunds, self._refund),
            web.get(f"{refunds}/{{number}}", self._query_refund),
            web.post(f"{refunds}/{{id}}/apply-abnormal-refund", self._abnormal_refund),
            web.get("/v3/bill/tradebill", self._trade_bill),
            web.get("/v3/bill/fundflowbill", self._fund_flow_bill),
            web.get("/v3/billdownload/file", self._bill_file),
            web.get("/v3/certificates", self._certificates),
        ]

    # --- orders -----------------------------------------------------------------------------------------------------

    async def _codepay(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.CODEPAY)
        order, scenario = self._book(request).pay(content, self._world.now_ms(), self._world.scenarios.choose)
        if order.state == "USERPAYING":
            return self._answer(request, 200, {"trade_state": "USERPAYING"})
        told = order_content(order, request[_MERCHANT])

        def answer(behaviour: Behaviour) -> web.StreamResponse:
            if behaviour is Behaviour.MALFORMED:
                return self._signed(request, 200, json.dumps(told).encode()[:-20])
            return self._answer(request, 200, told, forged=behaviour is Behaviour.FORGED)

        return await perform(request, scenario, answer)

    async def _native(self, request: web.Request) -> web.StreamResponse:
        order = await self._prepay(request, bodies.NATIVE, "NATIVE")
        return self._answer(request, 200, {"code_url": f"weixin://wxpay/bizpayurl?pr={order.prepay_id[-9:]}"})

    async def _h5(self, request: web.Request) -> web.StreamResponse:
        order = await self._prepay(request, bodies.H5, "MWEB")
        url = f"https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id={order.prepay_id}&package=1"
        return self._answer(request, 200, {"h5_url": url})

    async def _jsapi(self, request: web.Request) -> web.StreamResponse:
        order = await self._prepay(request, bodies.JSAPI, "JSAPI")
        return self._answer(request, 200, {"prepay_id": order.prepay_id})

    async def _app(self, request: web.Request) -> web.StreamResponse:
        order = await self._prepay(request, bodies.APP, "APP")
        return self._answer(request, 200, {"prepay_id": order.prepay_id})

    async def _prepay(self, request: web.Request, rule: bodies.Fields, trade_type: str) -> Order:
        content = await self._content(request, rule)
        expires_ms, now_ms = _expiry_ms(content.get("time_expire", "")), self._world.now_ms()
        if expires_ms and expires_ms < now_ms:
            raise bad_parameter("time_expire", "must be in the future")
        return self._book(request).prepay(content, trade_type, expires_ms, now_ms)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        self._check_query(request)
        order = self._book(request).order(_number(request, bodies.OUT_TRADE_NO, 32), self._world.now_ms())
        return self._answer(request, 200, order_content(order, request[_MERCHANT]))

    async def _query_by_id(self, request: web.Request) -> web.StreamResponse:
        self._check_query(request)
        order = self._book(request).order_by_id(request.match_info["id"], self._world.now_ms())
        return self._answer(request, 200, order_content(order, request[_MERCHANT]))

    async def _reverse(self, request: web.Request) -> web.StreamResponse:
        await self._content(request, bodies.REVERSE)
        number, merchant = _number(request, bodies.OUT_TRADE_NO, 32), request[_MERCHANT]
        self._book(request).reverse(number, self._world.now_ms())
        return self._answer(request, 200, {"appid": merchant.appid, "mchid": merchant.mchid, "out_trade_no": number})

    async def _close(self, request: web.Request) -> web.StreamResponse:
        await self._content(request, bodies.CLOSE)
        self._book(request).close(_number(request, bodies.OUT_TRADE_NO, 32), self._world.now_ms())
        return self._answer(request, 204, None)

    # --- refunds ----------------------------------------------------------------------------------------------------

    async def _refund(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.REFUND)
        refund = self._book(request).refund(content, self._world.now_ms())
        self._world.tell_of_refund(request[_MERCHANT], refund)
        return self._answer(request, 200, refund_content(refund))

    async def _query_refund(self, request: web.Request) -> web.StreamResponse:
        number = _number(request, bodies.OUT_REFUND_NO, 64)
        return self._answer(request, 200, refund_content(self._book(request).find_refund(number, self._world.now_ms())))

    async def _abnormal_refund(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.ABNORMAL_REFUND)
        number, now_ms = content["out_refund_no"], self._world.now_ms()
        refund = self._book(request).pay_out_abnormal(request.match_info["id"], number, now_ms)
        self._world.tell_of_refund(request[_MERCHANT], refund)
        return self._answer(request, 200, refund_content(refund))

    # --- bills and certificates -------------------------------------------------------------------------------------

    async def _trade_bill(self, request: web.Request) -> web.StreamResponse:
        asked = _query_of(request, {"bill_date", "bill_type", "tar_type"})
        bill_type = _one_of(asked, "bill_type", ("ALL", "SUCCESS", "REFUND"))
        day = self._world.bills.day(asked.get("bill_date", ""))
        return self._offer(request, trade_bill(self._book(request), day, bill_type, self._world.now_ms()), asked)

    async def _fund_flow_bill(self, request: web.Request) -> web.StreamResponse:
        asked = _query_of(request, {"bill_date", "bill_type", "account_type", "tar_type"})
        account = _one_of(asked, "account_type", ("BASIC", "OPERATION", "FEES"))
        day = self._world.bills.day(asked.get("bill_date", ""))
        self._book(request).orders(self._world.now_ms())  # what should have happened by now has
        if account != "BASIC":
            raise Refusal(400, "NO_STATEMENT_EXIST", "nothing moved on that account")
        return self._offer(request, fund_flow_bill(self._book(request), day), asked)

    def _offer(self, request: web.Request, content: bytes, asked: Mapping[str, str]) -> web.StreamResponse:
        """The hash is of the uncompressed data."""
        gzipped = _one_of(asked, "tar_type", ("", "GZIP")) == "GZIP"
        token = self._world.bills.offer(request[_MERCHANT].mchid, content, gzipped)
        url = f"{request.scheme}://{request.host}/v3/billdownload/file?token={token}"
        digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return self._answer(request, 200, {"hash_type": "SHA1", "hash_value": digest, "download_url": url})

    async def _bill_file(self, request: web.Request) -> web.StreamResponse:
        """Asked for with a signature, answered without."""
        asked = _query_of(request, {"token"})
        found = self._world.bills.fetch(request[_MERCHANT].mchid, asked.get("token", ""))
        if found.gzipped:
            return web.Response(body=gzip.compress(found.content, mtime=0), content_type="application/x-gzip")
        return web.Response(body=found.content, content_type="text/plain", charset="utf-8")

    async def _certificates(self, request: web.Request) -> web.StreamResponse:
        """The platform certificates in force, each encrypted under the merchant's APIv3 key."""
        key = request[_MERCHANT].apiv3_key
        listed = [
            {
                "serial_no": each.serial_no,
                "effective_time": each.effective.strftime(_TIME),
                "expire_time": each.expires.strftime(_TIME),
                "encrypt_certificate": encrypted(each.pem.encode(), "certificate", key),
            }
            for each in self._world.platform.certificates()
        ]
        return self._answer(request, 200, {"data": listed})

    # --- who asks, and what -----------------------------------------------------------------------------------------

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Only what a merchant signed gets to a handler."""
        try:
            body = await request.read()
            target = _ABSOLUTE.sub("", request.raw_path)
            merchant = self._gate.check(request.headers.get("Authorization", ""), request.method, target, body)
            request[_MERCHANT] = merchant
            self._check_headers(request, body)
            self._world.asked_serial[merchant.mchid] = request.headers.get("Wechatpay-Serial", "")
            fault = self._world.fault_for(request.path)
            if fault is not None:
                raise Refusal(fault.status, fault.code, "as the control endpoint was told")
            return await handler(request)
        except Refusal as refusal:
            return self._answer(request, refusal.status, refusal.content())
        except web.HTTPException as error:
            return self._answer(request, error.status, {"code": "INVALID_REQUEST", "message": error.reason})

    def _check_headers(self, request: web.Request, body: bytes) -> None:
        accepts = request.headers.get("Accept", "")
        if not re.search(r"application/(json|\*)|\*/\*", accepts) or not request.headers.get("User-Agent"):
            raise bad_parameter("header", "Accept: application/json and User-Agent are required")
        if body and request.content_type != "application/json":
            raise bad_parameter("header", "Content-Type must be application/json")
        serial = request.headers.get("Wechatpay-Serial", "")
        if serial and not self._world.platform.knows(serial):
            raise bad_parameter("header", "Wechatpay-Serial names an unknown public key")

    async def _content(self, request: web.Request, rule: bodies.Fields) -> dict[str, Any]:
        content, merchant = bodies.read_body(await request.read(), rule), request[_MERCHANT]
        if content.get("appid", merchant.appid) != merchant.appid:
            raise Refusal(400, "APPID_MCHID_NOT_MATCH", "the appid is not bound to the mchid")
        if content.get("mchid", merchant.mchid) != merchant.mchid:
            raise Refusal(400, "MCH_NOT_EXISTS", "the mchid is not the one that signed")
        return content

    def _check_query(self, request: web.Request) -> None:
        if list(request.query.items()) != [("mchid", request[_MERCHANT].mchid)]:
            raise bad_parameter("mchid", "must be the mchid that signed")

    def _book(self, request: web.Request) -> Book:
        return self._world.books[request[_MERCHANT].mchid]

    # --- how it answers ---------------------------------------------------------------------------------------------

    def _answer(
        self, request: web.Request, status: int, content: Mapping[str, Any] | None, *, forged: bool = False
    ) -> web.Response:
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        return self._signed(request, status, body, forged=forged)

    def _signed(self, request: web.Request, status: int, body: bytes, *, forged: bool = False) -> web.Response:
        asked_serial = request.headers.get("Wechatpay-Serial", "")
        headers = self._world.platform.headers(body, asked_serial, forged=forged)
        headers["Request-ID"] = secrets.token_hex(16).upper()
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        return web.Response(status=status, body=body, headers=headers)


def _number(request: web.Request, pattern: str, most: int) -> str:
    number: str = request.match_info["number"]
    if len(number) > most or not re.fullmatch(pattern, number):
        raise bad_parameter("path", f"must match {pattern}, at most {most} characters")
    return number


def _query_of(request: web.Request, known: set[str]) -> dict[str, str]:
    pairs = list(request.query.items())
    asked = dict(pairs)
    if len(asked) != len(pairs) or set(asked) - known:
        raise bad_parameter("query", f"may hold each of {', '.join(sorted(known))} once")
    return asked


def _one_of(asked: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    """The first of `values` is the default."""
    value = asked.get(name, values[0])
    if value not in values:
        raise bad_parameter(name, f"must be one of {', '.join(values)}")
    return value


def _expiry_ms(text: str) -> int:
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise bad_parameter("time_expire", "is no time") from None
