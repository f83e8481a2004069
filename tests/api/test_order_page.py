"""The page behind an order's QR: each wallet its own way, nothing leaves but to where it may, and nobody floods it."""

import asyncio
import secrets
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
import pytest
import structlog
from order_scene import scene

from switch.api.order_page import OrderPage, PageSettings
from switch.api.page_limits import PageLimits
from switch.domain.order import OrderFilter, OrderState
from switch.domain.refusals import TooMany
from switch.domain.states import Operation
from switch.orders.desk import OrderDesk
from switch.orders.shop import new_id
from switch.ports import AwaitingPayer, StoreUnavailable

__all__ = ["scene"]

BASE = "https://pay.example/p"
ALIPAY = {"User-Agent": "Mozilla/5.0 (Linux; Android 14) AlipayClient/10.6.0 Language/zh-Hans"}
WECHAT = {"User-Agent": "Mozilla/5.0 (iPhone) MicroMessenger/8.0.49"}
UNIONPAY = {"User-Agent": "Mozilla/5.0 (Linux) com.unionpay.chsp UnionPay/1.0 CloudPay"}


@pytest.fixture
async def open_page(scene):
    pages, sessions = [], []

    async def opened(per_minute=10_000, hosts=("qr.alipay.com",), forwarded=False, per_code=10_000):
        limits = PageLimits(scene.clock, per_minute, per_code)
        page = OrderPage(scene.desk, scene.shop, limits, PageSettings(BASE, frozenset(hosts), forwarded))
        port = await page.start("127.0.0.1", 0)
        session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
        pages.append(page)
        sessions.append(session)

        async def fetch(path, method="GET", **more):
            async with session.request(method, path, allow_redirects=False, **more) as response:
                text = await response.text()
                return SimpleNamespace(status=response.status, text=text, headers=response.headers)

        return fetch

    yield opened
    for session in sessions:
        await session.close()
    for page in pages:
        await page.close()


@pytest.fixture
async def fetch(open_page):
    return await open_page()


def path_of(order):
    return f"/q/{order.merchant.id}.{order.id.hex}"


async def test_alipay_is_sent_to_its_own_code_and_the_order_is_made_there_once(scene, fetch):
    order = await scene.create()
    seen = [await fetch(path_of(order), headers=ALIPAY) for _ in range(3)]
    assert {each.status for each in seen} == {302}
    [code] = {each.headers["Location"] for each in seen}
    assert code.startswith("https://qr.alipay.com/")
    assert scene.wallet.count(Operation.ORDER) == 1


@pytest.mark.parametrize("headers", [WECHAT, UNIONPAY, {"User-Agent": "curl"}, {}])
async def test_others_see_what_it_is_and_how_to_go_on(scene, fetch, headers):
    order = await scene.create(12_345)
    seen = await fetch(path_of(order), headers=headers)
    assert seen.status == 200
    assert all(each in seen.text for each in ("CNY 123.45", "Corner Shop", "Tea 茶"))
    assert "weixin://" not in seen.text
    assert scene.wallet.asked == []


async def test_the_path_of_the_public_address_may_be_there_or_not(scene, fetch):
    order = await scene.create()
    assert (await fetch("/p" + path_of(order))).status == 200


async def test_a_page_runs_nothing_and_tells_nobody(scene, fetch):
    order = await scene.create(subject='<script>alert("1")</script>')
    for path in (path_of(order), "/q/none", "/"):
        seen = await fetch(path)
        policy = seen.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert (seen.headers["Referrer-Policy"], seen.headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert "<script" not in seen.text


@pytest.mark.parametrize("state", [OrderState.PAID, OrderState.CLOSED, OrderState.EXPIRED])
async def test_an_ended_order_sends_nobody_anywhere(scene, fetch, state):
    order = await scene.create(lives_s=60)
    match state:
        case OrderState.PAID:
            await scene.desk.pay(order, scene.paying())
        case OrderState.CLOSED:
            await scene.desk.close(scene.merchant_id, order.id, "user/ann")
        case _:
            scene.clock.ahead_ms = 61_000
            await scene.pursuit.expire()
    seen = await fetch(path_of(order), headers=ALIPAY)
    assert seen.status == 200
    assert {OrderState.PAID: "Paid", OrderState.CLOSED: "closed", OrderState.EXPIRED: "expired"}[state] in seen.text
    assert scene.wallet.count(Operation.ORDER) == 0


@pytest.mark.parametrize(
    "code",
    [
        "https://evil.example/x", "http://qr.alipay.com/x", "https://qr.alipay.com@evil.example/x",
        "https://qr.alipay.com:8443/x", "https://qr.alipay.com.evil.example/x", "//qr.alipay.com/x",
        "javascript:alert(1)", "https://user@qr.alipay.com/x", "https://qr.alipay.com\\@evil.example/",
        "https://qr.alipay.com/x\r\nSet-Cookie: a=b", "weixin://wxpay/bizpayurl?pr=1", "https://QR.alipay.com:x/",
    ],
)  # fmt: skip
async def test_only_a_code_at_a_host_of_the_wallet_is_followed(scene, fetch, code):
    scene.town.first.script = lambda request: AwaitingPayer(code=code)
    seen = await fetch(path_of(await scene.create()), headers=ALIPAY)
    assert seen.status == 200
    assert "Location" not in seen.headers
    assert "Set-Cookie" not in seen.headers


async def test_a_channel_that_gives_no_code_is_no_error_for_the_payer(scene, fetch):
    scene.town.world.channels["first"].operations = frozenset({Operation.SALE})
    seen = await fetch(path_of(await scene.create()), headers=ALIPAY)
    assert (seen.status, "Ask the cashier" in seen.text) == (200, True)


async def test_guessed_and_foreign_names_are_not_there(scene, fetch):
    order = await scene.create()
    wrong = new_id(order.created_time_ms, lambda count: b"\x01" * count)
    for path in (
        f"/q/{order.merchant.id}.{wrong.hex}", f"/q/other.{order.id.hex}", f"/s/{order.merchant.id}.{order.id.hex}",
        f"/q/{order.id.hex}", "/q/../../etc/passwd", "/favicon.ico",
    ):  # fmt: skip
        assert (await fetch(path)).status == 404
    assert (await fetch(path_of(order), "POST")).status == 405
    assert (await fetch(path_of(order), "DELETE")).status == 405


async def test_one_address_is_bounded_and_others_are_not(scene, open_page):
    fetch = await open_page(per_minute=3, forwarded=True)
    path = path_of(await scene.create())

    async def from_address(address):
        # What the payer wrote himself comes first; the proxy's own word is the last.
        return (await fetch(path, headers={"X-Forwarded-For": f"10.0.0.1, {address}"})).status

    assert [await from_address("203.0.113.1") for _ in range(5)] == [200, 200, 200, 429, 429]
    assert await from_address("203.0.113.2") == 200
    assert [await from_address(f"2001:db8::{host}") for host in range(4)] == [200, 200, 200, 429]


async def test_limits_fill_again(scene):
    clock = SimpleNamespace(now_s=0.0, monotonic_s=lambda: clock.now_s)
    limits = PageLimits(clock, 60, 10, per_second=5)
    assert [limits.takes("203.0.113.1", 30) for _ in range(3)] == [True, True, False]
    clock.now_s = 30.0
    assert [limits.takes("203.0.113.1", 30) for _ in range(2)] == [True, False]
    assert sum(limits.takes(f"203.0.113.{each}") for each in range(2, 20)) == 4  # everybody together


async def test_nothing_of_the_payer_is_logged(scene, fetch):
    order = await scene.create()
    with structlog.testing.capture_logs() as logs:
        await fetch(path_of(order), headers=ALIPAY)
        await fetch("/q/none", headers=WECHAT)
    assert "127.0.0.1" not in repr(logs)
    assert "Mozilla" not in repr(logs)


# --- shop codes -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def code(scene):
    return await scene.shop.create(scene.merchant_id, ("s1", "T1"), "Till 1", "CNY", "user/ann")


async def test_the_payer_enters_the_amount_and_comes_to_the_order(scene, fetch, code):
    path = f"/s/{scene.merchant_id}.{code.id.hex}"
    asked = await fetch(path)
    assert (asked.status, '<form method="post">' in asked.text) == (200, True)
    made = await fetch(path, "POST", data={"amount": "12.5"})
    assert made.status == 303
    assert made.headers["Location"].startswith(f"/p/q/{scene.merchant_id}.")
    [order] = await scene.store.list(scene.merchant_id, OrderFilter(), new_id(1 << 47, lambda count: bytes(count)), 5)
    assert (order.money.amount_minor, order.shop_code, order.terminal_id) == (1_250, code.id, "T1")
    assert order.expires_time_ms - order.created_time_ms == 300_000
    assert (await fetch(made.headers["Location"], headers=ALIPAY)).status == 302


@pytest.mark.parametrize(
    "body", ["amount=0", "amount=-1", "amount=1.234", "amount=1e3", "amount=", "x=1", "amount=1&amount=2",
             "amount=%EF%BC%91", "amount=1&y=2", "a" * 300, "amount=9999999999"],
)  # fmt: skip
async def test_what_is_no_amount_makes_no_order(scene, fetch, code, body):
    path = f"/s/{scene.merchant_id}.{code.id.hex}"
    seen = await fetch(path, "POST", data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert seen.status == 400
    assert (
        await scene.store.list(scene.merchant_id, OrderFilter(), new_id(1 << 47, lambda count: bytes(count)), 5) == []
    )


async def test_making_orders_is_dearer_than_looking(scene, open_page, code):
    fetch = await open_page(per_minute=45)
    path = f"/s/{scene.merchant_id}.{code.id.hex}"
    statuses = [(await fetch(path, "POST", data={"amount": "1"})).status for _ in range(4)]
    assert statuses == [303, 303, 429, 429]


async def test_one_code_makes_so_many_orders_whoever_asks(scene, open_page, code):
    fetch = await open_page(forwarded=True, per_code=3)
    other = await scene.shop.create(scene.merchant_id, ("s1", "T2"), "Till 2", "CNY", "user/ann")

    async def make(number, of):
        path, proxy = f"/s/{scene.merchant_id}.{of.id.hex}", {"X-Forwarded-For": f"203.0.113.{number}"}
        return (await fetch(path, "POST", data={"amount": "1"}, headers=proxy)).status

    assert [await make(number, code) for number in range(5)] == [303, 303, 303, 429, 429]
    assert await make(9, other) == 303


async def test_so_many_orders_of_a_code_are_open_and_payers_of_the_app_are_not_in_the_way(scene, fetch, code):
    """A stranger who fills the page's share keeps nobody from paying who shows his card."""
    path = f"/s/{scene.merchant_id}.{code.id.hex}"
    most = scene.settings.open_per_shop_code
    made = [(await fetch(path, "POST", data={"amount": "1"})).status for _ in range(most + 2)]
    assert made == [303] * most + [429] * 2
    assert await scene.database.fetchval("SELECT count(*) FROM orders") == most
    order, _ = await scene.desk.pay_shop_code(code, 100, scene.paying(), "user/x")
    assert order.state is OrderState.PAID
    scene.clock.ahead_ms = 301_000
    assert (await fetch(path, "POST", data={"amount": "1"})).status == 303


async def test_of_makers_at_once_no_more_than_may_be_open(scene, code):
    desk = OrderDesk(
        scene.store, scene.payments, scene.people, None, scene.clock, secrets.token_bytes,
        replace(scene.settings, open_per_shop_code=3),
    )  # fmt: skip
    results = await asyncio.gather(
        *(desk.of_shop_code(code, 100, str(number), "page") for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, TooMany) for each in results) == 5
    assert (await desk.of_shop_code(code, 100, _key_of(results), "page")).state is OrderState.OPEN  # a repeat
    with pytest.raises(TooMany):
        await desk.of_shop_code(code, 100, "another", "page")


def _key_of(results):
    """The key of one that was made."""
    return next(str(number) for number, each in enumerate(results) if not isinstance(each, TooMany))


async def test_a_revoked_code_makes_nothing(scene, fetch, code):
    await scene.shop.revoke(scene.merchant_id, code.id, "user/ann")
    path = f"/s/{scene.merchant_id}.{code.id.hex}"
    assert [(await fetch(path, method)).status for method in ("GET", "POST")] == [409, 409]


async def test_a_database_that_is_away_is_said_so(scene, fetch):
    order = await scene.create()

    async def away(merchant_id, order_id):
        raise StoreUnavailable("away")

    scene.store.find = away
    assert (await fetch(path_of(order))).status == 503
