"""The codec alone: texts that are signed, signatures that are believed, bodies that are read."""

import base64
import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat import answers, calls, codec

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "wechat.json").read_text())
SCENE = calls.Scene("shop-1", "T0000001", "127.0.0.1")
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017 9.2, SHA-256


@pytest.mark.parametrize("vector", VECTORS["request_texts"])
def test_request_texts(vector: dict[str, Any]) -> None:
    text = codec.request_text(
        vector["method"], vector["target"], vector["timestamp"], vector["nonce"], vector["body"].encode()
    )
    assert text == vector["text"].encode()


@pytest.mark.parametrize("vector", VECTORS["answer_texts"])
def test_answer_texts(vector: dict[str, Any]) -> None:
    text = codec.answer_text(vector["timestamp"], vector["nonce"], vector["body"].encode())
    assert text == vector["text"].encode()


def test_the_header_carries_a_signature_that_plain_arithmetic_accepts(merchant_key: rsa.RSAPrivateKey) -> None:
    text = codec.request_text("POST", "/v3/x", 1_700_000_000, "abc", b"{}")
    header = codec.authorization_header(
        "1230000109", "77AA", 1_700_000_000, "abc", merchant_key.sign(text, padding.PKCS1v15(), SHA256())
    )
    signature = base64.b64decode(header.split('signature="')[1].split('"')[0])
    numbers = merchant_key.public_key().public_numbers()
    opened = pow(int.from_bytes(signature, "big"), numbers.e, numbers.n).to_bytes(256, "big")
    digest = hashlib.sha256(b"POST\n/v3/x\n1700000000\nabc\n{}\n").digest()
    assert opened == b"\x00\x01" + b"\xff" * 202 + b"\x00" + _DIGEST_INFO + digest


# --- answers' signatures --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def platform() -> Any:
    """Signs like the platform, written out here: neither codec nor simulator."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def headers(body: bytes, timestamp: str = "1700000000") -> dict[str, str]:
        text = timestamp.encode() + b"\nnonce\n" + body + b"\n"
        signature = base64.b64encode(key.sign(text, padding.PKCS1v15(), SHA256())).decode()
        return {
            "WECHATPAY-TIMESTAMP": timestamp,
            "wechatpay-nonce": "nonce",
            "Wechatpay-Signature": signature,
            "Wechatpay-Serial": "PUB_KEY_ID_1",
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
        }

    return codec.PlatformKeys(pem, "PUB_KEY_ID_1"), headers


@pytest.mark.parametrize("body", [b"", b'{"a":1}', "支付".encode(), b"\xff"])
@pytest.mark.parametrize("now_s", [1_699_999_700.0, 1_700_000_300.0])
def test_a_good_signature(platform: Any, body: bytes, now_s: float) -> None:
    key, headers = platform
    key.verify(headers(body), body, now_s)


@pytest.mark.parametrize("now_s", [1_699_999_699.0, 1_700_000_301.0])
def test_a_stale_signature(platform: Any, now_s: float) -> None:
    key, headers = platform
    with pytest.raises(codec.UnverifiedAnswer, match="too far from now"):
        key.verify(headers(b"{}"), b"{}", now_s)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("Wechatpay-Serial", "PUB_KEY_ID_2", "another key"),
        ("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "not ours"),
        ("Wechatpay-Signature", "AAAA", "does not match"),
        ("Wechatpay-Signature", "!", "not base64"),
        ("Wechatpay-Signature", "é", "not base64"),
        ("WECHATPAY-TIMESTAMP", "-1", "not a Unix time"),
        ("WECHATPAY-TIMESTAMP", "１７０００００００", "not a Unix time"),
        ("wechatpay-nonce", "other", "does not match"),
        ("wechatpay-nonce", "\udcff", "does not match"),
    ],
)
def test_a_wrong_header(platform: Any, name: str, value: str, complaint: str) -> None:
    key, headers = platform
    with pytest.raises(codec.UnverifiedAnswer, match=complaint):
        key.verify(headers(b"{}") | {name: value}, b"{}", 1_700_000_000.0)


@pytest.mark.parametrize("name", ["WECHATPAY-TIMESTAMP", "wechatpay-nonce", "Wechatpay-Signature", "Wechatpay-Serial"])
def test_a_missing_header(platform: Any, name: str) -> None:
    key, headers = platform
    given_headers = headers(b"{}")
    del given_headers[name]
    with pytest.raises(codec.UnverifiedAnswer, match="is missing"):
        key.verify(given_headers, b"{}", 1_700_000_000.0)


def test_another_body(platform: Any) -> None:
    key, headers = platform
    with pytest.raises(codec.UnverifiedAnswer):
        key.verify(headers(b'{"a":1}'), b'{"a":2}', 1_700_000_000.0)


def test_a_platform_key_must_be_rsa() -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="RSA"):
        codec.PlatformKeys(pem, "PUB_KEY_ID_1")


_HEADER_NAMES = st.sampled_from(
    ["Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature", "Wechatpay-Serial", "Wechatpay-Signature-Type"]
)


@given(st.dictionaries(_HEADER_NAMES, st.text(max_size=40)), st.binary(max_size=40))
def test_no_invented_headers_are_believed(platform: Any, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(codec.UnverifiedAnswer):
        platform[0].verify(headers, body, 1_700_000_000.0)


# --- resources ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["resources"])
def test_resources(vector: dict[str, Any]) -> None:
    plain = codec.decrypt_resource(vector["resource"], vector["apiv3_key"].encode())
    assert plain == vector["plaintext"].encode()


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "AEAD_SM4_GCM"},
        {"nonce": "0123456789ab"},
        {"nonce": ""},
        {"nonce": 7},
        {"associated_data": "transaction"},
        {"ciphertext": "AAAA"},
        {"ciphertext": "not base64"},
        {"ciphertext": None},
    ],
)
def test_a_resource_that_was_tampered_with(change: dict[str, Any]) -> None:
    vector = VECTORS["resources"][0]
    with pytest.raises(codec.InvalidResource):
        codec.decrypt_resource(vector["resource"] | change, vector["apiv3_key"].encode())


def test_a_resource_under_another_key() -> None:
    with pytest.raises(codec.InvalidResource):
        codec.decrypt_resource(VECTORS["resources"][0]["resource"], b"x" * 32)
    with pytest.raises(ValueError, match="32 bytes"):
        codec.decrypt_resource(VECTORS["resources"][0]["resource"], b"x" * 16)


# --- requests -------------------------------------------------------------------------------------------------------


def test_a_codepay_body() -> None:
    call = calls.codepay("wx1", "1230000109", "no-1", "130061098828009406", 1, "店" * 200, SCENE)
    assert (call.method, call.target) == ("POST", "/v3/pay/transactions/codepay")
    assert json.loads(call.body) == {
        "appid": "wx1",
        "mchid": "1230000109",
        "description": "店" * 127,
        "out_trade_no": "no-1",
        "payer": {"auth_code": "130061098828009406"},
        "amount": {"total": 1, "currency": "CNY"},
        "scene_info": {
            "device_id": "T0000001",
            "device_ip": "127.0.0.1",
            "store_info": {"out_id": "shop-1"},
        },
    }
    assert "130061098828009406" not in repr(call)


@pytest.mark.parametrize("code", ["", "13006109882800940", "1300610988280094060", "160061098828009406", "１" * 18])
def test_a_code_of_another_wallet(code: str) -> None:
    with pytest.raises(codec.InvalidAuthCode):
        calls.codepay("wx1", "123", "no-1", code, 1, "x", SCENE)


@pytest.mark.parametrize("number", ["", "a" * 33, "a b", "a/b", "a?b", "é", "a\n"])
def test_a_number_that_would_break_the_path(number: str) -> None:
    for build in (lambda: calls.query_order("123", number), lambda: calls.reverse("wx1", "123", number)):
        with pytest.raises(codec.InvalidField):
            build()


@pytest.mark.parametrize(("part_fen", "total_fen"), [(0, 1), (-1, 1), (2, 1)])
def test_a_refund_of_a_wrong_amount(part_fen: int, total_fen: int) -> None:
    with pytest.raises(codec.InvalidField):
        calls.refund("no-1", "re-1", part_fen, total_fen)


def test_a_refund_number_is_escaped_in_the_path() -> None:
    assert calls.query_refund("a|b@*").target == "/v3/refund/domestic/refunds/a%7Cb@*"


# --- bodies ---------------------------------------------------------------------------------------------------------

_READERS = [answers.trade_of, answers.refund_of, answers.error_code]


@pytest.mark.parametrize("read", _READERS)
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b"{}", b"<html>"]
)
def test_bodies_that_are_none(read: Any, body: bytes) -> None:
    with pytest.raises(codec.InvalidAnswer):
        read(body)


@pytest.mark.parametrize(
    "content",
    [
        {"trade_state": "success"},
        {"trade_state": 1},
        {"trade_state": "SUCCESS", "amount": 5},
        {"trade_state": "SUCCESS", "amount": {"total": True}},
        {"trade_state": "SUCCESS", "amount": {"total": -1}},
        {"trade_state": "SUCCESS", "amount": {"total": "5"}},
        {"trade_state": "SUCCESS", "out_trade_no": 5},
        {"trade_state": "SUCCESS", "transaction_id": "1" * 65},
    ],
)
def test_trades_of_a_wrong_shape(content: dict[str, Any]) -> None:
    with pytest.raises(codec.InvalidAnswer):
        answers.trade_of(json.dumps(content).encode())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
_FIELD_NAMES = st.sampled_from(["trade_state", "amount", "out_trade_no", "status", "code", "refund_id", "mchid"])


@given(st.binary(max_size=200) | st.dictionaries(_FIELD_NAMES, _JSON).map(lambda each: json.dumps(each).encode()))
def test_readers_refuse_or_return_but_never_fail(body: bytes) -> None:
    for read in (*_READERS, answers.reversed_out_trade_no):
        with contextlib.suppress(codec.InvalidAnswer):  # the one error that is allowed
            read(body)
