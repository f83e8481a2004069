"""The simulator by raw requests: nothing here goes through the adapter's codec or channel."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adapters.alipay.simulator import AlipayApplication, AlipaySimulator, Payer, client_codes
from switch.pki import Authority

COMMON = {
    "app_id": "2021000000000001",
    "charset": "utf-8",
    "sign_type": "RSA2",
    "timestamp": "2025-01-31 23:59:59",
    "version": "1.0",
}
PAYMENT = {
    "out_trade_no": "order_1",
    "scene": "bar_code",
    "auth_code": "285012345678901234",
    "subject": "早点 and more",
    "total_amount": "12.34",
}


class Caller:
    """A client written from the protocol."""

    def __init__(self, simulator: AlipaySimulator, key: rsa.RSAPrivateKey, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.key = key
        self.session = session
        self.common = COMMON

    def parameters(self, method: str, biz_content: Any, /, **changes: str | None) -> dict[str, str]:
        """Signed after the changes; None leaves one out."""
        text = biz_content if isinstance(biz_content, str) else json.dumps(biz_content, ensure_ascii=False)
        wanted: dict[str, str | None] = self.common | {"method": method, "biz_content": text} | changes
        parameters = {name: value for name, value in wanted.items() if value is not None}
        signed = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters) if parameters[name])
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
        return parameters | {"sign": base64.b64encode(signature).decode()}

    def opened(self, body: bytes, key: str) -> dict[str, Any]:
        """The inner value, its signature checked over the raw bytes by plain searching."""
        start, end = len(f'{{"{key}":'), body.rindex(b',"sign":"')
        assert body[:start] == f'{{"{key}":'.encode()
        public = load_pem_public_key(self.simulator.public_key_pem.encode())
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(base64.b64decode(json.loads(body)["sign"]), body[start:end], padding.PKCS1v15(), SHA256())
        return dict(json.loads(body[start:end]))

    async def post(self, parameters: dict[str, str], key: str) -> dict[str, Any]:
        async with self.session.post(self.simulator.gateway_url, data=parameters) as response:
            assert response.status == 200
            return self.opened(await response.read(), key)

    def as_application(self, app_id: str, key: rsa.RSAPrivateKey) -> "Caller":
        other = Caller(self.simulator, key, self.session)
        other.common = self.common | {"app_id": app_id}
        return other

    async def call(self, method: str, biz_content: Any, /, **changes: str | None) -> dict[str, Any]:
        key = method.replace(".", "_") + "_response"
        return await self.post(self.parameters(method, biz_content, **changes), key)


@pytest.fixture
async def caller(simulator: AlipaySimulator, app_key: rsa.RSAPrivateKey) -> Any:
    async with aiohttp.ClientSession() as session:
        yield Caller(simulator, app_key, session)


def said(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["code"], answer.get("sub_code", "")


PAY_KEY = "alipay_trade_pay_response"


async def test_a_payment_and_its_answer(caller: Caller) -> None:
    answer = await caller.call("alipay.trade.pay", PAYMENT)
    assert (answer["code"], answer["msg"]) == ("10000", "Success")
    assert answer["total_amount"] == answer["receipt_amount"] == answer["buyer_pay_amount"] == "12.34"
    assert answer["fund_bill_list"] == [{"amount": "12.34", "fund_channel": "ALIPAYACCOUNT"}]
    assert {"trade_no", "buyer_logon_id", "open_id", "gmt_payment", "invoice_amount", "point_amount"} <= answer.keys()
    query = await caller.call("alipay.trade.query", {"trade_no": answer["trade_no"]})
    assert (query["trade_status"], query["out_trade_no"]) == ("TRADE_SUCCESS", "order_1")


async def test_all_by_get(caller: Caller) -> None:
    parameters = caller.parameters("alipay.trade.pay", PAYMENT)
    async with caller.session.get(caller.simulator.gateway_url, params=parameters) as response:
        assert said(caller.opened(await response.read(), PAY_KEY)) == ("10000", "")


async def test_common_parameters_in_the_query_and_biz_content_in_the_form(caller: Caller) -> None:
    query = caller.parameters("alipay.trade.pay", PAYMENT)
    form = {"biz_content": query.pop("biz_content"), "charset": query["charset"]}
    async with caller.session.post(caller.simulator.gateway_url, params=query, data=form) as response:
        assert said(caller.opened(await response.read(), PAY_KEY)) == ("10000", "")


async def test_an_absolute_form_request_target(caller: Caller) -> None:
    body = urlencode(caller.parameters("alipay.trade.pay", PAYMENT))
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.simulator.port)
    writer.write(
        f"POST {caller.simulator.gateway_url} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 200")
    assert said(caller.opened(answer, PAY_KEY)) == ("10000", "")


@pytest.mark.parametrize(
    ("changes", "code", "sub_code"),
    [
        ({"app_id": None}, "40001", "isv.missing-app-id"),
        ({"app_id": "2021"}, "40002", "isv.invalid-app-id"),
        ({"charset": None}, "40001", "isv.missing-charset"),
        ({"charset": "latin1"}, "40002", "isv.invalid-charset"),
        ({"sign_type": None}, "40001", "isv.missing-signature-type"),
        ({"sign_type": "RSA"}, "40002", "isv.invalid-signature-type"),
        ({"timestamp": ""}, "40001", "isv.missing-timestamp"),
        ({"timestamp": "2025-1-31 23:59:59"}, "40002", "isv.invalid-timestamp"),
        ({"timestamp": "2025-02-30 00:00:00"}, "40002", "isv.invalid-timestamp"),
        ({"version": None}, "40001", "isv.missing-version"),
        ({"version": "2.0"}, "40002", "isv.invalid-version"),
        ({"format": "XML"}, "40002", "isv.invalid-format"),
        ({"encrypt_type": "SM4"}, "40002", "isv.invalid-encrypt-type"),
        ({"encrypt_type": "AES"}, "40002", "isv.decryption-error-unknown"),
        ({"biz_content": None}, "40001", "isv.missing-parameter"),
        ({"biz_content": "{"}, "40002", "isv.invalid-parameter"),
        ({"biz_content": "[]"}, "40002", "isv.invalid-parameter"),
        ({"notify_url": "", "format": "json", "app_auth_token": "x"}, "10000", ""),
    ],
)
async def test_public_parameters(caller: Caller, changes: dict[str, str | None], code: str, sub_code: str) -> None:
    assert said(await caller.call("alipay.trade.pay", PAYMENT, **changes)) == (code, sub_code)


async def test_a_method_that_is_missing_or_unknown(caller: Caller) -> None:
    missing = await caller.post(caller.parameters("alipay.trade.pay", {}, method=None), "error_response")
    assert said(missing) == ("40001", "isv.missing-method")
    unknown = await caller.post(caller.parameters("alipay.trade.fly", {}), "error_response")
    assert said(unknown) == ("40002", "isv.invalid-method")


async def test_signatures(caller: Caller, other_key: rsa.RSAPrivateKey) -> None:
    right = caller.parameters("alipay.trade.pay", PAYMENT)
    unsigned = {name: value for name, value in right.items() if name != "sign"}
    assert said(await caller.post(unsigned, PAY_KEY)) == ("40001", "isv.missing-signature")
    by_another = Caller(caller.simulator, other_key, caller.session).parameters("alipay.trade.pay", PAYMENT)
    wrong = [
        by_another,
        right | {"sign": "not base64!"},
        right | {"sign": "AAAA"},
        right | {"biz_content": right["biz_content"].replace("12.34", "12.35")},
        right | {"notify_url": "http://added"},
    ]
    for parameters in wrong:
        assert said(await caller.post(parameters, PAY_KEY)) == ("40002", "isv.invalid-signature")
    assert caller.simulator.book() == []


async def test_one_name_with_two_values_and_a_form_that_is_not_utf8(caller: Caller) -> None:
    parameters = caller.parameters("alipay.trade.pay", PAYMENT)
    bodies = (urlencode(parameters | {"app_id": "2022"}).encode(), b"a=%ff", b"\xff=1", b"x" * 70_000)
    for body in bodies:
        async with caller.session.post(
            caller.simulator.gateway_url,
            params=parameters,
            data=body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ) as response:
            assert said(caller.opened(await response.read(), "error_response")) == ("40002", "isv.invalid-parameter")


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in PAYMENT),
        {"out_trade_no": "x" * 65},
        {"out_trade_no": "a b"},
        {"out_trade_no": True},
        {"out_trade_no": 1.5},
        {"scene": "wave_code"},
        {"auth_code": "245012345678901234"},
        {"auth_code": "315012345678901234"},
        {"auth_code": "285012345678901"},
        {"auth_code": "28" * 12 + "1"},
        {"auth_code": "28501234567890123x"},
        {"subject": ""},
        {"subject": "x" * 257},
        {"subject": "a/b"},
        {"subject": "a\nb"},
        {"total_amount": "0.00"},
        {"total_amount": "1."},
        {"total_amount": "1.001"},
        {"total_amount": "1e2"},
        {"total_amount": True},
        {"total_amount": "01.00"},
        {"total_amount": "-1.00"},
        {"total_amount": "１.00"},
        {"total_amount": 12.345},
        {"timeout_express": "2 min"},
        {"store_id": "x" * 33},
        {"goods_detail": "tea"},
    ],
)
async def test_fields_of_a_payment(caller: Caller, change: dict[str, Any]) -> None:
    content = {name: value for name, value in (PAYMENT | change).items() if value is not None}
    answer = await caller.call("alipay.trade.pay", content)
    assert said(answer) == ("40004", "ACQ.INVALID_PARAMETER")
    assert next(iter(change)) in answer["sub_msg"]
    assert caller.simulator.book() == []


@pytest.mark.parametrize(("amount", "paid"), [(12.34, 1_234), (20, 2_000), ("1", 100), ("1.5", 150)])
async def test_amounts_as_clients_write_them(caller: Caller, amount: Any, paid: int) -> None:
    await caller.call("alipay.trade.pay", PAYMENT | {"total_amount": amount})
    assert [entry["amount_minor"] for entry in caller.simulator.book()] == [paid]


@pytest.mark.parametrize(
    "change",
    [
        {"store_id": ""},
        {"operator_id": None},
        {"store_id": 17},
        {"out_trade_no": 1_795_797_340_294},
        {"discountable_amount": 1.5},
        {"subject": "茶\u3000水 \N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"},
        {"a_field_of_tomorrow": {"x": [1]}},
    ],
)
async def test_contents_as_clients_write_them(caller: Caller, change: dict[str, Any]) -> None:
    answer = await caller.call("alipay.trade.pay", PAYMENT | change)
    assert said(answer) == ("10000", "")
    assert answer["out_trade_no"] == str(change.get("out_trade_no", "order_1"))


async def test_half_a_character_is_no_text(caller: Caller) -> None:
    answer = await caller.call("alipay.trade.pay", json.dumps(PAYMENT | {"subject": "\ud83d"}))
    assert said(answer) == ("40004", "ACQ.INVALID_PARAMETER")


async def test_an_empty_number_is_none(caller: Caller) -> None:
    await caller.call("alipay.trade.pay", PAYMENT)
    answer = await caller.call("alipay.trade.query", {"out_trade_no": "order_1", "trade_no": ""})
    assert said(answer) == ("10000", "")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8"])
async def test_names_of_the_charset(caller: Caller, charset: str) -> None:
    assert said(await caller.call("alipay.trade.pay", PAYMENT, charset=charset)) == ("10000", "")


async def test_more_than_alipay_takes(caller: Caller) -> None:
    answer = await caller.call("alipay.trade.pay", PAYMENT | {"total_amount": "100000000.01"})
    assert said(answer) == ("40004", "ACQ.TOTAL_FEE_EXCEED")


@pytest.mark.parametrize("auth_code", ["25" + "0" * 14, "30" + "9" * 22])
async def test_codes_of_16_to_24_digits(caller: Caller, auth_code: str) -> None:
    assert said(await caller.call("alipay.trade.pay", PAYMENT | {"auth_code": auth_code})) == ("10000", "")


async def test_a_payment_repeated_and_a_code_used_twice(caller: Caller) -> None:
    await caller.call("alipay.trade.pay", PAYMENT)
    expected = [
        ({}, "ACQ.TRADE_HAS_SUCCESS"),
        ({"total_amount": "12.35"}, "ACQ.CONTEXT_INCONSISTENT"),
        ({"auth_code": "285012345678901235"}, "ACQ.CONTEXT_INCONSISTENT"),
        ({"out_trade_no": "order_2"}, "ACQ.PAYMENT_AUTH_CODE_INVALID"),
    ]
    for change, sub_code in expected:
        assert said(await caller.call("alipay.trade.pay", PAYMENT | change)) == ("40004", sub_code)
    (entry,) = caller.simulator.book()
    assert entry["payments"] == 1


async def test_a_refused_payment_repeated_is_refused_again_and_is_no_trade(caller: Caller) -> None:
    poor = PAYMENT | {"auth_code": "295112345678901234"}
    for _ in range(2):
        assert said(await caller.call("alipay.trade.pay", poor)) == ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH")
    answer = await caller.call("alipay.trade.query", {"out_trade_no": "order_1"})
    assert said(answer) == ("40004", "ACQ.TRADE_NOT_EXIST")


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("alipay.trade.query", {}),
        ("alipay.trade.cancel", {}),
        ("alipay.trade.refund", {"refund_amount": "1.00"}),
        ("alipay.trade.fastpay.refund.query", {"out_request_no": "r1"}),
    ],
)
async def test_a_trade_must_be_named_and_must_exist(caller: Caller, method: str, fields: dict[str, str]) -> None:
    assert said(await caller.call(method, fields)) == ("40004", "ACQ.INVALID_PARAMETER")
    answer = await caller.call(method, fields | {"trade_no": "2025013122000000000000000001"})
    assert said(answer) == ("40004", "ACQ.TRADE_NOT_EXIST")


async def test_a_cancel_of_nothing_leaves_a_tombstone(caller: Caller) -> None:
    for _ in range(2):
        answer = await caller.call("alipay.trade.cancel", {"out_trade_no": "order_1"})
        assert (answer["code"], answer["retry_flag"], answer["action"]) == ("10000", "N", "close")
    assert said(await caller.call("alipay.trade.pay", PAYMENT)) == ("40004", "ACQ.TRADE_HAS_CLOSE")


async def test_money_goes_back_once(app_key: rsa.RSAPrivateKey, pem: Callable[[rsa.RSAPrivateKey], str]) -> None:
    payer = Payer("li", balance_minor=1_234)
    simulator = AlipaySimulator([AlipayApplication(COMMON["app_id"], pem(app_key))], accounts={"28": payer})
    await simulator.start()
    async with aiohttp.ClientSession() as session:
        caller = Caller(simulator, app_key, session)
        await caller.call("alipay.trade.pay", PAYMENT)
        assert payer.balance_minor == 0
        for fund_change in ("Y", "N"):
            refund = {"out_trade_no": "order_1", "refund_amount": "0.34", "out_request_no": "r1"}
            answer = await caller.call("alipay.trade.refund", refund)
            assert (answer["fund_change"], answer["refund_fee"]) == (fund_change, "0.34")
        assert payer.balance_minor == 34
        cancel = await caller.call("alipay.trade.cancel", {"out_trade_no": "order_1"})
        assert said(cancel) == ("40004", "ACQ.TRADE_STATUS_ERROR")
        part = {"out_trade_no": "order_1", "refund_amount": "1.00"}
        assert said(await caller.call("alipay.trade.refund", part)) == ("40004", "ACQ.INVALID_PARAMETER")
        nobody = PAYMENT | {"out_trade_no": "order_2", "auth_code": "25" + "0" * 14}
        assert said(await caller.call("alipay.trade.pay", nobody)) == ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID")
    await simulator.close()


async def test_a_full_refund_closes_the_trade(caller: Caller) -> None:
    await caller.call("alipay.trade.pay", PAYMENT)
    refund = {"out_trade_no": "order_1", "refund_amount": "12.34"}
    assert (await caller.call("alipay.trade.refund", refund))["fund_change"] == "Y"
    assert (await caller.call("alipay.trade.refund", refund))["fund_change"] == "N"
    query = {"out_trade_no": "order_1", "out_request_no": "order_1"}
    answer = await caller.call("alipay.trade.fastpay.refund.query", query)
    assert (answer["refund_status"], answer["refund_amount"], answer["total_amount"]) == (
        "REFUND_SUCCESS",
        "12.34",
        "12.34",
    )
    again = refund | {"out_request_no": "r2"}
    assert said(await caller.call("alipay.trade.refund", again)) == ("40004", "ACQ.TRADE_HAS_CLOSE")
    assert (await caller.call("alipay.trade.query", {"out_trade_no": "order_1"}))["trade_status"] == "TRADE_CLOSED"


async def test_precreate(caller: Caller) -> None:
    order = {"out_trade_no": "order_1", "total_amount": "1.00", "subject": "tea"}
    first = await caller.call("alipay.trade.precreate", order)
    assert first["qr_code"].startswith("https://qr.alipay.com/bax")
    assert (await caller.call("alipay.trade.precreate", order))["qr_code"] == first["qr_code"]
    changed = await caller.call("alipay.trade.precreate", order | {"total_amount": "2.00"})
    assert said(changed) == ("40004", "ACQ.CONTEXT_INCONSISTENT")
    # Until a payer scans it, it is no trade.
    answer = await caller.call("alipay.trade.query", {"out_trade_no": "order_1"})
    assert said(answer) == ("40004", "ACQ.TRADE_NOT_EXIST")
    await caller.call("alipay.trade.cancel", {"out_trade_no": "order_1"})
    assert said(await caller.call("alipay.trade.precreate", order)) == ("40004", "ACQ.TRADE_HAS_CLOSE")


async def test_a_trade_that_waits_expires(app_key: rsa.RSAPrivateKey, pem: Callable[[rsa.RSAPrivateKey], str]) -> None:
    clock = [1_700_000_000.0]
    simulator = AlipaySimulator([AlipayApplication(COMMON["app_id"], pem(app_key))], now_s=lambda: clock[0])
    await simulator.start()
    async with aiohttp.ClientSession() as session:
        caller = Caller(simulator, app_key, session)
        control = f"http://127.0.0.1:{simulator.port}/alipay/scenarios"
        scenario = {"behaviour": "user_paying", "delay_ms": 90_000}
        async with session.post(control, json=scenario) as response:
            assert response.status == 201
        for order, express in (("order_1", "1m"), ("order_2", "2m")):
            changes = {"out_trade_no": order, "timeout_express": express, "auth_code": f"28000000000000000{express[0]}"}
            answer = await caller.call("alipay.trade.pay", PAYMENT | changes)
            assert answer["code"] == "10003"
            assert (await caller.call("alipay.trade.pay", PAYMENT | changes))["code"] == "10003"
        assert [entry["status"] for entry in simulator.book()] == ["WAIT_BUYER_PAY"] * 2
        clock[0] += 120
        assert [entry["status"] for entry in simulator.book()] == ["TRADE_CLOSED", "TRADE_SUCCESS"]
    await simulator.close()


async def test_the_book_shows_no_payment_code(caller: Caller) -> None:
    await caller.call("alipay.trade.pay", PAYMENT)
    async with caller.session.get(f"http://127.0.0.1:{caller.simulator.port}/alipay/book") as response:
        text = await response.text()
    assert "order_1" in text
    assert PAYMENT["auth_code"] not in text


async def test_an_application_sees_its_own_trades_alone(caller: Caller, other_key: rsa.RSAPrivateKey) -> None:
    other = caller.as_application("2021000000000002", other_key)
    mine = await caller.call("alipay.trade.pay", PAYMENT)
    for named in ({"out_trade_no": "order_1"}, {"trade_no": mine["trade_no"]}):
        assert said(await other.call("alipay.trade.query", named)) == ("40004", "ACQ.TRADE_NOT_EXIST")
        refund = named | {"refund_amount": "12.34", "out_request_no": "r1"}
        assert said(await other.call("alipay.trade.refund", refund)) == ("40004", "ACQ.TRADE_NOT_EXIST")
    await other.call("alipay.trade.cancel", {"out_trade_no": "order_1"})
    theirs = PAYMENT | {"out_trade_no": "order_2", "auth_code": "285012345678901299"}
    assert (await other.call("alipay.trade.pay", theirs))["trade_no"] != mine["trade_no"]
    # A code that was shown to one is used up for all.
    used = PAYMENT | {"out_trade_no": "order_3"}
    assert said(await other.call("alipay.trade.pay", used)) == ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID")
    assert [(each["app_id"], each["out_trade_no"], each["status"]) for each in caller.simulator.book()] == [
        ("2021000000000001", "order_1", "TRADE_SUCCESS"),
        ("2021000000000002", "order_1", "TRADE_CLOSED"),
        ("2021000000000002", "order_2", "TRADE_SUCCESS"),
    ]
    with_the_wrong_key = caller.as_application("2021000000000002", caller.key)
    answer = await with_the_wrong_key.call("alipay.trade.query", {"out_trade_no": "order_2"})
    assert said(answer) == ("40002", "isv.invalid-signature")


@pytest.mark.parametrize(
    ("behaviour", "said_first", "ends"),
    [
        ("approve", ("10000", ""), "TRADE_SUCCESS"),
        ("insufficient_funds", ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH"), "REFUSED"),
        ("user_paying", ("10003", ""), "TRADE_SUCCESS"),
        ("user_paying_then_declined", ("10003", ""), "TRADE_CLOSED"),
        ("invalid", ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID"), "REFUSED"),
    ],
)
async def test_a_clients_code_shows_its_behaviour_every_time(
    app_key: rsa.RSAPrivateKey,
    pem: Callable[[rsa.RSAPrivateKey], str],
    behaviour: str,
    said_first: tuple[str, str],
    ends: str,
) -> None:
    clock = [1_700_000_000.0]
    simulator = AlipaySimulator([AlipayApplication(COMMON["app_id"], pem(app_key))], now_s=lambda: clock[0])
    await simulator.start()
    async with aiohttp.ClientSession() as session:
        caller = Caller(simulator, app_key, session)
        for order, amount in (("order_1", "0.01"), ("order_2", "99.00")):
            content = PAYMENT | {"auth_code": client_codes()[behaviour], "out_trade_no": order, "total_amount": amount}
            assert said(await caller.call("alipay.trade.pay", content)) == said_first
        clock[0] += 3
        assert [each["status"] for each in simulator.book()] == [ends] * 2
    await simulator.close()


async def test_the_silent_code_pays_and_is_never_answered(caller: Caller) -> None:
    content = PAYMENT | {"auth_code": client_codes()["silent"]}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.call("alipay.trade.pay", content), 0.2)
    assert (await caller.call("alipay.trade.query", {"out_trade_no": "order_1"}))["trade_status"] == "TRADE_SUCCESS"


def test_the_clients_codes_are_complete() -> None:
    names = {"approve", "insufficient_funds", "user_paying", "user_paying_then_declined", "silent", "invalid"}
    assert client_codes().keys() == names


async def test_https_shows_the_same_gateway(
    app_key: rsa.RSAPrivateKey, pem: Callable[[rsa.RSAPrivateKey], str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.private_key)
    client = ssl.create_default_context(cafile=str(authority.ensure()))
    simulator = AlipaySimulator([AlipayApplication(COMMON["app_id"], pem(app_key))], tls=server)
    await simulator.start()
    async with aiohttp.ClientSession() as session:
        caller = Caller(simulator, app_key, session)
        parameters = caller.parameters("alipay.trade.pay", PAYMENT)
        url = f"https://127.0.0.1:{simulator.tls_port}/gateway.do"
        async with session.post(url, data=parameters, ssl=client) as response:
            assert said(caller.opened(await response.read(), PAY_KEY)) == ("10000", "")
        assert (await caller.call("alipay.trade.query", {"out_trade_no": "order_1"}))["code"] == "10000"
    await simulator.close()
