"""`/gateway.do` of the simulator: parameters, signatures, delivery. The book decides about trades."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adapters.alipay.simulator.accounts import Payer, default_accounts
from adapters.alipay.simulator.applications import AlipayApplication
from adapters.alipay.simulator.book import Book, Reply, Wallets
from adapters.alipay.simulator.fields import FIELDS, checked_biz_content
from adapters.alipay.simulator.refusal import Refused, message
from adapters.alipay.simulator.signing import GatewayKey, application_key, check_signature, joined
from adapters.simulation import Behaviour, Doors, Scenarios, control_routes

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


@dataclass(slots=True)
class _Client:
    """An application with its key and its trades, which no other application sees."""

    application: AlipayApplication
    key: RSAPublicKey
    book: Book

    def methods(self) -> dict[str, Callable[[Mapping[str, Any]], Reply]]:
        return {
            "alipay.trade.pay": self.book.pay,
            "alipay.trade.precreate": self.book.precreate,
            "alipay.trade.query": self.book.query,
            "alipay.trade.cancel": self.book.cancel,
            "alipay.trade.refund": self.book.refund,
            "alipay.trade.fastpay.refund.query": self.book.refund_query,
        }


class AlipaySimulator:
    """A strict Alipay gateway on 127.0.0.1 by default; port 0 takes a free one, `port` says which.

    It verifies every request with its application's key and signs every answer with a key of its own
    (`public_key_pem`). Trades belong to their application; payers and their money are everybody's.
    tls: a second door at `tls_port`, the same gateway over HTTPS.
    Scenarios apply to new payments by total_amount and to new refunds by refund_amount; "duplicate" means nothing in
    HTTP and is normal. The control endpoint is below /alipay (see `adapters.simulation.control_routes`).
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
    ) -> None:
        self.scenarios = Scenarios()
        self._host = host
        self._key = GatewayKey()
        wallets = Wallets(default_accounts() if accounts is None else accounts)
        self._clients = {
            each.app_id: _Client(each, application_key(each.public_key_pem), Book(wallets, self.scenarios, now_s))
            for each in applications
        }
        self._closing = asyncio.Event()
        application = web.Application(client_max_size=_LONGEST_FORM_BYTES)
        application.add_routes(
            [
                web.get("/gateway.do", self._serve),
                web.post("/gateway.do", self._serve),
                *control_routes("alipay", self.scenarios, self.book),
            ]
        )
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

    def book(self) -> list[dict[str, Any]]:
        """Its trades, each application's oldest first: app_id, out_trade_no, amount_minor, status, payments, …"""
        clients = self._clients.values()
        return [{"app_id": each.application.app_id} | entry for each in clients for entry in each.book.entries()]

    def notification(self, app_id: str, out_trade_no: str) -> dict[str, str]:
        """The signed form of the notification that Alipay would post about a trade. Raises Refused if there is none."""
        trade = self._clients[app_id].book.query({"out_trade_no": out_trade_no}).fields
        form = {name: trade[name] for name in ("out_trade_no", "trade_no", "trade_status", "total_amount")}
        form |= {"app_id": app_id, "notify_type": "trade_status_sync", "charset": "utf-8", "version": "1.0"}
        signature = self._key.signature(joined(form, frozenset()))
        return form | {"sign": signature, "sign_type": "RSA2"}

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
        await self._doors.close()

    # --- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        key = "error_response"
        try:
            parameters = await _parameters(request)
            method = parameters.get("method", "")
            if method in FIELDS:
                key = f"{method.replace('.', '_')}_response"
            client = self._checked_client(parameters)
            reply = client.methods()[method](checked_biz_content(method, parameters.get("biz_content", "")))
        except Refused as refusal:
            return _answer(self._body(key, _refusal_fields(refusal)))
        value = {"code": reply.code, "msg": message(reply.code)} | reply.fields
        return await self._deliver(request, reply, key, value)

    def _checked_client(self, parameters: Mapping[str, str]) -> _Client:
        """Whose request it is, after every public parameter and the signature were looked at. Raises Refused."""
        if not parameters.get("app_id"):
            raise Refused("40001", "isv.missing-app-id")
        client = self._clients.get(parameters["app_id"])
        if client is None:
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
        check_signature(parameters, client.key)
        return client

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
