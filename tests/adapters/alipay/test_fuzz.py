"""Whole requests into the simulator, whole answers into the channel's operations: no money moves by accident."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from adapters.alipay.codec import AlipayError, Answer
from adapters.alipay.operations import Message, Terms, message_for
from adapters.alipay.simulator import AlipayApplication, AlipaySimulator, Payer
from switch.domain.authorization import Authorization, CodeCredential, Merchant
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.sensitive import PaymentCode
from switch.domain.states import EntryMode, Operation
from switch.ports import Approved, AwaitingPayer, ChannelRequest, Declined, Unknown

APP_ID = "2021000000000001"
MONEY_MINOR = 10**9


class Scene:
    """A simulator on a loop of its own, which hypothesis drives from outside."""

    def __init__(self, runner: asyncio.Runner, key: rsa.RSAPrivateKey, public_pem: str) -> None:
        self.runner = runner
        self.key = key
        self.payer = Payer("li", MONEY_MINOR)
        self.simulator = AlipaySimulator([AlipayApplication(APP_ID, public_pem)], accounts={"": self.payer})
        self.session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        await self.simulator.start()
        self.session = aiohttp.ClientSession()

    async def close(self) -> None:
        assert self.session is not None
        await self.session.close()
        await self.simulator.close()

    def signed(self, method: str, biz_content: str, **changes: str) -> dict[str, str]:
        parameters = {
            "app_id": APP_ID, "charset": "utf-8", "sign_type": "RSA2", "timestamp": "2025-01-31 23:59:59",
            "version": "1.0", "method": method, "biz_content": biz_content,
        } | changes  # fmt: skip
        text = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters) if parameters[name])
        return parameters | {
            "sign": base64.b64encode(self.key.sign(text.encode(), padding.PKCS1v15(), SHA256())).decode()
        }

    def post(self, query: bytes, body: bytes) -> dict[str, Any]:
        return self.runner.run(self._post(query, body))

    async def _post(self, query: bytes, body: bytes) -> dict[str, Any]:
        """The inner value; its signature is checked over the raw bytes, which HTTP 200 always brings."""
        assert self.session is not None
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url = f"{self.simulator.gateway_url}?{query.decode('ascii')}"
        async with self.session.post(URL(url, encoded=True), data=body, headers=headers) as response:
            assert response.status == 200
            answer = await response.read()
        start, end = answer.index(b'":') + 2, answer.rindex(b',"sign":"')
        key = load_pem_public_key(self.simulator.public_key_pem.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(base64.b64decode(json.loads(answer)["sign"]), answer[start:end], padding.PKCS1v15(), SHA256())
        return dict(json.loads(answer[start:end]))

    def books_agree(self) -> None:
        """What left the payer and did not come back is what the book says was paid."""
        paid = 0
        for entry in self.simulator.book():
            assert entry["payments"] in (0, 1)
            assert 0 <= entry["refunded_minor"] <= entry["amount_minor"]
            cancelled = entry["amount_minor"] if entry["cancelled"] else 0
            paid += entry["payments"] * (entry["amount_minor"] - max(entry["refunded_minor"], cancelled))
        assert self.payer.balance_minor == MONEY_MINOR - paid


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    public_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with asyncio.Runner() as runner:
        scene = Scene(runner, key, public_pem)
        runner.run(scene.open())
        yield scene
        runner.run(scene.close())


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PAYMENT = {"out_trade_no": "o1", "scene": "bar_code", "auth_code": "285012345678901234", "subject": "tea"}


@fuzz
@given(st.data())
def test_a_signed_request_that_was_changed_moves_nothing(scene: Scene, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 10**15))
    content = PAYMENT | {"out_trade_no": f"o{number}", "auth_code": f"28{number:016d}", "total_amount": "1.00"}
    parameters = scene.signed("alipay.trade.pay", json.dumps(content))
    name = data.draw(st.sampled_from(sorted(parameters)))
    value = parameters[name]
    at = data.draw(st.integers(0, max(0, len(value) - 1)))
    changed = value[:at] + data.draw(st.text(max_size=3)) + value[at + 1 :]
    before = scene.simulator.book()
    body = urlencode(parameters | {name: changed}).encode("ascii")
    answer = scene.post(b"", body)
    if changed == value:
        assert answer["code"] == "10000"
    else:
        assert answer["code"] in ("40001", "40002")
        assert scene.simulator.book() == before
    scene.books_agree()


@fuzz
@given(st.binary(max_size=80), st.sampled_from([b"", b"app_id=2021000000000001", b"method=alipay.trade.pay"]))
def test_bytes_are_answered_with_a_signed_refusal(scene: Scene, body: bytes, query: bytes) -> None:
    assert scene.post(query, body)["code"] in ("40001", "40002")
    scene.books_agree()


_CALLS = st.tuples(
    st.sampled_from(["pay", "precreate", "query", "cancel", "close", "refund", "fastpay.refund.query", "create"]),
    st.sampled_from(["o1", "o2", "o3"]),
    st.sampled_from(["0.01", "1.00", "1.01", "5.00", "9999999.00"]),
    st.sampled_from(["r1", "r2"]),
    st.integers(0, 4),
)


@fuzz
@given(st.integers(0, 10**12), st.lists(_CALLS, max_size=12))
def test_whatever_is_called_in_whatever_order_the_books_agree(
    scene: Scene, run: int, calls: list[tuple[str, str, str, str, int]]
) -> None:
    for kind, order, amount, request_no, code in calls:
        content = PAYMENT | {
            "out_trade_no": f"{run}_{order}", "auth_code": f"28{run:013d}{code:03d}", "total_amount": amount,
            "refund_amount": amount, "out_request_no": request_no, "buyer_id": "2088000000000001",
        }  # fmt: skip
        answer = scene.post(b"", urlencode(scene.signed(f"alipay.trade.{kind}", json.dumps(content))).encode())
        assert answer["code"] in ("10000", "10003", "40004")
        scene.books_agree()


# --- answers into the channel ---------------------------------------------------------------------------------------


def request_of(operation: Operation, ordered: bool) -> ChannelRequest:
    money = Money(100, "CNY")
    authorization = Authorization(
        id=computed_id("acq", "m1", 1_700_000_000_000, "1"), acquirer_id="acq", merchant_id="m1", terminal_id="t",
        merchant_category_code="5999", operation=Operation.ORDER if ordered else Operation.SALE, money=money,
        entry=EntryMode.PAYER_CODE, masked_credential="",
    )  # fmt: skip
    code = CodeCredential("alipay", PaymentCode("285012345678901234"))
    trace = {"out_trade_no": "mine"} | ({"out_request_no": "r1"} if operation is Operation.REFUND else {})
    return ChannelRequest(operation, authorization, money, code, Merchant("m1"), 0.0, trace=trace)


_WORDS: dict[str, list[Any]] = {
    "code": ["10000", "10003", "20000", "40002", "40004", "40006", "99999", ""],
    "sub_code": [
        "",
        "ACQ.TRADE_NOT_EXIST",
        "ACQ.TRADE_HAS_SUCCESS",
        "ACQ.SYSTEM_ERROR",
        "ACQ.BUYER_BALANCE_NOT_ENOUGH",
    ],
    "out_trade_no": ["mine", "another", 5],
    "trade_no": ["1", "", ["1"]],
    "total_amount": ["1.00", "0.99", "", "1e2"],
    "trade_status": ["TRADE_SUCCESS", "TRADE_FINISHED", "WAIT_BUYER_PAY", "TRADE_CLOSED", "DANCING"],
    "retry_flag": ["Y", "N", "?"],
    "fund_change": ["Y", "N"],
    "refund_fee": ["1.00", "0.50", "x"],
    "refund_status": ["REFUND_SUCCESS", "REFUND_FAIL"],
    "refund_amount": ["1.00", "0.50"],
    "out_request_no": ["r1", "r2"],
    "qr_code": ["https://qr.alipay.com/bax1", "", 7],
}
_FIELDS = st.fixed_dictionaries({}, optional={name: st.sampled_from(words) for name, words in _WORDS.items()})
_ASKED = [Operation.SALE, Operation.ORDER, Operation.INQUIRY, Operation.REVERSAL, Operation.VOID, Operation.REFUND]


@settings(max_examples=600)
@example(Operation.INQUIRY, False, {"code": "10003", "sub_code": "ACQ.TRADE_NOT_EXIST"})
@example(Operation.REVERSAL, False, {"code": "20000", "sub_code": "ACQ.TRADE_HAS_CLOSE"})
@given(st.sampled_from(_ASKED), st.booleans(), _FIELDS)
def test_money_is_believed_moved_only_for_this_trade_and_amount(
    operation: Operation, ordered: bool, fields: dict[str, Any]
) -> None:
    message = message_for(request_of(operation, ordered), Terms("2m"))
    assert isinstance(message, Message)
    answer = Answer(str(fields.get("code", "")), str(fields.get("sub_code", "")), fields)
    try:
        result = message.read(answer)
    except AlipayError:
        return
    assert isinstance(result, Approved | AwaitingPayer | Declined | Unknown | Message)
    if isinstance(result, Approved) and (answer.code, answer.sub_code) != ("40004", "ACQ.TRADE_HAS_CLOSE"):
        assert (answer.code, fields["out_trade_no"]) == ("10000", "mine")
        if operation in (Operation.SALE, Operation.INQUIRY):
            assert fields["total_amount"] == "1.00"
            assert fields.get("trade_status", "TRADE_SUCCESS") in ("TRADE_SUCCESS", "TRADE_FINISHED")
        if operation is Operation.REFUND:
            assert (fields["fund_change"], fields["refund_fee"]) == ("Y", "1.00")
        if operation in (Operation.REVERSAL, Operation.VOID):
            assert fields["retry_flag"] == "N"
    if isinstance(result, Declined):
        assert answer.code not in ("20000", "10003", "99999")
