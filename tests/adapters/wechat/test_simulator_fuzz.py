"""Well-signed nonsense into the simulator: each is refused with a real code, and the books still balance."""

import base64
import json
import random
import secrets
import time
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from yarl import URL

from adapters.wechat.simulator import Payer
from adapters.wechat.simulator.v2_xml import read_xml, sign, write_xml

MCHID, SERIAL, V2_KEY = "1230000109", "3775B6A45ACD588826D15E583A95F5DD", "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
IDS = {"appid": "wxd678efh567hg6787", "mchid": MCHID}
RICH = 10**9
CALLS = [
    ("POST", "/v3/pay/transactions/codepay", IDS | {
        "description": "x", "out_trade_no": "F1", "payer": {"auth_code": "130000000000001234"},
        "amount": {"total": 100, "currency": "CNY"}, "scene_info": {"device_ip": "1.2.3.4", "store_info": {"id": "1"}},
    }),
    ("POST", "/v3/pay/transactions/native", IDS | {
        "description": "x", "out_trade_no": "F2", "notify_url": "http://127.0.0.1:9/", "amount": {"total": 100},
    }),
    ("POST", "/v3/pay/transactions/out-trade-no/F1/reverse", IDS),
    ("POST", "/v3/pay/transactions/out-trade-no/F2/close", {"mchid": MCHID}),
    ("POST", "/v3/refund/domestic/refunds", {
        "out_trade_no": "F1", "out_refund_no": "R1", "amount": {"refund": 1, "total": 100, "currency": "CNY"},
    }),
    ("POST", "/v3/refund/domestic/refunds/50/apply-abnormal-refund", {"out_refund_no": "R1", "type": "USER_BANK_CARD"}),
    ("GET", f"/v3/pay/transactions/out-trade-no/F1?mchid={MCHID}", None),
    ("GET", f"/v3/pay/transactions/id/42?mchid={MCHID}", None),
    ("GET", "/v3/refund/domestic/refunds/R1", None),
    ("GET", "/v3/bill/tradebill?bill_date=2026-03-01&bill_type=ALL&tar_type=GZIP", None),
    ("GET", "/v3/bill/fundflowbill?bill_date=2026-03-01&account_type=BASIC", None),
    ("GET", "/v3/billdownload/file?token=abc", None),
    ("GET", "/v3/certificates", None),
]  # fmt: skip
NONSENSE: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    2**40,
    "",
    "x" * 300,
    "\u0000",
    "13０",
    [],
    {},
    [[]],
    {"a": {}},
    "../..",
    "%2e",
]
REAL_CODES = {
    "PARAM_ERROR", "INVALID_REQUEST", "ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS", "NO_STATEMENT_EXIST", "ORDER_CLOSED",
    "OUT_TRADE_NO_USED", "APPID_MCHID_NOT_MATCH", "MCH_NOT_EXISTS", "AUTH_CODE_INVALID", "ORDER_REVERSED", "NOT_ENOUGH",
}  # fmt: skip


def mutated(content: Any, chance: random.Random) -> Any:
    """One field somewhere inside replaced, removed or added."""
    if not isinstance(content, dict) or not content:
        return chance.choice(NONSENSE)
    name = chance.choice(sorted(content))
    changed = dict(content)
    match chance.randrange(4):
        case 0:
            del changed[name]
        case 1:
            changed[chance.choice(["extra", "sub_mchid", name + "x"])] = chance.choice(NONSENSE)
        case _:
            changed[name] = mutated(content[name], chance)
    return changed


def mutated_target(target: str, chance: random.Random) -> str:
    path, _, query = target.partition("?")
    end = chance.choice(["", "x" * 70, "%00", "%E4%B8%AD", "|", ".", "&mchid=1", "?mchid=", "?a=b&a=b"])
    return path + end + (f"?{query}" if query and chance.random() < 0.5 else "")


@pytest.mark.parametrize("seed", range(3))
async def test_mutated_calls_are_refused_and_move_no_money(
    simulator_for: Any, merchant_key: rsa.RSAPrivateKey, seed: int
) -> None:
    chance, payer = random.Random(seed), Payer("openid", RICH)
    simulator = await simulator_for(accounts={"": payer})
    [book] = simulator.world.books.values()
    async with aiohttp.ClientSession() as session:
        for _ in range(150):
            method, target, content = chance.choice(CALLS)
            if content is not None:
                content = mutated(content, chance)
            if content is None or chance.random() < 0.3:
                target = mutated_target(target, chance)
            body = b"" if content is None and method == "GET" else json.dumps(content).encode()
            status, answer = await _call(session, simulator, merchant_key, method, target, body)
            assert status < 500, (method, target, body)
            if status >= 400:
                assert json.loads(answer)["code"] in REAL_CODES, (method, target, body, answer)
            # What the payer paid is what the merchant got and the platform kept.
            orders, refunds = book.orders(simulator.world.now_ms()), book.refunds(simulator.world.now_ms())
            paid = sum(each.total_fen for each in orders if each.paid_ms and not each.revoked_ms)
            arrived = sum(each.refund_fen for each in refunds if each.status == "SUCCESS")
            assert payer.balance_fen == RICH - paid + arrived


async def _call(
    session: aiohttp.ClientSession, simulator: Any, key: rsa.RSAPrivateKey, method: str, target: str, body: bytes
) -> tuple[int, bytes]:
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    text = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signature = base64.b64encode(key.sign(text, padding.PKCS1v15(), SHA256())).decode()
    parameters = f'mchid="{MCHID}",nonce_str="{nonce}",timestamp="{timestamp}",serial_no="{SERIAL}"'
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Wechatpay-Serial": simulator.public_key_id,
        "Authorization": f'WECHATPAY2-SHA256-RSA2048 {parameters},signature="{signature}"',
    }
    url = URL(f"http://127.0.0.1:{simulator.port}{target}", encoded=True)
    async with session.request(method, url, data=body or None, headers=headers) as response:
        return response.status, await response.read()


V2_CALL = {
    "appid": "wxd678efh567hg6787", "mch_id": MCHID, "nonce_str": "n", "body": "x", "out_trade_no": "F1",
    "total_fee": "100", "auth_code": "130000000000001234", "spbill_create_ip": "1.2.3.4",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auth_code": "1"}, "auth_code is wrong"),
        ({"total_fee": "0"}, "total_fee is wrong"),
        ({"total_fee": "1.5"}, "total_fee is wrong"),
        ({"total_fee": ""}, "total_fee is missing"),
        ({"appid": "wx"}, "appid and mch_id do not match"),
        ({"mch_id": "1"}, "mch_id is not known, or has no key for this API"),
        ({"sign_type": "SHA1"}, "sign_type is wrong"),
        ({"sign": "0" * 32}, "签名错误"),
        ({"sign": ""}, "签名错误"),
    ],
)
async def test_v2_refuses_what_is_not_well_said(simulator: Any, change: dict[str, str], said: str) -> None:
    fields = V2_CALL | change
    if "sign" not in change:
        fields["sign"] = sign(fields, V2_KEY, fields.get("sign_type", "MD5"))
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{simulator.port}/pay/micropay"
        async with session.post(url, data=write_xml(fields)) as response:
            told = read_xml(await response.read())
    assert (told["return_code"], told["return_msg"]) == ("FAIL", said)
    assert simulator.book() == []


async def test_v2_refuses_a_document_type(simulator: Any) -> None:
    body = b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><body>&a;</body></xml>'
    url = f"http://127.0.0.1:{simulator.port}/pay/micropay"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as response:
        told = read_xml(await response.read())
    assert told["return_msg"] == "document types and entities are refused"


async def test_v2_takes_the_key_of_v2_only_from_those_who_have_one(simulator_for: Any, merchant: Any) -> None:
    bare = type(merchant)(merchant.appid, merchant.mchid, merchant.serial_no, merchant.public_key_pem, b"k" * 32)
    simulator = await simulator_for(merchants=[bare])
    fields = V2_CALL | {"sign": sign(V2_CALL, "", "MD5")}
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{simulator.port}/pay/micropay"
        async with session.post(url, data=write_xml(fields)) as response:
            assert read_xml(await response.read())["return_code"] == "FAIL"
    assert simulator.book() == []
