"""Alipay's own Node client, `alipay-sdk`, drives the simulator: unpatched, but for the URL (`node/alipay.mjs`)."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from alipay_gateway import APP_ID, Gateway, client_key, gateway, private_pem
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat

from adapters.alipay.simulator import client_codes

__all__ = ["client_key", "gateway"]

SCRIPT = Path(__file__).parent / "node" / "alipay.mjs"
CODES = client_codes()
PAYMENT = {
    "outTradeNo": "o1",
    "scene": "bar_code",
    "authCode": CODES["approve"],
    "subject": "早点 and tea",
    "totalAmount": "12.34",
}


def node() -> str:
    """The one among the locked requirements, before the system's."""
    found = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, "no Node.js: `make node` installs it"
    return found


async def driven(gateway: Gateway, config: dict[str, Any], **asked: Any) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        node(), str(SCRIPT),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(gateway.ca_file)},
    )  # fmt: skip
    output, errors = await process.communicate(json.dumps({"config": config} | asked).encode())
    assert process.returncode == 0, errors.decode()
    return dict(json.loads(output))


def with_public_key(gateway: Gateway, /, **changes: str) -> dict[str, Any]:
    config = {
        "appId": APP_ID,
        "privateKey": private_pem(gateway.key),
        "alipayPublicKey": gateway.simulator.public_key_pem,
        "gateway": gateway.simulator.gateway_url,
        "encryptKey": gateway.aes_key,
    }
    return config | changes


def with_certificates(gateway: Gateway) -> dict[str, Any]:
    config = with_public_key(gateway, privateKey=private_pem(gateway.key, PrivateFormat.PKCS8), keyType="PKCS8")
    del config["alipayPublicKey"]
    authority = gateway.simulator.authority
    return config | {
        "appCertContent": gateway.simulator.application_certificate_pem(APP_ID),
        "alipayPublicCertContent": authority.platform_certificate_pem,
        "alipayRootCertContent": authority.root_certificates_pem,
    }


def configured(gateway: Gateway, mode: str) -> dict[str, Any]:
    if mode == "certificates":
        return with_certificates(gateway)
    return with_public_key(gateway, gateway=gateway.tls_url) if mode == "https" else with_public_key(gateway)


def every_call(notify_url: str, encrypted: bool = False) -> list[dict[str, Any]]:
    order = {"outTradeNo": "o2", "subject": "tea", "totalAmount": "3.00"}
    refund = {"outTradeNo": "o1", "refundAmount": "2.34", "outRequestNo": "r1"}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("alipay.trade.pay", PAYMENT),
        ("alipay.trade.query", {"outTradeNo": "o1"}),
        ("alipay.trade.refund", refund),
        ("alipay.trade.refund", refund),
        ("alipay.trade.refund", refund | {"refundAmount": "10.01", "outRequestNo": "r2"}),
        ("alipay.trade.fastpay.refund.query", {"outTradeNo": "o1", "outRequestNo": "r1"}),
        ("alipay.trade.precreate", order),
        ("alipay.trade.cancel", {"outTradeNo": "o2"}),
        ("alipay.trade.create", order | {"outTradeNo": "o3", "buyerId": "2088000000000001"}),
        ("alipay.trade.close", {"outTradeNo": "o3"}),
        ("alipay.data.dataservice.bill.downloadurl.query", {"billType": "trade", "billDate": "2025-01-31"}),
    ]
    common = {"notifyUrl": notify_url, "needEncrypt": encrypted}
    return [{"method": method, "params": common | {"bizContent": content}} for method, content in calls]


@pytest.mark.parametrize("mode", ["public key", "certificates", "https", "encrypted"])
async def test_every_call(gateway: Gateway, mode: str) -> None:
    calls = every_call(gateway.notify_url, encrypted=mode == "encrypted")
    answers = (await driven(gateway, configured(gateway, mode), calls=calls))["answers"]
    assert [each.get("error") for each in answers] == [None] * len(calls)
    assert [(each["code"], each.get("subCode")) for each in answers] == [
        *[("10000", None)] * 4,
        ("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"),
        *[("10000", None)] * 5,
        ("40004", "isp.bill_not_exist"),
    ]
    pay, query, refund, again, _, asked, order, cancelled, _, closed, _ = answers
    assert pay["totalAmount"] == "12.34"
    assert (query["tradeStatus"], query["tradeNo"]) == ("TRADE_SUCCESS", pay["tradeNo"])
    assert (refund["fundChange"], again["fundChange"]) == ("Y", "N")
    assert (asked["refundStatus"], asked["refundAmount"]) == ("REFUND_SUCCESS", "2.34")
    assert order["qrCode"].startswith("https://qr.alipay.com/")
    assert (cancelled["retryFlag"], cancelled["action"], closed["outTradeNo"]) == ("N", "close", "o3")
    # Payment, refund and the closing of what was created are told; an order that nobody scanned was no trade.
    await gateway.until_notified(3)
    notifications = [*gateway.notified, gateway.notified[0] | {"total_amount": "0.01"}]
    verified = (await driven(gateway, configured(gateway, mode), notifications=notifications))["verified"]
    assert verified == [[True, True]] * 3 + [[False, False]]


async def test_an_encrypted_answer_is_signed_with_its_quotes(gateway: Gateway) -> None:
    asked = {"method": "alipay.trade.pay", "bizContent": PAYMENT}
    result = (await driven(gateway, with_public_key(gateway), encrypted=asked))["encrypted"]
    assert result["signed"]
    assert (result["answer"]["code"], result["answer"]["out_trade_no"]) == ("10000", "o1")


async def test_refusals_and_payers_who_take_time(gateway: Gateway) -> None:
    behaviours = ("insufficient_funds", "invalid", "user_paying", "user_paying_then_declined")
    calls = [
        {
            "method": "alipay.trade.pay",
            "params": {"bizContent": PAYMENT | {"outTradeNo": name, "authCode": CODES[name]}},
        }
        for name in behaviours
    ]
    answers = (await driven(gateway, with_public_key(gateway), calls=calls))["answers"]
    assert [(each["code"], each.get("subCode")) for each in answers] == [
        ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH"),
        ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID"),
        ("10003", None),
        ("10003", None),
    ]


async def test_keys_that_do_not_fit(gateway: Gateway) -> None:
    other = private_pem(rsa.generate_private_key(public_exponent=65_537, key_size=2_048))
    query = [{"method": "alipay.trade.query", "params": {"bizContent": {"outTradeNo": "o1"}}}]
    wrong_key = await driven(gateway, with_public_key(gateway, privateKey=other), calls=query)
    assert wrong_key["answers"][0]["subCode"] == "isv.invalid-signature"
    config = with_public_key(gateway, alipayPublicKey=gateway.simulator.authority.key.public_key_pem)
    wrong_answer = await driven(gateway, config, calls=query)
    assert "验签失败" in wrong_answer["answers"][0]["error"]
    config = with_public_key(gateway, encryptKey="AAAAAAAAAAAAAAAAAAAAAA==")
    query[0]["params"]["needEncrypt"] = True
    wrong_content_key = await driven(gateway, config, calls=query)
    assert wrong_content_key["answers"][0]["subCode"] == "isv.decryption-error-unknown"
