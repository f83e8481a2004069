"""Texts and signatures against computations that do not use the codec."""

import base64
import hashlib
import json
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from adapters.alipay.codec import (
    LARGEST_ANSWER_BYTES,
    AlipayError,
    ForgedAnswer,
    MalformedAnswer,
    amount_minor,
    answer_of,
    check_answer,
    ciphertext,
    deciphered_value,
    load_public_key,
    read_answer,
    request_parameters,
    signed_text,
    split_answer,
)
from adapters.alipay.messages import pay_content

PAY = "alipay.trade.pay"
KEY = "alipay_trade_pay_response"
SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def rsa2(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    """RSASSA-PKCS1-v1_5 (RFC 8017 8.2.1) in plain integers: EM = 00 01 FF… 00 DigestInfo, s = EM^d mod n."""
    numbers = key.private_numbers()
    size = (key.key_size + 7) // 8
    info = SHA256_DIGEST_INFO + hashlib.sha256(data).digest()
    encoded = b"\x00\x01" + b"\xff" * (size - len(info) - 3) + b"\x00" + info
    return pow(int.from_bytes(encoded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")


def answered(key: rsa.RSAPrivateKey, raw: str, name: str = KEY) -> bytes:
    signature = base64.b64encode(rsa2(key, raw.encode())).decode()
    return f'{{"{name}":{raw},"sign":"{signature}"}}'.encode()


def test_the_signed_text_of_a_whole_request() -> None:
    parameters = request_parameters("2021", PAY, '{"subject":"茶 +=&"}', 1_700_000_000_000)
    parameters |= {"sign": "ignored", "notify_url": ""}
    assert signed_text(parameters).decode() == (
        'app_id=2021&biz_content={"subject":"茶 +=&"}&charset=utf-8&format=JSON&method=alipay.trade.pay'
        "&sign_type=RSA2&timestamp=2023-11-15 06:13:20&version=1.0"
    )


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), st.text(st.characters(codec="utf-8"))))
def test_the_signed_text_is_what_an_independent_reading_says(parameters: dict[str, str]) -> None:
    """As a server sees it: the pairs of a form, sorted by their bytes."""
    seen = [(k.encode(), v.encode()) for k, v in parse_qsl(urlencode(parameters), keep_blank_values=True)]
    expected = b"&".join(k + b"=" + v for k, v in sorted(seen) if v and k != b"sign")
    assert signed_text(parameters) == expected


def test_biz_content_of_a_payment_leaves_out_what_alipay_would_refuse() -> None:
    content = json.loads(pay_content("ab", "28" * 9, "1.00", "a/b=c&d\x00" + "e" * 300, store_id="s" * 33))
    assert content.keys() == {"out_trade_no", "scene", "auth_code", "total_amount", "subject"}
    assert content["subject"].startswith("a b c d e")
    assert len(content["subject"]) == 256


@pytest.mark.parametrize(
    "raw",
    [
        '{"code":"10000"}',
        '{ "code" : "10000" , "msg":"}\\"{,\\"sign\\":\\"AAAA\\"}" }',
        '{"code":"10000","a":{"b":[{"c":"]}"}]},"z":"\\\\"}',
        '{"code":"10000","msg":"\\u6210\\u529f 成功 \\ud83d\\ude00 😀"}',
        '{"code":"10000","url":"https:\\/\\/x.y\\/","n":1.50,"e":1E+2}',
        '{"code":"10000","sign":"inner","alipay_trade_pay_response":{"code":"x"}}',
    ],
)
def test_the_signature_is_verified_over_the_raw_bytes(raw: str, app_key: rsa.RSAPrivateKey) -> None:
    body = answered(app_key, raw)
    assert split_answer(body)[2] == raw.encode()
    assert read_answer(body, PAY, app_key.public_key()).code == "10000"
    # The same meaning in other bytes is not what was signed.
    respaced = body.replace(b'"code"', b' "code"', 1)
    with pytest.raises(ForgedAnswer):
        read_answer(respaced, PAY, app_key.public_key())


def test_white_space_certificate_number_and_escaped_slashes_around_the_value(app_key: rsa.RSAPrivateKey) -> None:
    raw = '{"code":"10000"}'
    signature = base64.b64encode(rsa2(app_key, raw.encode())).decode().replace("/", "\\/")
    body = f' {{ "{KEY}" :\n{raw} ,"alipay_cert_sn":"0aF3", "sign" : "{signature}" }}\r\n'.encode()
    assert read_answer(body, PAY, app_key.public_key()).code == "10000"


def test_a_refusal_may_come_under_the_error_key(app_key: rsa.RSAPrivateKey) -> None:
    body = answered(app_key, '{"code":"40002","sub_code":"isv.invalid-app-id"}', "error_response")
    assert read_answer(body, PAY, app_key.public_key()).sub_code == "isv.invalid-app-id"


def test_unsigned_and_otherwise_signed_answers_are_forged(
    app_key: rsa.RSAPrivateKey, other_key: rsa.RSAPrivateKey
) -> None:
    forged = [
        b'{"alipay_trade_pay_response":{"code":"10000"}}',
        b'{"alipay_trade_pay_response":{"code":"10000"},"sign":""}',
        b'{"alipay_trade_pay_response":{"code":"10000"},"sign":"AAAA"}',
        answered(other_key, '{"code":"10000"}'),
        b'{"alipay_trade_pay_response":"encrypted","sign":"AAAA"}',
        answered(app_key, '{"code":"10003"}').replace(b"10003", b"10000"),
    ]
    for body in forged:
        with pytest.raises(ForgedAnswer):
            read_answer(body, PAY, app_key.public_key())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"\xff\xfe",
        b"[]",
        b'{"sign":"AAAA","alipay_trade_pay_response":{"code":"10000"}}',
        b'{"alipay_trade_pay_response":{"code":"10000"},"sign":"AAAA","extra":1}',
        b'{"alipay_trade_pay_response":{"code":"10000"},"sign":"AAAA"}{}',
        b'{"alipay_trade_pay_response":{"code":"10000"},"sign":"AAA"}',
        b'{"alipay_trade_pay_response":{"code":"10000","sign":"AAAA"}',
        b'{"alipay_trade_pay_response":{"code":NaN},"sign":"AAAA"}',
        b'{"alipay_trade_pay_response":["encrypted"],"sign":"AAAA"}',
        b'{"alipay_trade_pay_response":{"code":' + b"9" * 5_000 + b'},"sign":"AAAA"}',
        b'{"alipay_trade_pay_response":' + b"[" * 100_000 + b"]" * 100_000 + b',"sign":"AAAA"}',
        b'{"alipay_trade_pay_response":' + b'{"a":' * 40_000 + b',"sign":"AAAA"}',
        b" " * (LARGEST_ANSWER_BYTES + 1),
    ],
)
def test_anything_else_is_malformed(body: bytes, app_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(MalformedAnswer):
        read_answer(body, PAY, app_key.public_key())


@pytest.mark.parametrize(
    "raw", ["{}", '{"code":10000}', '{"code":"10000","sub_code":["x"]}', '{"code":"1\\n"}', '{"code":"\\ud800"}']
)
def test_a_signed_answer_of_another_shape_is_malformed(raw: str, app_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(MalformedAnswer):
        read_answer(answered(app_key, raw), PAY, app_key.public_key())


def test_an_encrypted_value_keeps_its_quotes_in_what_is_signed(app_key: rsa.RSAPrivateKey) -> None:
    body = answered(app_key, '"c2VjcmV0"')
    signed = split_answer(body)
    assert (signed.value, signed.raw, signed.certificate_sn) == ("c2VjcmV0", b'"c2VjcmV0"', "")
    check_answer(signed, PAY, app_key.public_key())
    # Not in the clear, it is no answer.
    with pytest.raises(MalformedAnswer):
        read_answer(body, PAY, app_key.public_key())
    assert answer_of(deciphered_value(b'{"code":"10000"}')).code == "10000"
    for content in (b"", b"{", b"\xff", b'{"code":NaN}', b"[]", b'{"code":1}'):
        with pytest.raises(MalformedAnswer):
            answer_of(deciphered_value(content))
    with pytest.raises(MalformedAnswer):
        ciphertext("?")


def test_an_answer_to_another_method_is_malformed(app_key: rsa.RSAPrivateKey) -> None:
    body = answered(app_key, '{"code":"10000"}', "alipay_trade_query_response")
    with pytest.raises(MalformedAnswer):
        read_answer(body, PAY, app_key.public_key())


_PIECES = [b'{"alipay_trade_pay_response":', b'{"code":"10000"}', b',"sign":"', b"AAAA", b'"}', b"{", b"\\", b'"', b" "]


@given(st.binary(max_size=400) | st.lists(st.sampled_from(_PIECES) | st.binary(max_size=4)).map(b"".join))
def test_no_bytes_make_anything_but_a_typed_error(body: bytes) -> None:
    with pytest.raises(AlipayError):
        read_answer(body, PAY, _PUBLIC_KEY)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=9))
def test_every_json_value_is_sliced_as_it_was_written(value: object) -> None:
    raw = json.dumps({"code": "10000", "value": value})
    assert split_answer(f'{{"{KEY}":{raw},"sign":"AAAA"}}'.encode())[2] == raw.encode()


def test_amounts_are_exact() -> None:
    assert [amount_minor(text) for text in ("0.29", "1", "99999999999.99")] == [29, 100, 9_999_999_999_999]
    for text in ("", "-1", "1.", "1.234", "1e2", " 1", "１", "NaN"):
        with pytest.raises(MalformedAnswer):
            amount_minor(text)


def test_a_public_key_must_be_rsa_of_enough_bits(pem: Callable[[rsa.RSAPrivateKey], str]) -> None:
    with pytest.raises(ValueError, match="PEM"):
        load_public_key("nothing")
    with pytest.raises(ValueError, match="2048"):
        load_public_key(pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)))


def test_plain_integers_and_the_library_agree_on_a_signature(app_key: rsa.RSAPrivateKey) -> None:
    assert rsa2(app_key, b"text") == app_key.sign(b"text", padding.PKCS1v15(), SHA256())


_PUBLIC_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048).public_key()
