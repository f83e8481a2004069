"""`/gateway.do` of the simulator: parameters, signatures, encryption, delivery. The books decide about trades."""

import asyncio
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from adapters.alipay.simulator.accounts import Payer, Wallets, default_accounts
from adapters.alipay.simulator.applications import AlipayApplication
from adapters.alipay.simulator.authority import PlatformAuthority
from adapters.alipay.simulator.book import Origin
from adapters.alipay.simulator.client import BILL_URL, CERTIFICATE, Client
from adapters.alipay.simulator.control import Control
from adapters.alipay.simulator.downloads import Downloads
from adapters.alipay.simulator.encryption import decrypted, encrypted
from adapters.alipay.simulator.fields import FIELDS, checked_biz_content
from adapters.alipay.simulator.notifications import PAUSES_S, Notifications, notification_form
from adapters.alipay.simulator.parameters import (
    LONGEST_FORM_BYTES,
    check_certificate_numbers,
    check_public_parameters,
    read_parameters,
)
from adapters.alipay.simulator.refusal import Refused, message, refused
from adapters.alipay.simulator.signing import GatewayKey, check_signature
from adapters.alipay.simulator.trade import Reply, Trade
from adapters.simulation import Behaviour, Doors, Scenarios

_ERROR_KEY: Final = "error_response"


class AlipaySimulator:
    """A strict Alipay gateway on 127.0.0.1 by default; port 0 takes a free one, `port` says which.

    It verifies every request with its application's key and signs every answer with a key of its own, a new one unless
    private_key_pem is given (`public_key_pem`; in certificate mode that of `authority.platform_certificate_pem`: a
    request that names certificates is answered so). Trades belong to their application; payers and their money are
    everybody's.
    tls: a second door at `tls_port`, the same gateway over HTTPS. notify_pauses_s: before each repeat of a
    notification. Scenarios apply to new payments and orders by total_amount and to new refunds by refund_amount;
    "duplicate" means nothing in HTTP and is normal. The control endpoint is below /alipay (see `Control`).
    Codes and payers: `default_accounts`. now_s: Unix seconds.
    """

    def __init__(
        self,
        applications: Sequence[AlipayApplication],
        host: str = "127.0.0.1",
        port: int = 0,
        accounts: Mapping[str, Payer] | None = None,
        now_s: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        tls_port: int = 0,
        notify_pauses_s: Sequence[float] = PAUSES_S,
        private_key_pem: str = "",
    ) -> None:
        self.scenarios = Scenarios()
        self.ahead_s = 0.0
        self._host = host
        self._clock_s = now_s
        self._key = GatewayKey(private_key_pem)
        self.authority = PlatformAuthority(self._now_s)
        self.notifications = Notifications(notify_pauses_s)
        self.wallets = Wallets(default_accounts() if accounts is None else accounts)
        self.clients = {
            each.app_id: Client(each, self.wallets, self.scenarios, self.authority, self._now_s, self._announce)
            for each in applications
        }
        self._downloads = Downloads(self._now_s)
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by trade_no
        self._closing = asyncio.Event()
        application = web.Application(client_max_size=LONGEST_FORM_BYTES)
        application.add_routes([web.get("/gateway.do", self._serve), web.post("/gateway.do", self._serve)])
        application.add_routes([*self._downloads.routes(), *self.control_routes()])
        self._doors = Doors(application, host, port, tls, tls_port)

    @property
    def port(self) -> int:
        return self._doors.port

    @property
    def tls_port(self) -> int:
        return self._doors.tls_port

    @property
    def public_key_pem(self) -> str:
        return self._key.public_key_pem

    @property
    def gateway_url(self) -> str:
        return f"http://{self._host}:{self.port}/gateway.do"

    def application_certificate_pem(self, app_id: str) -> str:
        """What its client names in certificate mode: the application's own, or the one that was made for it."""
        return self.clients[app_id].certificate_pem

    def book(self) -> list[dict[str, Any]]:
        """Its trades, each application's oldest first: app_id, out_trade_no, amount_minor, status, payments, …"""
        return [{"app_id": each.app_id} | entry for each in self.clients.values() for entry in each.book.entries()]

    def control_routes(self) -> list[web.RouteDef]:
        """Everything below /alipay; served at the gateway's own doors, too."""
        return Control(self).routes()

    def notification(self, app_id: str, out_trade_no: str) -> dict[str, str]:
        """The signed form of the notification that Alipay would post about a trade as it is. Raises KeyError."""
        client = self.clients[app_id]
        trade = client.book.order(out_trade_no)
        if trade is None:
            raise KeyError(out_trade_no)
        told, key = trade.notified_fields(), self._signing_key(trade.certified)
        return notification_form(app_id, client.seller_id, told, "payment", key, self._now_s())

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self._doors.start()

    async def resume(self) -> None:
        """Listen (again), on the same ports as before."""
        await self._doors.open()

    async def stop_listening(self) -> None:
        """As if it were down: connections are refused, open ones are cut. The book stays."""
        await self._doors.shut()

    async def close(self) -> None:
        self._closing.set()
        for timer in self._timers.values():
            timer.cancel()
        await self.notifications.deliveries.close()
        await self._doors.close()

    def _now_s(self) -> float:
        return self._clock_s() + self.ahead_s

    def watch(self, client: Client, trade: Trade) -> None:
        """See to it that a trade that waits changes when its time has come, asked for or not."""
        if (before := self._timers.pop(trade.trade_no, None)) is not None:
            before.cancel()
        delay_s = client.book.next_change_s(trade)
        if delay_s == float("inf"):
            return

        def look() -> None:
            client.book.settle(trade)
            self.watch(client, trade)

        loop = asyncio.get_running_loop()
        self._timers[trade.trade_no] = loop.call_later(max(0.01, min(delay_s, 3_600.0)), look)

    def _announce(self, client: Client, trade: Trade, event: str) -> None:
        if trade.notify_url:
            key = self._signing_key(trade.certified)
            self.notifications.post(client.app_id, client.seller_id, trade, event, key, self._now_s)

    # --- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        answer_key, certified, aes_key = _ERROR_KEY, False, b""
        try:
            parameters = await read_parameters(request)
            certified = bool(parameters.get("app_cert_sn") or parameters.get("alipay_root_cert_sn"))
            method = parameters.get("method", "")
            if method in FIELDS:
                answer_key = f"{method.replace('.', '_')}_response"
            client = self._checked_client(parameters, certified)
            content = parameters.get("biz_content", "")
            if parameters.get("encrypt_type"):
                content = decrypted(client.aes_key, content)
                aes_key = client.aes_key
            reply = self._reply(request, client, method, checked_biz_content(method, content), parameters, certified)
        except Refused as refusal:
            return _answer(self._body(answer_key, _refusal_fields(refusal), certified, aes_key))
        value = {"code": reply.code, "msg": message(reply.code)} | reply.fields
        return await self._deliver(request, reply, answer_key, value, certified, aes_key)

    def _checked_client(self, parameters: Mapping[str, str], certified: bool) -> Client:
        """Whose request it is, after every public parameter and the signature were looked at. Raises Refused."""
        if not parameters.get("app_id"):
            raise Refused("40001", "isv.missing-app-id")
        client = self.clients.get(parameters["app_id"])
        if client is None:
            raise Refused("40002", "isv.invalid-app-id")
        check_public_parameters(parameters)
        if certified:
            check_certificate_numbers(parameters, client.certificate_sn, self.authority.root_sn)
        check_signature(parameters, client.key)
        if parameters.get("encrypt_type") and not client.aes_key:
            raise Refused("40002", "isv.decryption-error-not-valid-encrypt-key")
        return client

    def _reply(
        self,
        request: web.Request,
        client: Client,
        method: str,
        fields: Mapping[str, Any],
        parameters: Mapping[str, str],
        certified: bool,
    ) -> Reply:
        """Raises Refused."""
        if method == BILL_URL:
            bill = client.bill(fields["bill_type"], fields["bill_date"])
            base = f"{request.scheme}://{request.host}"
            return Reply("10000", {"bill_download_url": base + self._downloads.offer(fields["bill_date"], bill)})
        if method == CERTIFICATE:
            certificate = self.authority.platform_certificate(fields["alipay_cert_sn"])
            if certificate is None:
                raise refused("isv.alipay-cert-not-exist")
            return Reply("10000", {"alipay_cert_content": b64encode(certificate.encode()).decode()})
        notify_url = parameters.get("notify_url", "") or client.application.notify_url
        reply = client.methods[method](fields, Origin(notify_url, certified))
        if (trade := client.book.order(str(fields.get("out_trade_no", "")))) is not None:
            self.watch(client, trade)
        return reply

    async def _deliver(
        self,
        request: web.Request,
        reply: Reply,
        key: str,
        value: Mapping[str, Any],
        certified: bool,
        aes_key: bytes,
    ) -> web.StreamResponse:
        scenario = reply.scenario
        match scenario.behaviour:
            case Behaviour.SILENT:
                await self._closing.wait()
                return _cut(request)
            case Behaviour.DISCONNECT:
                return _cut(request)
            case Behaviour.DELAY:
                await asyncio.sleep(scenario.delay_ms / 1_000)
            case Behaviour.MALFORMED:
                body = self._body(key, value, certified, aes_key)
                return _answer(body[: len(body) // 2])
            case Behaviour.FORGED:
                return _answer(self._body(key, value, certified, aes_key, signed=dict(value) | {"msg": "forged"}))
        return _answer(self._body(key, value, certified, aes_key))

    def _body(
        self,
        key: str,
        value: Mapping[str, Any],
        certified: bool = False,
        aes_key: bytes = b"",
        signed: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The response key first, `sign` last; the signature covers the raw bytes of the value (or of `signed`).

        An encrypted value is a text, and the signature covers its quotes.
        """
        raw = _inner(value, aes_key)
        signature = self._signing_key(certified).signature(_inner(signed, aes_key) if signed is not None else raw)
        named = f',"alipay_cert_sn":"{self.authority.platform_sn}"'.encode() if certified else b""
        return b'{"' + key.encode() + b'":' + raw + named + b',"sign":"' + signature.encode() + b'"}'

    def _signing_key(self, certified: bool) -> GatewayKey:
        return self.authority.key if certified else self._key


def _inner(value: Mapping[str, Any], aes_key: bytes) -> bytes:
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return f'"{encrypted(aes_key, raw)}"'.encode() if aes_key else raw


def _refusal_fields(refusal: Refused) -> dict[str, str]:
    fields = {"code": refusal.code, "msg": message(refusal.code), "sub_code": refusal.sub_code}
    return fields | {"sub_msg": refusal.sub_msg or refusal.sub_code}


def _answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/html", charset="utf-8")


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
