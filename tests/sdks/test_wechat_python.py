"""WeChat Pay's Python clients against the simulator: `wechatpayv3` for API v3, `wechatpy` for API v2.

Nothing of them is changed but the gateway's URL. They are blocking, so that they run in threads beside the simulator.
"""

import asyncio
import csv
import gzip
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
import wechatpayv3.core
from wechat_scene import APIV3_KEY, APPID, MCHID, SERIAL, V2_KEY, Door, WeChatClient, merchants_door, wechat_client
from wechatpayv3 import WeChatPay, WeChatPayType
from wechatpy.exceptions import WeChatPayException
from wechatpy.pay import WeChatPay as WeChatPayV2

from adapters.wechat.simulator import client_codes

pytestmark = pytest.mark.usefixtures("clear_of_midnight")

CODES = client_codes()
MODES = pytest.mark.parametrize("mode", ["public key", "certificate"])


@pytest.fixture
async def wechat(tmp_path: Path) -> AsyncIterator[WeChatClient]:
    async with wechat_client(tmp_path) as client:
        yield client


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with merchants_door() as made:
        yield made


def _core_at(url: str) -> type:
    """The SDK's core with another gateway: its constructor, which may already call, sets the real one."""

    class Core(wechatpayv3.core.Core):  # type: ignore[misc]
        @property
        def _gate_way(self) -> str:
            return url

        @_gate_way.setter
        def _gate_way(self, _: str) -> None:
            pass

    return Core


class Sdk:
    """`wechatpayv3` in a thread per call. mode: how it trusts the platform; url: all that is patched."""

    def __init__(self, wechat: WeChatClient, mode: str, url: str) -> None:
        self.wechat = wechat
        self._mode, self._url = mode, url
        self._pay: Any = None

    async def open(self) -> "Sdk":
        self._pay = await asyncio.to_thread(self._made)
        return self

    def _made(self) -> Any:
        simulator = self.wechat.simulator
        trusted: dict[str, Any] = {}
        if self._mode == "public key":
            trusted = {"public_key": simulator.public_key_pem, "public_key_id": simulator.public_key_id}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wechatpayv3.core, "Core", _core_at(self._url))
            return WeChatPay(
                wechatpay_type=WeChatPayType.CODEPAY, mchid=MCHID, private_key=self.wechat.private_key_pem,
                cert_serial_no=SERIAL, appid=APPID, apiv3_key=APIV3_KEY, **trusted,
            )  # fmt: skip

    async def do(self, call: str, **given: Any) -> tuple[int, Any]:
        status, text = await asyncio.to_thread(getattr(self._pay, call), **given)
        return status, json.loads(text) if isinstance(text, str) and text else text

    async def pay(self, code: str = CODES["approve"], total: int = 1_234, **given: Any) -> tuple[str, int, Any]:
        number = f"S{secrets.token_hex(12)}"
        fields = {
            "description": "小店 & co", "out_trade_no": number, "amount": {"total": total, "currency": "CNY"},
            "payer": {"auth_code": code}, "scene_info": {"store_info": {"id": "0001"}},
            "pay_type": WeChatPayType.CODEPAY,
        }  # fmt: skip
        status, content = await self.do("pay", **(fields | given))
        return number, status, content


@pytest.fixture
def sdk_for(wechat: WeChatClient) -> Callable[..., Any]:
    async def make(mode: str, url: str = "") -> Sdk:
        return await Sdk(wechat, mode, url or wechat.url).open()

    return make


@MODES
async def test_a_payment_by_code_is_made_and_found_by_both_numbers(sdk_for: Any, mode: str) -> None:
    sdk = await sdk_for(mode)
    number, status, paid = await sdk.pay()
    assert (status, paid["trade_state"], paid["amount"]["total"]) == (200, "SUCCESS", 1_234)
    assert await sdk.do("query", out_trade_no=number) == (200, paid)
    assert await sdk.do("query", transaction_id=paid["transaction_id"]) == (200, paid)
    assert (await sdk.do("query", out_trade_no="none"))[1]["code"] == "ORDER_NOT_EXIST"


@pytest.mark.parametrize(
    ("behaviour", "status", "said"),
    [
        ("insufficient_funds", 403, "NOT_ENOUGH"),
        ("invalid", 400, "AUTH_CODE_INVALID"),
        ("user_paying", 200, "USERPAYING"),
    ],
)
async def test_what_becomes_of_a_code(sdk_for: Any, behaviour: str, status: int, said: str) -> None:
    sdk = await sdk_for("public key")
    _, got, content = await sdk.pay(CODES[behaviour])
    assert (got, content.get("code") or content["trade_state"]) == (status, said)


@MODES
async def test_refunds_in_parts_until_they_have_arrived(sdk_for: Any, mode: str) -> None:
    sdk = await sdk_for(mode)
    number, _, _ = await sdk.pay(total=1_000)
    for part, refund_no in ((300, "R1"), (700, "R2")):
        amount = {"refund": part, "total": 1_000, "currency": "CNY"}
        status, refund = await sdk.do("refund", out_refund_no=refund_no, amount=amount, out_trade_no=number)
        assert (status, refund["status"], refund["amount"]["refund"]) == (200, "PROCESSING", part)
    await asyncio.sleep(0.1)
    status, refund = await sdk.do("query_refund", out_refund_no="R2")
    assert (status, refund["status"], refund["out_trade_no"]) == (200, "SUCCESS", number)
    amount = {"refund": 1, "total": 1_000, "currency": "CNY"}
    assert (await sdk.do("refund", out_refund_no="R3", amount=amount, out_trade_no=number))[1][
        "code"
    ] == "INVALID_REQUEST"


@MODES
async def test_an_order_is_paid_by_scan_and_both_notifications_open(sdk_for: Any, mode: str, door: Door) -> None:
    sdk = await sdk_for(mode)
    number, status, order = await sdk.pay(
        payer=None, scene_info=None, notify_url=door.url, pay_type=WeChatPayType.NATIVE
    )
    assert (status, order["code_url"][:26]) == (200, "weixin://wxpay/bizpayurl?p")
    door.status = 500
    async with aiohttp.ClientSession() as session:
        control = f"{sdk.wechat.url}/simulator"
        async with session.post(f"{control}/scan", json={"code_url": order["code_url"]}) as scanned:
            assert (await scanned.json())["trade_state"] == "SUCCESS"
        first = await door.got.get()
        door.status = 200
        headers, body = await door.got.get()
        assert body == first[1]  # repeated as it was
        event = await asyncio.to_thread(sdk._pay.callback, headers, body)
        assert (event["event_type"], event["resource"]["out_trade_no"]) == ("TRANSACTION.SUCCESS", number)
        assert await asyncio.to_thread(sdk._pay.callback, headers, body.replace("SUCCESS", "success")) is None
        amount = {"refund": 10, "total": 1_234, "currency": "CNY"}
        await sdk.do("refund", out_refund_no="R1", amount=amount, out_trade_no=number, notify_url=door.url)
        headers, body = await door.got.get()
        event = await asyncio.to_thread(sdk._pay.callback, headers, body)
        assert (event["event_type"], event["resource"]["refund_status"]) == ("REFUND.SUCCESS", "SUCCESS")
        async with session.get(f"{control}/notifications") as listed:
            assert [(each["attempts"], each["accepted"]) for each in await listed.json()] == [(2, True), (1, True)]


async def test_an_unpaid_order_is_closed(sdk_for: Any, door: Door) -> None:
    sdk = await sdk_for("public key")
    number, _, _ = await sdk.pay(payer=None, scene_info=None, notify_url=door.url, pay_type=WeChatPayType.NATIVE)
    assert await sdk.do("close", out_trade_no=number) == (204, b"")
    assert (await sdk.do("query", out_trade_no=number))[1]["trade_state"] == "CLOSED"


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [
        (WeChatPayType.JSAPI, {"payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}}, "prepay_id"),
        (WeChatPayType.MINIPROG, {"payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}}, "prepay_id"),
        (WeChatPayType.APP, {"payer": None}, "prepay_id"),
        (
            WeChatPayType.H5,
            {"payer": None, "scene_info": {"payer_client_ip": "1.2.3.4", "h5_info": {"type": "Wap"}}},
            "h5_url",
        ),
    ],
    ids=["jsapi", "mini program", "app", "h5"],
)
async def test_the_other_ways_to_an_order(sdk_for: Any, kind: Any, given: dict[str, Any], name: str) -> None:
    sdk = await sdk_for("public key")
    given = {"scene_info": None} | given
    _, status, content = await sdk.pay(pay_type=kind, notify_url="https://merchant.example/paid", **given)
    assert (status, bool(content[name])) == (200, True)


@MODES
async def test_bills_agree_with_what_was_done(sdk_for: Any, mode: str) -> None:
    sdk = await sdk_for(mode)
    numbers = [(await sdk.pay(total=total))[0] for total in (1_000, 234)]
    amount = {"refund": 400, "total": 1_000, "currency": "CNY"}
    await sdk.do("refund", out_refund_no="R1", amount=amount, out_trade_no=numbers[0])
    today = datetime.now(ZoneInfo("Asia/Shanghai")).strftime("%Y-%m-%d")
    _, offered = await sdk.do("trade_bill", bill_date=today)
    _, packed = await sdk.do("download_bill", url=offered["download_url"])
    plain = gzip.decompress(packed)
    assert hashlib.sha1(plain).hexdigest() == offered["hash_value"]
    rows = list(csv.DictReader(StringIO(plain.decode("utf-8-sig")), restkey="more"))
    assert [(row["商户订单号"], row["订单金额"], row["退款金额"]) for row in rows[:3]] == [
        (f"`{numbers[0]}", "`10.00", "`0.00"),
        (f"`{numbers[1]}", "`2.34", "`0.00"),
        (f"`{numbers[0]}", "`0.00", "`4.00"),
    ]  # fmt: skip
    assert list(rows[4].values())[:3] == ["`3", "`12.34", "`4.00"]
    _, offered = await sdk.do("fundflow_bill", bill_date=today)
    _, packed = await sdk.do("download_bill", url=offered["download_url"])
    lines = gzip.decompress(packed).decode("utf-8-sig").splitlines()
    # 12.34 came in and 4.00 left; of the fees (0.06 and 0.01) two fen came back.
    assert [cell.strip("`") for cell in lines[-1].split(",")] == ["6", "3", "12.36", "3", "4.07"]
    assert (await sdk.do("trade_bill", bill_date="2020-01-01"))[1]["code"] == "PARAM_ERROR"


async def test_https(sdk_for: Any, wechat: WeChatClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(wechat.ca_file))
    sdk = await sdk_for("certificate", wechat.tls_url)
    assert (await sdk.pay())[2]["trade_state"] == "SUCCESS"


async def test_a_rotated_certificate_is_fetched_and_believed(sdk_for: Any) -> None:
    sdk = await sdk_for("certificate")
    url = f"{sdk.wechat.url}/simulator/rotate_certificate"
    async with aiohttp.ClientSession() as session, session.post(url) as rotated:
        issued = await rotated.json()
    assert (await sdk.pay())[2]["trade_state"] == "SUCCESS"
    assert len(sdk._pay._core._certificates) == 2
    assert issued["serial_no"] == sdk.wechat.simulator.certificate_serial_no


async def test_a_wrong_key_is_refused(wechat: WeChatClient, sdk_for: Any) -> None:
    sdk = await sdk_for("public key")
    sdk._pay._core._cert_serial_no = "00"
    assert (await sdk.pay())[1:] == (
        401, {"code": "SIGN_ERROR", "message": "the certificate's serial number is not the merchant's"}
    )  # fmt: skip


# --- API v2 ---------------------------------------------------------------------------------------------------------


class SdkV2:
    """`wechatpy` in a thread per call."""

    def __init__(self, url: str) -> None:
        self._pay = WeChatPayV2(APPID, V2_KEY, MCHID)
        self._pay.API_BASE_URL = f"{url}/"

    async def do(self, part: str, call: str, **given: Any) -> Any:
        told = await asyncio.to_thread(getattr(getattr(self._pay, part), call), **given)
        assert self._pay.check_signature(told)
        return told

    async def pay(self, code: str = CODES["approve"], total: int = 500) -> Any:
        number = f"V{secrets.token_hex(12)}"
        return await self.do(
            "micropay", "create", body="小店", total_fee=total, auth_code=code, out_trade_no=number, client_ip="1.2.3.4"
        )


@pytest.fixture
def sdk_v2(wechat: WeChatClient) -> SdkV2:
    return SdkV2(wechat.url)


async def test_v2_pays_queries_refunds_and_reverses(sdk_v2: SdkV2) -> None:
    paid = await sdk_v2.pay()
    assert (paid["trade_type"], paid["total_fee"], paid["result_code"]) == ("MICROPAY", "500", "SUCCESS")
    number = paid["out_trade_no"]
    for given in ({"out_trade_no": number}, {"transaction_id": paid["transaction_id"]}):
        assert (await sdk_v2.do("micropay", "query", **given))["trade_state"] == "SUCCESS"
    refund = await sdk_v2.do("refund", "apply", total_fee=500, refund_fee=200, out_refund_no="R1", out_trade_no=number)
    assert refund["refund_fee"] == "200"
    await asyncio.sleep(0.1)
    told = await sdk_v2.do("refund", "query", out_trade_no=number)
    assert (told["refund_count"], told["refund_status_0"], told["out_refund_no_0"]) == ("1", "SUCCESS", "R1")
    other = (await sdk_v2.pay())["out_trade_no"]
    assert (await sdk_v2.do("order", "reverse", out_trade_no=other))["recall"] == "N"
    assert (await sdk_v2.do("order", "query", out_trade_no=other))["trade_state"] == "REVOKED"


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [("insufficient_funds", "NOTENOUGH"), ("user_paying", "USERPAYING"), ("invalid", "AUTH_CODE_INVALID")],
)
async def test_v2_refuses_in_its_own_words(sdk_v2: SdkV2, behaviour: str, said: str) -> None:
    with pytest.raises(WeChatPayException) as refused:
        await sdk_v2.pay(CODES[behaviour])
    assert refused.value.errcode == said


async def test_v2_with_a_wrong_key(wechat: WeChatClient) -> None:
    sdk = SdkV2(wechat.url)
    sdk._pay.api_key = "0" * 32
    with pytest.raises(WeChatPayException) as refused:
        await sdk.pay()
    assert (refused.value.return_code, wechat.simulator.book()) == ("FAIL", [])
