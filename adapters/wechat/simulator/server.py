"""The simulator's HTTP face: checks who asks and what, then lets the book decide and the scenario answer."""

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.simulation import Behaviour, Scenario, Scenarios, control_routes
from adapters.wechat.simulator import bodies
from adapters.wechat.simulator.accounts import Payer, default_accounts
from adapters.wechat.simulator.answers import order_content, refund_content
from adapters.wechat.simulator.book import Book
from adapters.wechat.simulator.errors import Refusal, bad_parameter
from adapters.wechat.simulator.signatures import MerchantGate, PlatformSigner

_LARGEST_BODY_BYTES = 64 * 1024
_SILENCE_S = 3_600.0
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WeChatSimulator:
    """Strict WeChat Pay API v3 for one merchant.

    merchant_public_key_pem: PEM text of the key whose private half signs. apiv3_key: 32 bytes, for notifications.
    public_key_id: of its platform key, a random one if empty.
    reversal_after_s: 15 at the real platform. accounts: payers by the last four digits of their codes, "" for the
    rest (see `default_accounts`). Its own RSA key is new with each simulator. The control endpoint is below
    `/simulator/`. Scenarios apply to codepay; DUPLICATE means nothing over HTTP and is normal.
    """

    def __init__(
        self,
        *,
        appid: str,
        mchid: str,
        merchant_serial_no: str,
        merchant_public_key_pem: str,
        apiv3_key: bytes,
        public_key_id: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        reversal_after_s: float = 15.0,
        refund_settles_after_s: float = 0.05,
        accounts: Mapping[str, Payer] | None = None,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self.scenarios = Scenarios()
        self.port = port
        self._host = host
        self._appid = appid
        self._mchid = mchid
        self._apiv3_key = apiv3_key
        self._time_s = time_s
        self._gate = MerchantGate(mchid, merchant_serial_no, merchant_public_key_pem, time_s)
        self._signer = PlatformSigner(time_s, public_key_id)
        payers = default_accounts() if accounts is None else accounts
        self._book = Book(payers, int(reversal_after_s * 1000), int(refund_settles_after_s * 1000))
        self._runner: web.AppRunner | None = None

    @property
    def public_key_pem(self) -> str:
        return self._signer.public_key_pem

    @property
    def public_key_id(self) -> str:
        return self._signer.key_id

    def book(self) -> list[dict[str, Any]]:
        return self._book.entries(self._now_ms())

    async def start(self) -> None:
        """Listen; with port 0 on a free one, found in `port` from then on and kept by `resume`."""
        application = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY_BYTES)
        application.add_routes(self._routes())
        application.add_routes(control_routes("simulator", self.scenarios, self.book))
        # Cancelled with the connection: a silent handler must not outlive its caller.
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.05, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def stop_listening(self) -> None:
        """Be down: refuse and cut connections, but keep the book."""
        await self.close()

    async def resume(self) -> None:
        await self.start()

    def payment_notification(self, out_trade_no: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of the callback about a paid order, as the platform would POST it to the merchant."""
        order = self._book.order(out_trade_no, self._now_ms())
        plain = json.dumps(order_content(order, self._appid, self._mchid), ensure_ascii=False).encode()
        nonce, associated = secrets.token_hex(6), "transaction"
        ciphertext = AESGCM(self._apiv3_key).encrypt(nonce.encode(), plain, associated.encode())
        resource = {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(ciphertext).decode(),
            "associated_data": associated,
            "nonce": nonce,
        }
        event = {"id": secrets.token_hex(16), "event_type": "TRANSACTION.SUCCESS", "resource_type": "encrypt-resource"}
        body = json.dumps(event | {"resource": resource}).encode()
        return self._signer.headers(body), body

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
        order, scenario = self._book.pay(content, self._now_ms(), self.scenarios.choose)
        if order.state == "USERPAYING":
            return self._answer(200, {"trade_state": "USERPAYING"})
        return await self._perform(request, scenario, order_content(order, self._appid, self._mchid))

    async def _native(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.NATIVE)
        order = self._book.open_native(content, self._now_ms())
        return self._answer(200, {"code_url": f"weixin://wxpay/bizpayurl?pr={order.transaction_id[-9:]}"})

    async def _query(self, request: web.Request) -> web.StreamResponse:
        self._check_query(request)
        order = self._book.order(_number(request, bodies.OUT_TRADE_NO, 32), self._now_ms())
        return self._answer(200, order_content(order, self._appid, self._mchid))

    async def _query_by_id(self, request: web.Request) -> web.StreamResponse:
        self._check_query(request)
        order = self._book.order_by_id(request.match_info["id"], self._now_ms())
        return self._answer(200, order_content(order, self._appid, self._mchid))

    async def _reverse(self, request: web.Request) -> web.StreamResponse:
        await self._content(request, bodies.REVERSE)
        number = _number(request, bodies.OUT_TRADE_NO, 32)
        self._book.reverse(number, self._now_ms())
        return self._answer(200, {"appid": self._appid, "mchid": self._mchid, "out_trade_no": number})

    async def _close(self, request: web.Request) -> web.StreamResponse:
        await self._content(request, bodies.CLOSE)
        self._book.close(_number(request, bodies.OUT_TRADE_NO, 32), self._now_ms())
        return self._answer(204, None)

    async def _refund(self, request: web.Request) -> web.StreamResponse:
        content = await self._content(request, bodies.REFUND)
        now_ms = self._now_ms()
        return self._answer(200, refund_content(self._book.refund(content, now_ms), now_ms))

    async def _query_refund(self, request: web.Request) -> web.StreamResponse:
        refund = self._book.find_refund(_number(request, bodies.OUT_REFUND_NO, 64))
        return self._answer(200, refund_content(refund, self._now_ms()))

    # --- who asks, and what -----------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not request.path.startswith("/v3/"):
            return await handler(request)
        try:
            body = await request.read()
            self._gate.check(request.headers.get("Authorization", ""), request.method, request.raw_path, body)
            self._check_headers(request, body)
            return await handler(request)
        except Refusal as refusal:
            return self._answer(refusal.status, refusal.content())
        except web.HTTPException as error:
            return self._answer(error.status, {"code": "INVALID_REQUEST", "message": error.reason})

    def _check_headers(self, request: web.Request, body: bytes) -> None:
        if "application/json" not in request.headers.get("Accept", "") or not request.headers.get("User-Agent"):
            raise bad_parameter("header", "Accept: application/json and User-Agent are required")
        if body and request.content_type != "application/json":
            raise bad_parameter("header", "Content-Type must be application/json")
        if request.headers.get("Wechatpay-Serial", self.public_key_id) != self.public_key_id:
            raise bad_parameter("header", "Wechatpay-Serial names an unknown public key")

    async def _content(self, request: web.Request, rule: bodies.Fields) -> dict[str, Any]:
        content = bodies.read_body(await request.read(), rule)
        if content.get("appid", self._appid) != self._appid:
            raise Refusal(400, "APPID_MCHID_NOT_MATCH", "the appid is not bound to the mchid")
        if content.get("mchid", self._mchid) != self._mchid:
            raise Refusal(400, "MCH_NOT_EXISTS", "the mchid is not the one that signed")
        return content

    def _check_query(self, request: web.Request) -> None:
        if list(request.query.items()) != [("mchid", self._mchid)]:
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
            await asyncio.sleep(_SILENCE_S)
        if behaviour in (Behaviour.DISCONNECT, Behaviour.SILENT) and request.transport is not None:
            request.transport.abort()
        elif behaviour is Behaviour.MALFORMED:
            return self._signed(200, json.dumps(content).encode()[:-20])
        return self._answer(200, content, forged=behaviour is Behaviour.FORGED)

    def _answer(self, status: int, content: Mapping[str, Any] | None, *, forged: bool = False) -> web.Response:
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        return self._signed(status, body, forged=forged)

    def _signed(self, status: int, body: bytes, *, forged: bool = False) -> web.Response:
        headers = self._signer.headers(body, forged=forged) | {"Request-ID": secrets.token_hex(16).upper()}
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        return web.Response(status=status, body=body, headers=headers)

    def _now_ms(self) -> int:
        return int(self._time_s() * 1000)


def _number(request: web.Request, pattern: str, most: int) -> str:
    number: str = request.match_info["number"]
    if len(number) > most or not re.fullmatch(pattern, number):
        raise bad_parameter("path", f"must match {pattern}, at most {most} characters")
    return number
