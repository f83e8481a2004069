"""The simulator asked directly, by a client that is written out here."""

import asyncio
import base64
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from yarl import URL

from adapters.wechat import answers, codec
from adapters.wechat.simulator import Payer, WeChatMerchant, WeChatSimulator, client_codes
from switch.pki import Authority

CODEPAY = "/v3/pay/transactions/codepay"
REFUNDS = "/v3/refund/domestic/refunds"


class Client:
    """Signs each request and checks the signature of each answer."""

    def __init__(self, session: aiohttp.ClientSession, simulator: Any, key: rsa.RSAPrivateKey) -> None:
        self.session = session
        self.simulator = simulator
        self.key = key
        self.identity = {"mchid": "1230000109", "serial_no": "3775B6A45ACD588826D15E583A95F5DD"}
        self.origin = f"http://127.0.0.1:{simulator.port}"
        self.expected_serial = ""
        self.platform_key: Any = None

    def parameters(self, method: str, target: str, body: bytes, **given: str) -> dict[str, str]:
        fields = {
            "nonce_str": secrets.token_hex(16),
            "timestamp": str(int(time.time())),
            **self.identity,
        } | given
        text = f"{method}\n{target}\n{fields['timestamp']}\n{fields['nonce_str']}\n".encode() + body + b"\n"
        signature = base64.b64encode(self.key.sign(text, padding.PKCS1v15(), SHA256())).decode()
        return {"signature": signature} | fields

    async def send(
        self, method: str, target: str, body: bytes, parameters: dict[str, str] | None, **headers: str
    ) -> tuple[int, Any]:
        sent = {"Accept": "application/json", "Content-Type": "application/json"}
        sent["Wechatpay-Serial"] = self.simulator.public_key_id
        if parameters is not None:
            listed = ",".join(f'{name}="{value}"' for name, value in parameters.items())
            sent["Authorization"] = f"WECHATPAY2-SHA256-RSA2048 {listed}"
        url = URL(f"{self.origin}{target}", encoded=True)
        async with self.session.request(method, url, data=body, headers=sent | headers) as response:
            answer = await response.read()
            self.check(response.headers, answer)
            return response.status, json.loads(answer) if answer else None

    def check(self, headers: Any, body: bytes) -> None:
        assert headers["Wechatpay-Serial"] == (self.expected_serial or self.simulator.public_key_id)
        assert headers["Request-ID"]
        text = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + body + b"\n"
        key = self.platform_key or load_pem_public_key(self.simulator.public_key_pem.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(base64.b64decode(headers["Wechatpay-Signature"]), text, padding.PKCS1v15(), SHA256())

    async def call(self, method: str, target: str, content: Any = None) -> tuple[int, Any]:
        body = b"" if content is None else json.dumps(content).encode()
        return await self.send(method, target, body, self.parameters(method, target, body))


@pytest.fixture
async def client(simulator: Any, merchant_key: rsa.RSAPrivateKey) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, simulator, merchant_key)


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "appid": "wxd678efh567hg6787",
        "mchid": "1230000109",
        "description": "小店",
        "out_trade_no": f"T-{secrets.token_hex(12)}",
        "payer": {"auth_code": f"14{secrets.randbelow(10**12):012d}7777"},
        "amount": {"total": 1_000},
        "scene_info": {"device_ip": "10.0.0.1", "store_info": {"id": "1"}},
    } | changes


IDS = {"appid": "wxd678efh567hg6787", "mchid": "1230000109"}


# --- who asks -------------------------------------------------------------------------------------------------------


async def test_unsigned(client: Client) -> None:
    status, content = await client.send("POST", CODEPAY, b"{}", None)
    assert (status, content["code"]) == (401, "SIGN_ERROR")


async def test_parameters_in_any_order_and_serial_in_any_case(client: Client) -> None:
    body = json.dumps(payment()).encode()
    parameters = client.parameters("POST", CODEPAY, body, serial_no="3775b6a45acd588826d15e583a95f5dd")
    status, content = await client.send("POST", CODEPAY, body, dict(sorted(parameters.items(), reverse=True)))
    assert (status, content["trade_state"], content["amount"]["payer_total"]) == (200, "SUCCESS", 1_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mchid": "1230000110"},
        {"serial_no": "00"},
        {"timestamp": str(int(time.time()) - 3_600)},
        {"timestamp": str(int(time.time()) + 3_600)},
        {"timestamp": "yesterday"},
        {"nonce_str": "n" * 65},
        {"nonce_str": ""},
        {"extra": "1"},
    ],
    ids=lambda wrong: "-".join(f"{name}={value[:4]}" for name, value in wrong.items()),
)
async def test_well_signed_but_wrong(client: Client, wrong: dict[str, str]) -> None:
    body = json.dumps(payment()).encode()
    status, content = await client.send("POST", CODEPAY, body, client.parameters("POST", CODEPAY, body, **wrong))
    assert (status, content["code"]) == (401, "SIGN_ERROR")
    assert client.simulator.book() == []


@pytest.mark.parametrize("name", ["mchid", "nonce_str", "timestamp", "serial_no", "signature"])
async def test_a_parameter_is_missing(client: Client, name: str) -> None:
    parameters = client.parameters("POST", CODEPAY, b"{}")
    del parameters[name]
    assert (await client.send("POST", CODEPAY, b"{}", parameters))[0] == 401


@pytest.mark.parametrize("nonce", ["79daf059-b8d8-477d-b41e-59a87d651af1", "ab+/cd=="])
async def test_nonces_as_clients_make_them(client: Client, nonce: str) -> None:
    body = json.dumps(payment()).encode()
    parameters = client.parameters("POST", CODEPAY, body, nonce_str=nonce)
    assert (await client.send("POST", CODEPAY, body, parameters))[0] == 200


async def test_an_absolute_form_request_target(client: Client) -> None:
    """What is signed is the path, whatever a proxy made of the request line."""
    target = "/v3/pay/transactions/out-trade-no/no-1?mchid=1230000109"
    parameters = ",".join(f'{name}="{value}"' for name, value in client.parameters("GET", target, b"").items())
    reader, writer = await asyncio.open_connection("127.0.0.1", client.simulator.port)
    writer.write(
        f"GET http://127.0.0.1:{client.simulator.port}{target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"accept: application/json\r\nuser-agent: t\r\n"
        f"authorization: WECHATPAY2-SHA256-RSA2048 {parameters}\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"ORDER_NOT_EXIST" in answer


async def test_the_signature_covers_method_path_query_and_body(client: Client) -> None:
    target = "/v3/pay/transactions/out-trade-no/no-1"
    query = f"{target}?mchid=1230000109"
    for method, signed, body in (("POST", query, b""), ("GET", target, b""), ("GET", query, b" ")):
        assert (await client.send("GET", query, b"", client.parameters(method, signed, body)))[0] == 401
    assert (await client.call("GET", query))[0] == 404


async def test_signed_by_another_key(client: Client) -> None:
    client.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert (await client.call("POST", CODEPAY, payment()))[0] == 401


async def test_a_nonce_is_good_once(client: Client) -> None:
    body = json.dumps(payment()).encode()
    parameters = client.parameters("POST", CODEPAY, body)
    assert (await client.send("POST", CODEPAY, body, parameters))[0] == 200
    status, content = await client.send("POST", CODEPAY, body, parameters)
    assert (status, content["message"]) == (401, "the nonce was used before")


async def test_a_nonce_is_remembered_as_long_as_its_signature_lives(simulator_for: Any, merchant_key: Any) -> None:
    started_s = time.time()
    now_s = started_s
    simulator = await simulator_for(time_s=lambda: now_s)
    async with aiohttp.ClientSession() as session:
        client = Client(session, simulator, merchant_key)
        target = "/v3/pay/transactions/out-trade-no/no-1?mchid=1230000109"
        now_s = started_s + 599  # the first generation of nonces ends at 600
        early = client.parameters("GET", target, b"", timestamp=str(int(now_s) + 299))
        assert (await client.send("GET", target, b"", early))[0] == 404
        for later_s in (601, 1_190):
            now_s = started_s + later_s
            status, content = await client.send("GET", target, b"", early)
            assert (status, content["message"]) == (401, "the nonce was used before")


@pytest.mark.parametrize(
    "headers",
    [{"Accept": "text/html"}, {"Content-Type": "text/plain"}, {"User-Agent": ""}],
)
async def test_headers(client: Client, headers: dict[str, str]) -> None:
    body = json.dumps(payment()).encode()
    status, content = await client.send("POST", CODEPAY, body, client.parameters("POST", CODEPAY, body), **headers)
    assert (status, content["code"]) == (400, "PARAM_ERROR")


# --- who answers ----------------------------------------------------------------------------------------------------


async def test_an_answer_is_signed_by_what_the_request_names(client: Client) -> None:
    """The public key if its id is named, else the platform certificate."""
    simulator = client.simulator
    certificate = x509.load_pem_x509_certificate(simulator.certificate_pem.encode())
    assert simulator.certificate_serial_no == f"{certificate.serial_number:X}"
    target = "/v3/pay/transactions/out-trade-no/no-1?mchid=1230000109"
    for asked, expected in (
        ({"Wechatpay-Serial": simulator.certificate_serial_no}, simulator.certificate_serial_no),
        ({"Wechatpay-Serial": simulator.public_key_id}, simulator.public_key_id),
        ({"Wechatpay-Serial": ""}, simulator.certificate_serial_no),
    ):
        client.expected_serial = expected
        client.platform_key = certificate.public_key() if expected == simulator.certificate_serial_no else None
        assert (await client.send("GET", target, b"", client.parameters("GET", target, b""), **asked))[0] == 404


async def test_an_unknown_platform_key_is_refused(client: Client) -> None:
    client.expected_serial = client.simulator.certificate_serial_no
    certificate = x509.load_pem_x509_certificate(client.simulator.certificate_pem.encode())
    client.platform_key = certificate.public_key()
    target = "/v3/pay/transactions/out-trade-no/no-1?mchid=1230000109"
    for serial in ("PUB_KEY_ID_0", "00"):
        parameters = client.parameters("GET", target, b"")
        status, content = await client.send("GET", target, b"", parameters, **{"Wechatpay-Serial": serial})
        assert (status, content["code"]) == (400, "PARAM_ERROR")


# --- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"attach": ""},
        {"goods_tag": None},
        {"scene_info": {"device_ip": "", "store_info": {"id": "1", "out_id": ""}}},
        {"a_field_of_tomorrow": {"x": [1]}},
    ],
)
async def test_contents_as_clients_write_them(client: Client, change: dict[str, Any]) -> None:
    status, content = await client.call("POST", CODEPAY, payment(**change))
    assert (status, content["trade_state"]) == (200, "SUCCESS")


@pytest.mark.parametrize("ending", ["Z", ".250Z", ".000+08:00"])
async def test_times_as_clients_write_them(client: Client, ending: str) -> None:
    order = IDS | {"description": "tea", "out_trade_no": "no-1", "amount": {"total": 1}}
    order |= {"notify_url": "http://127.0.0.1:9/", "time_expire": f"2100-01-31T10:00:00{ending}"}
    assert (await client.call("POST", "/v3/pay/transactions/native", order))[0] == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"out_trade_no": "a" * 33}, "out_trade_no"),
        ({"out_trade_no": "a b"}, "out_trade_no"),
        ({"out_trade_no": None}, "out_trade_no"),
        ({"description": "x" * 128}, "description"),
        ({"description": ""}, "description"),
        ({"payer": {"auth_code": "160000000000000000"}}, "payer.auth_code"),
        ({"payer": {"auth_code": "13000000000000000"}}, "payer.auth_code"),
        ({"payer": {"auth_code": 130000000000000000}}, "payer.auth_code"),
        ({"payer": {}}, "payer.auth_code"),
        ({"payer": "x"}, "payer"),
        ({"amount": {"total": 0}}, "amount.total"),
        ({"amount": {"total": 1.5}}, "amount.total"),
        ({"amount": {"total": True}}, "amount.total"),
        ({"amount": {"total": "1"}}, "amount.total"),
        ({"amount": {"total": 1, "currency": "USD"}}, "amount.currency"),
        ({"scene_info": {"store_info": {}}}, "scene_info.store_info"),
        ({"scene_info": {"device_ip": "here"}}, "scene_info.device_ip"),
        ({"attach": "x" * 129}, "attach"),
        ({"settle_info": {"profit_sharing": 1}}, "settle_info.profit_sharing"),
        ({"detail": {"goods_detail": [{"quantity": 1}]}}, "detail.goods_detail[0].merchant_goods_id"),
    ],
)
async def test_bad_fields(client: Client, change: dict[str, Any], field: str) -> None:
    status, content = await client.call("POST", CODEPAY, payment(**change))
    assert (status, content["code"]) == (400, "PARAM_ERROR")
    assert content["message"].startswith(f"{field}: ")
    assert client.simulator.book() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 20_000])
async def test_bad_bodies(client: Client, body: bytes) -> None:
    status, content = await client.send("POST", CODEPAY, body, client.parameters("POST", CODEPAY, body))
    assert (status, content["code"]) == (400, "PARAM_ERROR")


async def test_a_body_too_large(client: Client) -> None:
    body = b" " * 70_000
    assert (await client.send("POST", CODEPAY, body, client.parameters("POST", CODEPAY, body)))[0] == 413


async def test_the_wrong_merchant_or_app_in_the_body(client: Client) -> None:
    assert (await client.call("POST", CODEPAY, payment(mchid="1")))[1]["code"] == "MCH_NOT_EXISTS"
    assert (await client.call("POST", CODEPAY, payment(appid="wx")))[1]["code"] == "APPID_MCHID_NOT_MATCH"
    target = "/v3/pay/transactions/out-trade-no/no-1?mchid=1"
    assert (await client.call("GET", target))[1]["code"] == "PARAM_ERROR"


async def test_an_unknown_call(client: Client) -> None:
    assert (await client.call("POST", "/v3/pay/transactions/facepay", {}))[0] == 404
    assert (await client.call("GET", CODEPAY))[0] == 405


# --- orders ---------------------------------------------------------------------------------------------------------


async def test_queries_by_both_numbers_agree(client: Client) -> None:
    order = payment(attach="till 4")
    _, paid = await client.call("POST", CODEPAY, order)
    by_number = await client.call("GET", f"/v3/pay/transactions/out-trade-no/{order['out_trade_no']}?mchid=1230000109")
    by_id = await client.call("GET", f"/v3/pay/transactions/id/{paid['transaction_id']}?mchid=1230000109")
    assert by_number == by_id == (200, paid)
    assert (paid["trade_type"], paid["attach"]) == ("MICROPAY", "till 4")
    assert paid["success_time"].endswith("+08:00")


async def test_one_number_one_order(client: Client) -> None:
    order = payment()
    first = await client.call("POST", CODEPAY, order)
    assert await client.call("POST", CODEPAY, order) == first
    status, content = await client.call("POST", CODEPAY, order | {"amount": {"total": 2_000}})
    assert (status, content["code"]) == (403, "OUT_TRADE_NO_USED")


async def test_a_payer_runs_out_of_money(simulator_for: Any, merchant_key: Any) -> None:
    simulator = await simulator_for(accounts={"": Payer("openid", 1_500)})
    async with aiohttp.ClientSession() as session:
        client = Client(session, simulator, merchant_key)
        first, second = payment(), payment()
        assert (await client.call("POST", CODEPAY, first))[0] == 200
        refused = await client.call("POST", CODEPAY, second)
        assert (refused[0], refused[1]["code"]) == (403, "NOT_ENOUGH")
        assert await client.call("POST", CODEPAY, second) == refused
        reverse = f"/v3/pay/transactions/out-trade-no/{first['out_trade_no']}/reverse"
        assert (await client.call("POST", reverse, IDS))[0] == 200
        assert (await client.call("POST", CODEPAY, payment()))[0] == 200


async def test_a_reversal_is_refused_too_early_and_too_late(simulator_for: Any, merchant_key: Any) -> None:
    started_s = time.time()
    now_s = started_s
    simulator = await simulator_for(reversal_after_s=15.0, time_s=lambda: now_s)
    async with aiohttp.ClientSession() as session:
        client = Client(session, simulator, merchant_key)
        order = payment()
        await client.call("POST", CODEPAY, order)
        target = f"/v3/pay/transactions/out-trade-no/{order['out_trade_no']}/reverse"

        async def reverse_after(seconds: float) -> int:
            nonlocal now_s
            now_s = started_s + seconds
            body = json.dumps(IDS).encode()
            parameters = client.parameters("POST", target, body, timestamp=str(int(now_s)))
            return (await client.send("POST", target, body, parameters))[0]

        assert await reverse_after(14.0) == 400
        assert await reverse_after(7 * 86_400 + 1) == 400
        assert await reverse_after(16.0) == 200


async def test_a_native_order_is_closed(client: Client) -> None:
    order = payment(notify_url="https://merchant.example/paid")
    del order["payer"], order["scene_info"]
    number = order["out_trade_no"]
    status, content = await client.call("POST", "/v3/pay/transactions/native", order)
    assert (status, content["code_url"][:24]) == (200, "weixin://wxpay/bizpayurl")
    query = f"/v3/pay/transactions/out-trade-no/{number}?mchid=1230000109"
    assert (await client.call("GET", query))[1]["trade_state"] == "NOTPAY"
    close = f"/v3/pay/transactions/out-trade-no/{number}/close"
    for _ in range(2):
        assert await client.call("POST", close, {"mchid": "1230000109"}) == (204, None)
    assert (await client.call("POST", "/v3/pay/transactions/native", order))[1]["code"] == "ORDER_CLOSED"


async def test_a_paid_order_is_not_closed(client: Client) -> None:
    order = payment()
    await client.call("POST", CODEPAY, order)
    close = f"/v3/pay/transactions/out-trade-no/{order['out_trade_no']}/close"
    assert (await client.call("POST", close, {"mchid": "1230000109"}))[1]["code"] == "INVALID_REQUEST"


# --- refunds --------------------------------------------------------------------------------------------------------


async def test_refunds(client: Client) -> None:
    order = payment()
    _, paid = await client.call("POST", CODEPAY, order)
    amount = {"refund": 300, "total": 1_000, "currency": "CNY"}
    refund = {"transaction_id": paid["transaction_id"], "out_refund_no": "R|1@x", "amount": amount}
    status, accepted = await client.call("POST", REFUNDS, refund)
    assert (status, accepted["status"], accepted["out_trade_no"]) == (200, "PROCESSING", order["out_trade_no"])
    assert (await client.call("GET", f"{REFUNDS}/R%7C1@x"))[1]["refund_id"] == accepted["refund_id"]
    for change in (
        {"amount": amount | {"refund": 301}},
        {"out_refund_no": "R2", "amount": amount | {"refund": 701}},
        {"out_refund_no": "R2", "amount": amount | {"total": 999}},
    ):
        assert (await client.call("POST", REFUNDS, refund | change))[1]["code"] == "INVALID_REQUEST"
    both = refund | {"out_trade_no": order["out_trade_no"], "out_refund_no": "R2"}
    assert (await client.call("POST", REFUNDS, both))[1]["code"] == "PARAM_ERROR"
    missing = refund | {"transaction_id": "1", "out_refund_no": "R2"}
    assert (await client.call("POST", REFUNDS, missing))[1]["code"] == "RESOURCE_NOT_EXISTS"
    reverse = f"/v3/pay/transactions/out-trade-no/{order['out_trade_no']}/reverse"
    assert (await client.call("POST", reverse, IDS))[1]["code"] == "INVALID_REQUEST"


# --- notification and control ---------------------------------------------------------------------------------------


async def test_a_notification_is_signed_and_opens_under_the_apiv3_key(client: Client) -> None:
    order = payment()
    await client.call("POST", CODEPAY, order)
    headers, body = client.simulator.payment_notification(order["out_trade_no"])
    key = codec.PlatformKeys(client.simulator.public_key_pem, client.simulator.public_key_id)
    key.verify(headers, body, time.time())
    resource = json.loads(body)["resource"]
    trade = answers.trade_of(codec.decrypt_resource(resource, b"0123456789abcdef0123456789abcdef"))
    assert (trade.state, trade.out_trade_no, trade.total_fen) == ("SUCCESS", order["out_trade_no"], 1_000)


async def test_the_control_endpoint(client: Client) -> None:
    control = f"http://127.0.0.1:{client.simulator.port}/simulator"
    scenario = {"behaviour": "decline", "code": "51", "amount_minor": 1_000, "times": 1}
    async with client.session.post(f"{control}/scenarios", json=scenario) as response:
        assert response.status == 201
    assert (await client.call("POST", CODEPAY, payment()))[1]["code"] == "NOT_ENOUGH"
    assert (await client.call("POST", CODEPAY, payment()))[0] == 200
    async with client.session.get(f"{control}/book") as response:
        assert [each["trade_state"] for each in await response.json()] == ["PAYERROR", "SUCCESS"]


# --- several merchants ----------------------------------------------------------------------------------------------


async def test_orders_belong_to_their_merchant(simulator_for: Any, merchant: Any, merchant_key: Any) -> None:
    """The same number at two merchants is two orders, and neither finds the other's."""
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    other = WeChatMerchant("wxother", "1230000110", "77AA", pem, b"k" * 32)
    simulator = await simulator_for(merchants=[merchant, other])
    async with aiohttp.ClientSession() as session:
        first = Client(session, simulator, merchant_key)
        order = payment()
        _, paid = await first.call("POST", CODEPAY, order)
        second = Client(session, simulator, other_key)
        second.identity = {"mchid": "1230000110", "serial_no": "77aa"}
        query = f"/v3/pay/transactions/out-trade-no/{order['out_trade_no']}?mchid=1230000110"
        assert (await second.call("GET", query))[1]["code"] == "ORDER_NOT_EXIST"
        assert (await second.call("POST", CODEPAY, order))[1]["code"] == "APPID_MCHID_NOT_MATCH"
        theirs = payment(appid="wxother", mchid="1230000110", out_trade_no=order["out_trade_no"])
        status, also_paid = await second.call("POST", CODEPAY, theirs)
        assert (status, also_paid["mchid"]) == (200, "1230000110")
        assert also_paid["transaction_id"] != paid["transaction_id"]
    assert [each["mchid"] for each in simulator.book()] == ["1230000109", "1230000110"]


def test_two_merchants_of_one_number_are_refused(merchant: WeChatMerchant) -> None:
    with pytest.raises(ValueError, match="same mchid"):
        WeChatSimulator([merchant, merchant])


@pytest.mark.parametrize(
    ("behaviour", "status", "said"),
    [
        ("approve", 200, "SUCCESS"),
        ("insufficient_funds", 403, "NOT_ENOUGH"),
        ("user_paying", 200, "USERPAYING"),
        ("user_paying_then_declined", 200, "USERPAYING"),
        ("invalid", 400, "AUTH_CODE_INVALID"),
    ],
)
async def test_a_clients_code_shows_its_behaviour_every_time(
    client: Client, behaviour: str, status: int, said: str
) -> None:
    for _ in range(2):
        answer = await client.call("POST", CODEPAY, payment(payer={"auth_code": client_codes()[behaviour]}))
        assert (answer[0], answer[1].get("trade_state") or answer[1]["code"]) == (status, said)


async def test_the_silent_code_is_booked_and_never_answered(client: Client) -> None:
    order = payment(payer={"auth_code": client_codes()["silent"]})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.call("POST", CODEPAY, order), 0.2)
    query = f"/v3/pay/transactions/out-trade-no/{order['out_trade_no']}?mchid=1230000109"
    assert (await client.call("GET", query))[1]["trade_state"] == "SUCCESS"


async def test_https_beside_http(simulator_for: Any, merchant_key: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(pair.certificate, pair.private_key)
    simulator = await simulator_for(tls=served)
    trusting = ssl.create_default_context(cafile=str(authority.ensure()))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
        client = Client(session, simulator, merchant_key)
        client.origin = f"https://127.0.0.1:{simulator.tls_port}"
        assert (await client.call("POST", CODEPAY, payment()))[1]["trade_state"] == "SUCCESS"
