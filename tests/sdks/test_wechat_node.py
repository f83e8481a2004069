"""WeChat Pay's Node clients against the simulator: `wechatpay-axios-plugin` (API v3 and v2) and `wechatpay-node-v3`.

The scripts make the calls, verify and decrypt with the SDKs' own functions and say what they saw; it is judged here.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from node import run_node
from wechat_scene import APIV3_KEY, APPID, MCHID, SERIAL, V2_KEY, WeChatClient, wechat_client

from adapters.wechat.simulator import client_codes

pytestmark = pytest.mark.usefixtures("clear_of_midnight")


@pytest.fixture
async def wechat(tmp_path: Path) -> AsyncIterator[WeChatClient]:
    async with wechat_client(tmp_path) as client:
        yield client


def given(wechat: WeChatClient, **more: str) -> dict[str, Any]:
    simulator = wechat.simulator
    return {
        "base_url": wechat.url,
        "control_url": wechat.url,
        "appid": APPID,
        "mchid": MCHID,
        "serial_no": SERIAL,
        "private_key": wechat.private_key_pem,
        "public_key": simulator.public_key_pem,
        "public_key_id": simulator.public_key_id,
        "certificate": simulator.certificate_pem,
        "certificate_serial_no": simulator.certificate_serial_no,
        "apiv3_key": APIV3_KEY,
        "v2_key": V2_KEY,
        "codes": client_codes(),
        "today": datetime.now(ZoneInfo("Asia/Shanghai")).strftime("%Y-%m-%d"),
    } | more


@pytest.mark.parametrize("mode", ["public key", "certificate", "certificate over https"])
async def test_wechatpay_axios_plugin(wechat: WeChatClient, mode: str) -> None:
    more = {"mode": mode.removesuffix(" over https")}
    if mode.endswith("https"):
        more |= {"base_url": wechat.tls_url, "ca_file": str(wechat.ca_file)}
    told = await run_node("wechat_axios.mjs", given(wechat, **more))
    trade_summary, flow_summary = (told["v3"]["bills"][which].pop() for which in (0, 1))
    assert told["v3"] == {
        "paid": ["SUCCESS", 1_234],
        "queries_agree": True,
        "insufficient": [403, "NOT_ENOUGH"],
        "user_paying": "USERPAYING",
        "reversed": 200,
        "after_reversal": "REVOKED",
        "notified": [True, False, "TRANSACTION.SUCCESS", "SUCCESS"],
        "refund": "PROCESSING",
        "refund_notified": [True, False, "REFUND.SUCCESS", "SUCCESS"],
        "refund_query": "SUCCESS",
        "closed": [204, ""],
        "prepaid": ["prepay_id", "prepay_id", "h5_url"],
        # Three payments, a reversal and a refund, each with its fee but the last, whose fee comes back too.
        "bills": [[True, 5], [True, 10]],
        "certificate": True,
    }
    assert list(trade_summary.values())[:3] == ["5", "37.02", "22.34"]
    assert next(iter(flow_summary.values())) == "10"
    assert told["v2"] == {
        "paid": [[32, "SUCCESS", True], [64, "SUCCESS", True]],
        "insufficient": [200, "NOTENOUGH"],
        "user_paying": [200, "USERPAYING"],
        "refund": "SUCCESS",
        "recall": "N",
    }


async def test_wechatpay_node_v3(wechat: WeChatClient) -> None:
    told = await run_node("wechat_node_v3.mjs", given(wechat, merchant_certificate=_certificate(wechat)))
    assert told == {
        "serials": [wechat.simulator.certificate_serial_no],
        "unpaid": "NOTPAY",
        "notified": [True, False, "TRANSACTION.SUCCESS", "SUCCESS"],
        "paid": "SUCCESS",
        "by_id": True,
        "refund": ["PROCESSING", "SUCCESS"],
        "closed": 204,
        "prepaid": ["h5_url", MCHID, "prepay_id=wx"],
        "bills": [True, True],
        "missing": "ORDER_NOT_EXIST",
    }


def _certificate(wechat: WeChatClient) -> str:
    """The merchant's API certificate, from which this SDK would take the serial number if it were given none."""
    key: Any = load_pem_private_key(wechat.private_key_pem.encode(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, MCHID)])
    now = datetime.now(ZoneInfo("UTC"))
    builder = x509.CertificateBuilder(name, name, key.public_key(), int(SERIAL, 16), now, now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
