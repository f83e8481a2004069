"""The two Python clients of Alipay drive the simulator: unpatched, but for the URL.

`alipay-sdk-python` is Alipay's own (package `alipay.aop`); `python-alipay-sdk` is independent (package `alipay`). Both
block and run in threads. Their answers are verified by their own code: a bad signature is their exception.
"""

import asyncio
import base64
import datetime as dt
import io
import json
import socket
import urllib.request
import zipfile
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alipay import AliPay, DCAliPay
from alipay.aop.api.AlipayClientConfig import AlipayClientConfig
from alipay.aop.api.DefaultAlipayClient import DefaultAlipayClient
from alipay.aop.api.exception.Exception import ResponseException
from alipay.aop.api.request import (
    AlipayDataDataserviceBillDownloadurlQueryRequest,
    AlipayTradeCancelRequest,
    AlipayTradeCloseRequest,
    AlipayTradeCreateRequest,
    AlipayTradeFastpayRefundQueryRequest,
    AlipayTradePayRequest,
    AlipayTradePrecreateRequest,
    AlipayTradeQueryRequest,
    AlipayTradeRefundRequest,
)
from alipay_gateway import APP_ID, Gateway, client_key, gateway, private_pem, public_pem
from cryptography.hazmat.primitives.asymmetric import rsa

from adapters.alipay.simulator import client_codes

__all__ = ["client_key", "gateway"]

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.usefixtures("clear_of_midnight")]

Call = Callable[..., Any]
CODES = client_codes()
PAYMENT = {"scene": "bar_code", "auth_code": CODES["approve"], "subject": "早点 and tea", "total_amount": "12.34"}


# --- Alipay's own --------------------------------------------------------------------------------------------------


@pytest.fixture
def standard_ports(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """This client connects to port 80 or 443 and puts the URL into the request's target: lead both to the simulator."""
    connect = socket.create_connection
    doors = {80: gateway.simulator.port, 443: gateway.simulator.tls_port}

    def create_connection(address: tuple[str, int], *arguments: Any, **named: Any) -> socket.socket:
        return connect((address[0], doors.get(address[1], address[1])), *arguments, **named)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setenv("SSL_CERT_FILE", str(gateway.ca_file))


def official_config(gateway: Gateway, scheme: str = "http") -> AlipayClientConfig:
    config = AlipayClientConfig()
    config.server_url = f"{scheme}://127.0.0.1/gateway.do"
    config.app_id = APP_ID
    config.app_private_key = private_pem(gateway.key)
    config.alipay_public_key = gateway.simulator.public_key_pem
    return config


@pytest.fixture
def official(gateway: Gateway, standard_ports: None) -> Call:
    return official_caller(official_config(gateway))


def official_caller(config: AlipayClientConfig) -> Call:
    client = DefaultAlipayClient(config)

    async def call(module: Any, content: dict[str, Any], notify_url: str = "") -> dict[str, Any]:
        request = getattr(module, module.__name__.rpartition(".")[2])()
        request.biz_content = content
        if notify_url:
            request.notify_url = notify_url
        return dict(json.loads(await asyncio.to_thread(client.execute, request)))

    return call


async def test_alipays_own_client_over_every_call(official: Call, gateway: Gateway) -> None:
    paid = await official(AlipayTradePayRequest, PAYMENT | {"out_trade_no": "o1"})
    assert (paid["code"], paid["total_amount"]) == ("10000", "12.34")
    query = await official(AlipayTradeQueryRequest, {"trade_no": paid["trade_no"]})
    assert (query["trade_status"], query["out_trade_no"]) == ("TRADE_SUCCESS", "o1")

    for number, amount, fund_change in (("r1", "2.34", "Y"), ("r1", "2.34", "N"), ("r2", "10.00", "Y")):
        refund = {"out_trade_no": "o1", "refund_amount": amount, "out_request_no": number}
        assert (await official(AlipayTradeRefundRequest, refund))["fund_change"] == fund_change
    asked = await official(AlipayTradeFastpayRefundQueryRequest, {"out_trade_no": "o1", "out_request_no": "r2"})
    assert (asked["refund_status"], asked["refund_amount"]) == ("REFUND_SUCCESS", "10.00")

    order = {"out_trade_no": "o2", "subject": "tea", "total_amount": "3.00"}
    assert (await official(AlipayTradePrecreateRequest, order))["qr_code"].startswith("https://qr.alipay.com/")
    cancelled = await official(AlipayTradeCancelRequest, {"out_trade_no": "o2"})
    assert (cancelled["retry_flag"], cancelled["action"]) == ("N", "close")
    created = await official(AlipayTradeCreateRequest, order | {"out_trade_no": "o3", "buyer_id": "2088000000000001"})
    assert (await official(AlipayTradeCloseRequest, {"trade_no": created["trade_no"]}))["out_trade_no"] == "o3"

    statuses = {each["out_trade_no"]: each["status"] for each in gateway.simulator.book()}
    assert statuses == dict.fromkeys(("o1", "o2", "o3"), "TRADE_CLOSED")


async def test_alipays_own_client_over_https(gateway: Gateway, standard_ports: None) -> None:
    call = official_caller(official_config(gateway, "https"))
    assert (await call(AlipayTradePayRequest, PAYMENT | {"out_trade_no": "o1"}))["code"] == "10000"


async def test_alipays_own_client_fetches_a_bill(official: Call, gateway: Gateway) -> None:
    await official(AlipayTradePayRequest, PAYMENT | {"out_trade_no": "o1"})
    await the_bill_has_one_payment(
        gateway, lambda fields: official(AlipayDataDataserviceBillDownloadurlQueryRequest, fields)
    )


async def the_bill_has_one_payment(gateway: Gateway, call: Call) -> None:
    day = f"{dt.datetime.now(ZoneInfo('Asia/Shanghai')):%Y-%m-%d}"
    fields = {"bill_type": "trade", "bill_date": day}
    assert (await call(fields))["sub_code"] == "isp.bill_not_exist"
    gateway.simulator.ahead_s = 2 * 86_400
    url = (await call(fields))["bill_download_url"]
    content = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
    with zipfile.ZipFile(io.BytesIO(content), metadata_encoding="gbk") as archive:
        details = next(name for name in archive.namelist() if name.endswith("业务明细.csv"))
        lines = archive.read(details).decode("gbk").splitlines()
    assert [line.split(",")[1].strip() for line in lines if line[:1].isdigit()] == ["o1"]
    assert any(line.startswith("#交易合计：1笔，商家实收共12.34元") for line in lines)


async def test_alipays_own_client_reads_refusals(official: Call) -> None:
    for behaviour, said in (
        ("insufficient_funds", ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH")),
        ("invalid", ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID")),
        ("user_paying", ("10003", None)),
    ):
        content = PAYMENT | {"out_trade_no": behaviour, "auth_code": CODES[behaviour]}
        answer = await official(AlipayTradePayRequest, content)
        assert (answer["code"], answer.get("sub_code")) == said


async def test_alipays_own_client_with_keys_that_do_not_fit(gateway: Gateway, standard_ports: None) -> None:
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    config = official_config(gateway)
    config.app_private_key = private_pem(other)
    answer = await official_caller(config)(AlipayTradeQueryRequest, {"out_trade_no": "o1"})
    assert (answer["code"], answer["sub_code"]) == ("40002", "isv.invalid-signature")
    config = official_config(gateway)
    config.alipay_public_key = public_pem(other)
    with pytest.raises(ResponseException, match="verify failed"):
        await official_caller(config)(AlipayTradeQueryRequest, {"out_trade_no": "o1"})


# --- the independent one --------------------------------------------------------------------------------------------


def independent(gateway: Gateway, url: str, **changes: Any) -> AliPay:
    settings = {
        "appid": APP_ID,
        "app_notify_url": gateway.notify_url,
        "app_private_key_string": private_pem(gateway.key),
        "alipay_public_key_string": gateway.simulator.public_key_pem,
    }
    client = AliPay(**(settings | changes))
    client._gateway = url
    return client


def independent_with_certificates(gateway: Gateway) -> DCAliPay:
    simulator = gateway.simulator
    client = DCAliPay(
        appid=APP_ID,
        app_private_key_string=private_pem(gateway.key),
        app_public_key_cert_string=simulator.application_certificate_pem(APP_ID),
        alipay_public_key_cert_string=simulator.authority.platform_certificate_pem,
        alipay_root_cert_string=simulator.authority.root_certificates_pem,
        app_notify_url=gateway.notify_url,
    )
    client._gateway = simulator.gateway_url
    return client


@pytest.fixture(params=["public key", "https", "certificates"])
def client(request: pytest.FixtureRequest, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "certificates":
        return independent_with_certificates(gateway)
    monkeypatch.setenv("SSL_CERT_FILE", str(gateway.ca_file))
    return independent(gateway, gateway.tls_url if request.param == "https" else gateway.simulator.gateway_url)


async def test_the_independent_client_over_every_call(client: Any, gateway: Gateway) -> None:
    paid = await asyncio.to_thread(client.api_alipay_trade_pay, out_trade_no="o1", **PAYMENT)
    assert (paid["code"], paid["total_amount"]) == ("10000", "12.34")
    query = await asyncio.to_thread(client.api_alipay_trade_query, trade_no=paid["trade_no"])
    assert (query["trade_status"], query["out_trade_no"]) == ("TRADE_SUCCESS", "o1")

    for number, amount, fund_change in (("r1", "2.34", "Y"), ("r1", "2.34", "N"), ("r2", "10.00", "Y")):
        answer = await asyncio.to_thread(
            client.api_alipay_trade_refund, refund_amount=amount, out_trade_no="o1", out_request_no=number
        )
        assert answer["fund_change"] == fund_change
    asked = await asyncio.to_thread(client.api_alipay_trade_fastpay_refund_query, "r1", out_trade_no="o1")
    assert (asked["refund_status"], asked["refund_amount"]) == ("REFUND_SUCCESS", "2.34")

    order = await asyncio.to_thread(client.api_alipay_trade_precreate, "tea", "o2", 3)
    assert order["qr_code"].startswith("https://qr.alipay.com/")
    cancelled = await asyncio.to_thread(client.api_alipay_trade_cancel, out_trade_no="o2")
    assert (cancelled["retry_flag"], cancelled["action"]) == ("N", "close")
    created = await asyncio.to_thread(client.api_alipay_trade_create, "tea", "o3", "3.00", buyer_id="2088000000000001")
    closed = await asyncio.to_thread(client.api_alipay_trade_close, trade_no=created["trade_no"])
    assert closed["out_trade_no"] == "o3"

    await gateway.until_notified(3)
    for form in gateway.notified:
        form = dict(form)
        assert client.verify(form, form.pop("sign"))
        assert not client.verify(form | {"total_amount": "0.01"}, "AAAA")


async def test_the_independent_client_fetches_a_bill(client: Any, gateway: Gateway) -> None:
    await asyncio.to_thread(client.api_alipay_trade_pay, out_trade_no="o1", **PAYMENT)

    async def call(fields: dict[str, str]) -> dict[str, Any]:
        method = "alipay.data.dataservice.bill.downloadurl.query"
        return dict(await asyncio.to_thread(client.server_api, method, fields))

    await the_bill_has_one_payment(gateway, call)


async def test_an_order_that_a_payer_scans(client: Any, gateway: Gateway) -> None:
    order = await asyncio.to_thread(client.api_alipay_trade_precreate, "tea", "o1", "3.00")
    assert (await asyncio.to_thread(client.api_alipay_trade_query, "o1"))["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.simulator.port}/alipay/scan",
        json.dumps({"qr_code": order["qr_code"], "payer": "rich"}).encode(),
        {"Content-Type": "application/json"},
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(request).read())
    assert (await asyncio.to_thread(client.api_alipay_trade_query, "o1"))["trade_status"] == "TRADE_SUCCESS"
    await gateway.until_notified(1)
    assert gateway.notified[0]["trade_status"] == "TRADE_SUCCESS"


async def test_the_independent_client_with_a_key_that_does_not_fit(gateway: Gateway) -> None:
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    client = independent(gateway, gateway.simulator.gateway_url, app_private_key_string=private_pem(other))
    answer = await asyncio.to_thread(client.api_alipay_trade_query, "o1")
    assert (answer["code"], answer["sub_code"]) == ("40002", "isv.invalid-signature")


async def test_certificate_numbers_that_are_not_the_right_ones(gateway: Gateway) -> None:
    client = independent_with_certificates(gateway)
    client._app_cert_sn = "0" * 32
    answer = await asyncio.to_thread(client.api_alipay_trade_query, "o1")
    assert (answer["code"], answer["sub_code"]) == ("40002", "isv.invalid-app-cert-sn")


async def test_the_new_certificate_is_fetched_as_the_client_asks(gateway: Gateway) -> None:
    client = independent_with_certificates(gateway)
    old, _ = gateway.simulator.authority.platform_sn, gateway.simulator.authority.rotate()
    query = client.api_alipay_open_app_alipaycert_download(gateway.simulator.authority.platform_sn)
    url = f"{gateway.simulator.gateway_url}?{query}"
    answer = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url).read()))
    assert answer["alipay_cert_sn"] == gateway.simulator.authority.platform_sn != old
    content = answer["alipay_open_app_alipaycert_download_response"]["alipay_cert_content"]
    client._alipay_public_key_cert_string = base64.b64decode(content)
    client._alipay_public_key_string = client.load_alipay_public_key_string()
    client._load_key()
    assert (await asyncio.to_thread(client.api_alipay_trade_query, "o1"))["sub_code"] == "ACQ.TRADE_NOT_EXIST"
