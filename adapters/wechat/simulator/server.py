"""The simulator's HTTP face: checks who asks and what, then lets the book decide and the scenario answer."""

import asyncio
import base64
import json
import re
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.simulation import Behaviour, Doors, Scenario, Scenarios, control_routes
from adapters.wechat.simulator import bodies
from adapters.wechat.simulator.accounts import Payer, Payers, default_accounts
from adapters.wechat.simulator.answers import order_content, refund_content
from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.errors import Refusal, bad_parameter
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.platform import Platform
from adapters.wechat.simulator.signatures import MerchantGate

_LARGEST_BODY_BYTES = 64 * 1024
_HANG_UP_POLL_S = 0.05
_MERCHANT = web.RequestKey("merchant", WeChatMerchant)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WeChatSimulator:
    """Strict WeChat Pay API v3 for its merchants. Orders and refunds belong to the merchant that made them.

    public_key_id: of its platform key, a random one if empty. tls: HTTPS on `tls_port` beside HTTP on `port`.
    reversal_after_s: 15 at the real platform. accounts: payers by their codes or the codes' last four digits, "" for
    the rest (see `default_accounts`). Its own RSA keys are new with each simulator. The control endpoint is below
    `/simulator/`. Scenarios apply to codepay; DUPLICATE means nothing over HTTP and is normal.
    """

    def __init__(
        self,
        merchants: Sequence[WeChatMerchant],
        *,
        public_key_id: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        tls_port: int = 0,
        reversal_after_s: float = 15.0,
        refund_settles_after_s: float = 0.05,
        accounts: Mapping[str, Payer] | None = None,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self.scenarios = Scenarios()
        self._time_s = time_s
        self._gate = MerchantGate(merchants, time_s)
        self._platform = Platform(time_s, public_key_id)
        payers = Payers(default_accounts() if accounts is None else accounts)
        waits_ms = int(reversal_after_s * 1000), int(refund_settles_after_s * 1000)
        self._books = {each.mchid: Book(each, payers, *waits_ms) for each in merchants}
        application = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY_BYTES)
        application.add_routes(self._routes())
        application.add_routes(control_routes("simulator", self.scenarios, self.book))
        self._doors = Doors(application, host, port, tls, tls_port)

    @property
    def port(self) -> int:
        """Of HTTP; 0 before the first start if a free one was asked for."""
        return self._doors.port

    @property
    def tls_port(self) -> int:
        return self._doors.tls_port

    @property
    def public_key_pem(self) -> str:
        return self._platform.public_key_pem

    @property
    def public_key_id(self) -> str:
        return self._platform.key_id

    @property
    def certificate_pem(self) -> str:
        """The platform certificate that signs now."""
        return self._platform.certificates()[-1].pem

    @property
    def certificate_serial_no(self) -> str:
        return self._platform.certificates()[-1].serial_no

    @property
    def root_certificate_pem(self) -> str:
        """Of the authority that issues the platform certificates."""
        return self._platform.root_pem

    def book(self) -> list[dict[str, Any]]:
        return [entry for book in self._books.values() for entry in book.entries(self._now_ms())]

    async def start(self) -> None:
        """Listen; with port 0 on a free one, found in `port` from then on and kept by `resume`."""
        await self._doors.start()

    async def close(self) -> None:
        await self._doors.close()

    async def stop_listening(self) -> None:
        """Be down: refuse and cut connections, but keep the book."""
        await self._doors.shut()

    async def resume(self) -> None:
        await self._doors.open()

    def payment_notification(self, out_trade_no: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of the callback about a paid order, as the platform would POST it to the merchant."""
        merchant, order = next(
            (book.merchant, book.order(out_trade_no, self._now_ms()))
            for book in self._books.values()
            if book.holds(out_trade_no)
        )
        plain = json.dumps(order_content(order, merchant), ensure_ascii=False).encode()
        nonce, associated = secrets.token_hex(6), "transaction"
        ciphertext = AESGCM(merchant.apiv3_key).encrypt(nonce.encode(), plain, associated.encode())
        resource = {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(ciphertext).decode(),
            "associated_data": associated,
            "nonce": nonce,
        }
        event = {"id": secrets.token_hex(16), "event_type": "TRANSACTION.SUCCESS", "resource_type": "encrypt-resource"}
        body = json.dumps(event | {"resource": resource}).encode()
        return self._platform.headers(body, self.public_key_id), body

    # --- the calls --------------------------------------------------------------------------------------------------

    def _routes(self) -> list[web.RouteDef]:
        orders, refunds = "/v3/pay/transactions", "/v3/refund/domestic/refunds"
        return [
            web.post(f"{orders}/codepay", self._codepay),
            web.post(f"{orders}/native", self._native),
            web.get(f"{orders}/out-trade-no/{{number}}", self._query),
            web.get(f"{orders}/id/{{id}}", self._query_by_id),
            web.post(f"{orders}/out-trade-no/{{number}}/reverse", self._reverse),
            web.post(f"{orders}/out-trade-no/{{number}}/close", self._close),
            web.post(refunds, self._refund),
            web.get(f"{refunds}/{{number}}", self._query_refund),
        ]

    async def _codepay(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.CODEPAY)
        order, scenario = self._book(request).pay(content, self._now_ms(), self.scenarios.choose)
        if order.state == "USERPAYING":
            return self._answer(request, 200, {"trade_state": "USERPAYING"})
        return await self._perform(request, scenario, order_content(order, self._merchant(request)))

    async def _native(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.NATIVE)
        order = self._book(request).open_native(content, self._now_ms())
        return self._answer(request, 200, {"code_url": f"weixin://wxpay/bizpayurl?pr={order.transaction_id[-9:]}"})

    async def _query(self, request: web.Request) -> web.StreamResponse:
        self._check_query(request)
        order = self._book(request).order(_number(request, bodies.OUT_TRADE_NO, 32), self._now_ms())
        return self._answer(request, 200, order_content(order, self._merchant(request)))

    async def _query_by_id(self, request: web.Request) -> web.StreamResponse:
        self._check_query(request)
        order = self._book(request).order_by_id(request.match_info["id"], self._now_ms())
        return self._answer(request, 200, order_content(order, self._merchant(request)))

    async def _reverse(self, request: web.Request) -> web.StreamResponse:
        merchant = self._merchant(request)
        await self._content(request, bodies.REVERSE)
        number = _number(request, bodies.OUT_TRADE_NO, 32)
        self._book(request).reverse(number, self._now_ms())
        return self._answer(request, 200, {"appid": merchant.appid, "mchid": merchant.mchid, "out_trade_no": number})

    async def _close(self, request: web.Request) -> web.StreamResponse:
        await self._content(request, bodies.CLOSE)
        self._book(request).close(_number(request, bodies.OUT_TRADE_NO, 32), self._now_ms())
        return self._answer(request, 204, None)

    async def _refund(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.REFUND)
        now_ms = self._now_ms()
        return self._answer(request, 200, refund_content(self._book(request).refund(content, now_ms), now_ms))

    async def _query_refund(self, request: web.Request) -> web.StreamResponse:
        refund = self._book(request).find_refund(_number(request, bodies.OUT_REFUND_NO, 64))
        return self._answer(request, 200, refund_content(refund, self._now_ms()))

    # --- who asks, and what -----------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not request.path.startswith("/v3/"):
            return await handler(request)
        try:
            body = await request.read()
            request[_MERCHANT] = self._gate.check(
                request.headers.get("Authorization", ""), request.method, request.raw_path, body
            )
            self._check_headers(request, body)
            return await handler(request)
        except Refusal as refusal:
            return self._answer(request, refusal.status, refusal.content())
        except web.HTTPException as error:
            return self._answer(request, error.status, {"code": "INVALID_REQUEST", "message": error.reason})

    def _check_headers(self, request: web.Request, body: bytes) -> None:
        if "application/json" not in request.headers.get("Accept", "") or not request.headers.get("User-Agent"):
            raise bad_parameter("header", "Accept: application/json and User-Agent are required")
        if body and request.content_type != "application/json":
            raise bad_parameter("header", "Content-Type must be application/json")
        serial = request.headers.get("Wechatpay-Serial", "")
        if serial and not self._platform.knows(serial):
            raise bad_parameter("header", "Wechatpay-Serial names an unknown public key")

    async def _content(self, request: web.Request, rule: bodies.Fields) -> dict[str, Any]:
        content, merchant = bodies.read_body(await request.read(), rule), self._merchant(request)
        if content.get("appid", merchant.appid) != merchant.appid:
            raise Refusal(400, "APPID_MCHID_NOT_MATCH", "the appid is not bound to the mchid")
        if content.get("mchid", merchant.mchid) != merchant.mchid:
            raise Refusal(400, "MCH_NOT_EXISTS", "the mchid is not the one that signed")
        return content

    def _check_query(self, request: web.Request) -> None:
        if list(request.query.items()) != [("mchid", self._merchant(request).mchid)]:
            raise bad_parameter("mchid", "must be the mchid that signed")

    # --- how it answers ---------------------------------------------------------------------------------------------

    async def _perform(
        self, request: web.Request, scenario: Scenario, content: Mapping[str, Any]
    ) -> web.StreamResponse:
        """Booked already: the scenario changes only what the caller gets to see."""
        behaviour = scenario.behaviour
        if behaviour is Behaviour.DELAY:
            await asyncio.sleep(scenario.delay_ms / 1000)
        elif behaviour is Behaviour.SILENT:
            await _listened_to_no_more(request)
        if behaviour in (Behaviour.DISCONNECT, Behaviour.SILENT) and request.transport is not None:
            request.transport.abort()
        elif behaviour is Behaviour.MALFORMED:
            return self._signed(request, 200, json.dumps(content).encode()[:-20])
        return self._answer(request, 200, content, forged=behaviour is Behaviour.FORGED)

    def _answer(
        self, request: web.Request, status: int, content: Mapping[str, Any] | None, *, forged: bool = False
    ) -> web.Response:
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        return self._signed(request, status, body, forged=forged)

    def _signed(self, request: web.Request, status: int, body: bytes, *, forged: bool = False) -> web.Response:
        asked_serial = request.headers.get("Wechatpay-Serial", "")
        headers = self._platform.headers(body, asked_serial, forged=forged)
        headers["Request-ID"] = secrets.token_hex(16).upper()
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        return web.Response(status=status, body=body, headers=headers)

    def _merchant(self, request: web.Request) -> WeChatMerchant:
        return request[_MERCHANT]

    def _book(self, request: web.Request) -> Book:
        return self._books[self._merchant(request).mchid]

    def _now_ms(self) -> int:
        return int(self._time_s() * 1000)


async def _listened_to_no_more(request: web.Request) -> None:
    """Until the caller has hung up: a silent handler must not outlive its caller."""
    while True:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(_HANG_UP_POLL_S)


def _number(request: web.Request, pattern: str, most: int) -> str:
    number: str = request.match_info["number"]
    if len(number) > most or not re.fullmatch(pattern, number):
        raise bad_parameter("path", f"must match {pattern}, at most {most} characters")
    return number
