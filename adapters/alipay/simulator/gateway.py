"""`/gateway.do` of the simulator: parameters, signatures, delivery. The book decides about trades."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from adapters.alipay.simulator.accounts import Payer, default_accounts
from adapters.alipay.simulator.book import Book, Reply
from adapters.alipay.simulator.fields import FIELDS, checked_biz_content
from adapters.alipay.simulator.refusal import Refused, message
from adapters.alipay.simulator.signing import GatewayKey, application_key, check_signature, joined
from adapters.simulation import Behaviour, Scenarios, control_routes

_MOST_PARAMETERS: Final = 64
_LONGEST_FORM_BYTES: Final = 64 * 1024


def _is_timestamp(text: str) -> bool:
    try:
        return f"{datetime.strptime(text, '%Y-%m-%d %H:%M:%S'):%Y-%m-%d %H:%M:%S}" == text
    except ValueError:
        return False


# name, its name in sub_codes, what it must be
_PUBLIC_PARAMETERS: Final[tuple[tuple[str, str, Callable[[str], bool]], ...]] = (
    ("method", "method", lambda value: value in FIELDS),
    ("charset", "charset", lambda value: value.lower() == "utf-8"),
    ("sign_type", "signature-type", lambda value: value == "RSA2"),
    ("timestamp", "timestamp", _is_timestamp),
    ("version", "version", lambda value: value == "1.0"),
    ("sign", "signature", lambda value: True),
)


class AlipaySimulator:
    """A strict Alipay gateway on 127.0.0.1 by default; port 0 takes a free one, `port` says which.

    It verifies every request with app_public_key_pem and signs every answer with a key of its own (`public_key_pem`).
    Scenarios apply to new payments by total_amount and to new refunds by refund_amount; "duplicate" means nothing in
    HTTP and is normal. The control endpoint is below /alipay (see `adapters.simulation.control_routes`).
    Codes and payers: `default_accounts`. now_s: Unix seconds.
    """

    def __init__(
        self,
        app_id: str,
        app_public_key_pem: str,
        host: str = "127.0.0.1",
        port: int = 0,
        accounts: Mapping[str, Payer] | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.port = port
        self.scenarios = Scenarios()
        self._app_id = app_id
        self._app_key = application_key(app_public_key_pem)
        self._host = host
        self._key = GatewayKey()
        self._book = Book(default_accounts() if accounts is None else accounts, self.scenarios, now_s)
        self._methods: dict[str, Callable[[Mapping[str, Any]], Reply]] = {
            "alipay.trade.pay": self._book.pay,
            "alipay.trade.precreate": self._book.precreate,
            "alipay.trade.query": self._book.query,
            "alipay.trade.cancel": self._book.cancel,
            "alipay.trade.refund": self._book.refund,
            "alipay.trade.fastpay.refund.query": self._book.refund_query,
        }
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._closing = asyncio.Event()

    @property
    def public_key_pem(self) -> str:
        return self._key.public_key_pem

    @property
    def gateway_url(self) -> str:
        return f"http://{self._host}:{self.port}/gateway.do"

    def book(self) -> list[dict[str, Any]]:
        """Its trades, oldest first: out_trade_no, amount_minor, status, payments, refunded_minor, refunds, …"""
        return self._book.entries()

    def notification(self, out_trade_no: str) -> dict[str, str]:
        """The signed form of the notification that Alipay would post about a trade. Raises Refused if there is none."""
        trade = self._book.query({"out_trade_no": out_trade_no}).fields
        form = {name: trade[name] for name in ("out_trade_no", "trade_no", "trade_status", "total_amount")}
        form |= {"app_id": self._app_id, "notify_type": "trade_status_sync", "charset": "utf-8", "version": "1.0"}
        signature = self._key.signature(joined(form, frozenset()))
        return form | {"sign": signature, "sign_type": "RSA2"}

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        application = web.Application(client_max_size=_LONGEST_FORM_BYTES)
        application.add_routes(
            [
                web.get("/gateway.do", self._serve),
                web.post("/gateway.do", self._serve),
                *control_routes("alipay", self.scenarios, self.book),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await self.resume()

    async def resume(self) -> None:
        """Listen (again), on the same port as before."""
        assert self._runner is not None
        if self._site is None:
            self._site = web.TCPSite(self._runner, self._host, self.port, reuse_address=True)
            await self._site.start()
            self.port = self._runner.addresses[0][1]

    async def stop_listening(self) -> None:
        """As if it were down: connections are refused, open ones are cut. The book stays."""
        if self._site is not None and self._runner is not None:
            site, self._site = self._site, None
            await site.stop()
            if self._runner.server is not None:
                # First those that are idle: shutdown alone would wait for their next request.
                self._runner.server.pre_shutdown()
                await self._runner.server.shutdown(0.01)

    async def close(self) -> None:
        self._closing.set()
        if self._runner is not None:
            runner, self._runner, self._site = self._runner, None, None
            await runner.cleanup()

    # --- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        key = "error_response"
        try:
            parameters = await _parameters(request)
            method = parameters.get("method", "")
            if method in FIELDS:
                key = f"{method.replace('.', '_')}_response"
            self._check_public(parameters)
            reply = self._methods[method](checked_biz_content(method, parameters.get("biz_content", "")))
        except Refused as refusal:
            return _answer(self._body(key, _refusal_fields(refusal)))
        value = {"code": reply.code, "msg": message(reply.code)} | reply.fields
        return await self._deliver(request, reply, key, value)

    def _check_public(self, parameters: Mapping[str, str]) -> None:
        """Every public parameter, then the signature. Raises Refused."""
        if not parameters.get("app_id"):
            raise Refused("40001", "isv.missing-app-id")
        if parameters["app_id"] != self._app_id:
            raise Refused("40002", "isv.invalid-app-id")
        for name, spoken_name, valid in _PUBLIC_PARAMETERS:
            if not parameters.get(name):
                raise Refused("40001", f"isv.missing-{spoken_name}")
            if not valid(parameters[name]):
                raise Refused("40002", f"isv.invalid-{spoken_name}")
        if parameters.get("format", "JSON").upper() != "JSON":
            raise Refused("40002", "isv.invalid-format")
        if parameters.get("encrypt_type"):
            raise Refused("40002", "isv.invalid-encrypt-type")
        check_signature(parameters, self._app_key)

    async def _deliver(
        self, request: web.Request, reply: Reply, key: str, value: Mapping[str, Any]
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
                body = self._body(key, value)
                return _answer(body[: len(body) // 2])
            case Behaviour.FORGED:
                return _answer(self._body(key, value, signed=dict(value) | {"msg": "forged"}))
        return _answer(self._body(key, value))

    def _body(self, key: str, value: Mapping[str, Any], signed: Mapping[str, Any] | None = None) -> bytes:
        """The response key first, `sign` last; the signature covers the raw bytes of the value (or of `signed`)."""
        raw = _json(value)
        signature = self._key.signature(_json(signed) if signed is not None else raw)
        return b'{"' + key.encode() + b'":' + raw + b',"sign":"' + signature.encode() + b'"}'


async def _parameters(request: web.Request) -> dict[str, str]:
    """Query and form merged. Raises Refused: not UTF-8, too many, too long, or one name with two values."""
    try:
        form = await request.read() if request.content_type == "application/x-www-form-urlencoded" else b""
        # keep_blank_values: an empty parameter is there, but not signed.
        pairs = _pairs(request.rel_url.raw_query_string) + _pairs(form.decode())
    except (ValueError, web.HTTPRequestEntityTooLarge):
        raise Refused("40002", "isv.invalid-parameter", "the parameters cannot be read") from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if parameters.setdefault(name, value) != value:
            raise Refused("40002", "isv.invalid-parameter", f"{name[:32]} has two values")
    return parameters


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=_MOST_PARAMETERS)


def _refusal_fields(refusal: Refused) -> dict[str, str]:
    fields = {"code": refusal.code, "msg": message(refusal.code), "sub_code": refusal.sub_code}
    return fields | {"sub_msg": refusal.sub_msg or refusal.sub_code}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/html", charset="utf-8")


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
