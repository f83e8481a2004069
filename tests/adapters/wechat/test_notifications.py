"""What the platform says by itself: believed only whole, and then only a reason to ask."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.wechat.metrics import REFUSED_NOTIFICATIONS
from adapters.wechat.simulator.notifications import Notifier
from switch.domain.states import Operation
from switch.ports import Notice, NotificationRefused

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
async def told(till: Any, simulator: Any) -> tuple[dict[str, str], bytes, str]:
    """Headers and body of a payment's notification, and its out_trade_no."""
    sale = till.sale()
    await till.do_one(sale)
    number = sale.trace["out_trade_no"]
    headers, body = simulator.payment_notification(number)
    return headers, body, number


def refusal(till: Any, headers: dict[str, str], body: bytes) -> str:
    """The cause, which is counted."""
    with pytest.raises(NotificationRefused) as refused:
        till.channel.read_notification(headers, body)
    cause = refused.value.cause
    before: float = REFUSED_NOTIFICATIONS.labels(cause)._value.get()
    with pytest.raises(NotificationRefused):
        till.channel.read_notification(headers, body)
    assert REFUSED_NOTIFICATIONS.labels(cause)._value.get() == before + 1
    return cause


def resigned(simulator: Any, body: bytes) -> tuple[dict[str, str], bytes]:
    return simulator.world.platform.headers(body, simulator.public_key_id), body


async def test_a_payment(till: Any, told: Any) -> None:
    headers, body, number = told
    notice = till.channel.read_notification(headers, body)
    assert notice == Notice("wechat", number, "", json.loads(body)["id"], "SUCCESS")
    assert till.channel.read_notification({name.upper(): value for name, value in headers.items()}, body) == notice


async def test_a_refund(till: Any, simulator: Any) -> None:
    sale = till.sale()
    await till.do_one(sale)
    refund = till.follow(sale, Operation.REFUND, 300)
    await till.do_one(refund)
    simulator.world.ahead_s += 61.0
    [book] = simulator.world.books.values()
    [entry] = book.refunds(simulator.world.now_ms())
    notifier: Notifier = simulator.world.notifier
    notice = till.channel.read_notification(*resigned(simulator, notifier.refund(book.merchant, entry)))
    assert (notice.reference, notice.refund_reference) == (sale.trace["out_trade_no"], refund.trace["out_refund_no"])
    assert notice.said == "SUCCESS"


async def test_one_of_an_unknown_order_is_only_a_name(till: Any, simulator: Any) -> None:
    """Whether there is such an order is for the caller to find out: nothing here depends on it."""
    content = {"mchid": "1230000109", "out_trade_no": "never-heard-of", "trade_state": "SUCCESS"}
    notice = till.channel.read_notification(*resigned(simulator, event(content)))
    assert notice.reference == "never-heard-of"


def event(content: Any, key: bytes = KEY, **changes: Any) -> bytes:
    plain = content if isinstance(content, bytes) else json.dumps(content).encode()
    sealed = AESGCM(key).encrypt(b"abcdefghijkl", plain, b"transaction")
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": "abcdefghijkl",
        "associated_data": "transaction",
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    return json.dumps({"id": "EV-1", "event_type": "TRANSACTION.SUCCESS", "resource": resource} | changes).encode()


@pytest.mark.parametrize(
    ("header", "value", "cause"),
    [
        ("Wechatpay-Signature", None, "forged"),
        ("Wechatpay-Timestamp", None, "forged"),
        ("Wechatpay-Signature", base64.b64encode(b"x" * 256).decode(), "forged"),
        ("Wechatpay-Signature", "!", "malformed"),
        ("Wechatpay-Nonce", "another", "forged"),
        pytest.param("Wechatpay-Timestamp", str(int(time.time()) - 3_600), "expired", id="an hour late"),
        pytest.param("Wechatpay-Timestamp", str(int(time.time()) + 3_600), "expired", id="an hour early"),
        ("Wechatpay-Timestamp", "now", "malformed"),
        ("Wechatpay-Serial", "PUB_KEY_ID_0", "foreign"),
        ("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "malformed"),
    ],
)
async def test_wrong_headers(till: Any, told: Any, header: str, value: str | None, cause: str) -> None:
    headers, body, _ = told
    changed = {name: each for name, each in headers.items() if name != header}
    if value is not None:
        changed[header] = value
    assert refusal(till, changed, body) == cause


async def test_a_changed_body(till: Any, told: Any) -> None:
    headers, body, _ = told
    assert refusal(till, headers, body.replace(b"SUCCESS", b"CLOSED!", 1)) == "forged"


async def test_a_replay_after_five_minutes(till: Any, simulator: Any, told: Any) -> None:
    _, body, _ = told
    simulator.world.ahead_s = -301.0
    assert refusal(till, *resigned(simulator, body)) == "expired"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"[" * 20_000, "malformed"),
        (b"\xff", "malformed"),
        (b" " * 70_000, "malformed"),
        (event({}, resource="x"), "malformed"),
        (event({}, resource={}), "foreign"),
        (event({"mchid": "1230000109"}, key=b"x" * 32), "foreign"),
        (event({"mchid": "1230000110", "out_trade_no": "1", "trade_state": "SUCCESS"}), "foreign"),
        (event({"mchid": "1230000109", "trade_state": "SUCCESS"}), "malformed"),
        (event({"mchid": "1230000109", "out_trade_no": 1, "trade_state": "SUCCESS"}), "malformed"),
        (event({"mchid": "1230000109", "out_trade_no": "1", "trade_state": "X" * 65}), "malformed"),
        (event({"mchid": "1230000109", "out_trade_no": "1"}, event_type="COUPON.USE"), "malformed"),
        (event({"mchid": "1230000109", "out_trade_no": "1", "refund_status": "SUCCESS"}, event_type="REFUND.SUCCESS"),
         "malformed"),
        (event(b"\x00"), "malformed"),
        (event({"mchid": "1230000109", "out_trade_no": "1", "trade_state": "S"}, id=None), "malformed"),
    ],
    ids=range(16),
)  # fmt: skip
async def test_well_signed_but_wrong(till: Any, simulator: Any, body: bytes, cause: str) -> None:
    assert refusal(till, *resigned(simulator, body)) == cause


async def test_without_an_apiv3_key_nothing_opens(till_for: Any, settings_for: Any, simulator: Any, told: Any) -> None:
    headers, body, _ = told
    assert refusal(await till_for(settings_for(simulator, apiv3_key=b"")), headers, body) == "foreign"


async def test_a_merchant_of_v2_is_told_nothing(
    till_for: Any, settings_for: Any, simulator: Any, told: Any, v2_settings: Any
) -> None:
    headers, body, _ = told
    assert refusal(await till_for(settings_for(simulator, **v2_settings)), headers, body) == "foreign"


async def test_answers_to_the_platform(till: Any) -> None:
    assert till.channel.notification_answer(True) == (204, "application/json", b"")
    status, content_type, body = till.channel.notification_answer(False)
    assert (status, content_type, json.loads(body)["code"]) == (500, "application/json", "FAIL")
