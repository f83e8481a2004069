"""The page behind an order's QR.

`/q/<order>` sends a wallet to its channel's own code; `/s/<shop code>` asks the amount and makes an order. Whose wallet
it is says its User-Agent. Nothing of the payer is logged or kept. The only way out is a code that the channel itself
gave, at a host that the settings name.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import structlog
from aiohttp import web

from switch.api import order_page_html as html
from switch.api.listener import Bounds, Listener
from switch.api.page_limits import PageLimits
from switch.domain.money import CURRENCIES, LARGEST_AMOUNT_MINOR, Money
from switch.domain.order import PAYABLE, Order
from switch.domain.refusals import Missing, NotPossible, Refusal, TooMany
from switch.entry.order_code import Name, Named, read_path
from switch.orders.desk import OrderDesk
from switch.orders.shop import ShopCodes
from switch.ports import StoreUnavailable
from switch.ports.signals import NOBODY_BLOCKED, UNHEARD, Blocked, Signal, SignalKind, Signals

log = structlog.get_logger()

_WALLETS: Final = (("AlipayClient", "alipay"), ("MicroMessenger", "wechat"), ("UnionPay", "unionpay"),
                   ("CloudPay", "unionpay"))  # fmt: skip
_BOUNDS: Final = Bounds(connections=512, life_s=10.0, body_bytes=256, headers=64, header_bytes=4096)
# To make an order costs as much as to look at twenty.
_MAKING_COST: Final = 20.0
_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class PageSettings:
    """public_url: as payers reach it. redirect_hosts: to which it may send them.

    forwarded_for: the proxy in front says whose request it is.
    """

    public_url: str
    redirect_hosts: frozenset[str]
    forwarded_for: bool


class OrderPage:
    """blocked: addresses that get no page at all."""

    def __init__(
        self, desk: OrderDesk, shop: ShopCodes, limits: PageLimits, settings: PageSettings,
        signals: Signals = UNHEARD, blocked: Blocked = NOBODY_BLOCKED,
    ) -> None:  # fmt: skip
        self._signals = signals
        self._blocked = blocked
        self._desk = desk
        self._shop = shop
        self._limits = limits
        self._settings = settings
        self._prefix = urlsplit(settings.public_url).path
        self._listener = Listener(self._handle, _BOUNDS, lambda reason: None)

    async def start(self, host: str, port: int) -> int:
        """Returns the port; 0 takes a free one. Raises OSError if the address is taken."""
        await self._listener.start(host, port)
        return self._listener.port

    async def close(self) -> None:
        await self._listener.close()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if self._blocked.refuses(self._address(request)):
            return _message(403, "请稍后再试", "Please try again later")
        try:
            return await self._answer(request)
        except Missing:
            self._signals.report(Signal(SignalKind.UNKNOWN_PATH, address=self._address(request)))
            return _message(404, "没有此订单", "There is no such order")
        except TooMany:
            return _message(429, "请求过多，请稍后再试", "Too many requests: please try again later")
        except Refusal:
            return _message(409, "此码已失效", "This code is not valid any more")
        except StoreUnavailable:
            return _message(503, "请稍后再试", "Please try again later")
        except Exception as error:
            # Without the request: its address and User-Agent are the payer's.
            log.error("order_page_failed", reason=type(error).__name__)
            return _message(500, "请稍后再试", "Please try again later")

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        # A reverse proxy may or may not take the public address's own path away.
        name = read_path(request.path) or read_path(request.path.removeprefix(self._prefix))
        if name is None:
            raise Missing("no such page")
        posts = request.method == "POST" and name.named is Named.SHOP_CODE
        if request.method not in ("GET", "HEAD") and not posts:
            return _message(405, "不支持", "Not supported")
        if not self._limits.takes(self._address(request), _MAKING_COST if posts else 1.0):
            raise TooMany("of one address")
        if name.named is Named.SHOP_CODE:
            return await self._make(request, name) if posts else await self._ask_amount(name)
        return await self._order(name, _wallet_of(request.headers.get("User-Agent", "")))

    def _address(self, request: web.BaseRequest) -> str:
        if self._settings.forwarded_for:
            forwarded = request.headers.getall("X-Forwarded-For", [])
            return ",".join(forwarded).rpartition(",")[2].strip()
        return request.remote or ""

    # --- an order -----------------------------------------------------------------------------------------------------

    async def _order(self, name: Name, wallet: str) -> web.Response:
        order = await self._desk.find(name.merchant_id, name.id)
        if wallet == "alipay" and order.state in PAYABLE:
            code = await self._channel_code(order, wallet)
            if self._is_safe(code):
                return web.Response(status=302, headers={**html.HEADERS, "Location": code})
        shown = html.Shown(order.merchant.name or order.merchant.id, order.subject, order.money)
        return _page(200, html.order_page(shown, order.state, wallet))

    async def _channel_code(self, order: Order, scheme: str) -> str:
        try:
            return (await self._desk.channel_code(order, scheme)).code
        except NotPossible:
            return ""

    def _is_safe(self, code: str) -> bool:
        """https, at a host that the settings name, at its usual port, printable ASCII."""
        try:
            parts = urlsplit(code)
            port = parts.port
        except ValueError:
            return False
        clean = code.isascii() and code.isprintable() and "\\" not in code and " " not in code
        usual = parts.scheme == "https" and parts.netloc == parts.hostname and port is None
        return clean and usual and parts.hostname in self._settings.redirect_hosts

    # --- a shop code --------------------------------------------------------------------------------------------------

    async def _ask_amount(self, name: Name) -> web.Response:
        code = await self._shop.find(name.merchant_id, name.id)
        payee = (await self._shop.payee(code)).as_paid
        shown = html.Shown(payee.name or payee.id, code.label, Money(0, code.currency))
        return _page(200, html.shop_page(shown))

    async def _make(self, request: web.BaseRequest, name: Name) -> web.Response:
        code = await self._shop.find(name.merchant_id, name.id)
        amount_minor = _amount_minor(await _body(request), code.currency)
        if amount_minor is None:
            return _message(400, "金额不正确", "This is not an amount")
        if not self._limits.makes(code.id.hex):
            raise TooMany("of one printed code")
        order = await self._desk.of_shop_code(code, amount_minor, secrets.token_hex(16), "page")
        path = Name(Named.ORDER, order.merchant.id, order.id).path
        return web.Response(status=303, headers={**html.HEADERS, "Location": self._prefix + path})


async def _body(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _BOUNDS.body_bytes:
            return b""
    return bytes(body)


def _amount_minor(body: bytes, currency: str) -> int | None:
    """
    >>> _amount_minor(b"amount=12.5", "CNY"), _amount_minor(b"amount=12.345", "CNY"), _amount_minor(b"amount=0", "CNY")
    (1250, None, None)
    """
    try:
        fields = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=2)
    except ValueError:
        return None
    found = _AMOUNT(fields[0][1]) if len(fields) == 1 and fields[0][0] == "amount" else None
    exponent = CURRENCIES[currency][1]
    if found is None or len(found[2] or "") > exponent:
        return None
    amount_minor = int(found[1] + (found[2] or "").ljust(exponent, "0"))
    return amount_minor if 0 < amount_minor <= LARGEST_AMOUNT_MINOR else None


def _wallet_of(user_agent: str) -> str:
    """
    >>> _wallet_of("Mozilla/5.0 … MicroMessenger/8.0.49"), _wallet_of("Mozilla/5.0 AlipayClient/10.6"), _wallet_of("x")
    ('wechat', 'alipay', '')
    """
    return next((wallet for sign, wallet in _WALLETS if sign in user_agent), "")


def _message(status: int, chinese: str, english: str) -> web.Response:
    return _page(status, html.message_page(chinese, english))


def _page(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers=html.HEADERS)
