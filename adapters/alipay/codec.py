"""Alipay Open API messages: text in and out, no I/O and no clock.

Source: Alipay Open API (`/gateway.do`), sign_type RSA2: RSASSA-PKCS1-v1_5 with SHA-256, base64.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

LARGEST_ANSWER_BYTES: Final = 256 * 1024
_SHANGHAI = ZoneInfo("Asia/Shanghai")
_LONGEST_FIELD = 128
_AMOUNT = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,2}))?", re.ASCII)
_HEAD = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"([a-z0-9_]{1,100})"[ \t\r\n]*:[ \t\r\n]*')
_CERTIFICATE = r'(?:,[ \t\r\n]*"alipay_cert_sn"[ \t\r\n]*:[ \t\r\n]*"[0-9a-fA-F]{1,64}"[ \t\r\n]*)?'
_SIGNED_TAIL = re.compile(
    r"[ \t\r\n]*" + _CERTIFICATE + r',[ \t\r\n]*"sign"[ \t\r\n]*:[ \t\r\n]*"((?:[A-Za-z0-9+/=]|\\/){0,2048})"'
    r"[ \t\r\n]*\}[ \t\r\n]*"
)
_UNSIGNED_TAIL = re.compile(r"[ \t\r\n]*\}[ \t\r\n]*")
ERROR_KEY: Final = "error_response"


class AlipayError(Exception):
    """What a peer sent cannot be believed. The outcome of what was asked stays unknown."""


class MalformedAnswer(AlipayError):
    """It does not have the shape that the protocol gives it. The text names the place, never the content."""


class ForgedAnswer(AlipayError):
    """It is unsigned, its signature does not verify, or it answers another question."""


@dataclass(slots=True, frozen=True)
class Answer:
    """The inner value of a verified answer. `fields` may hold personal data of the payer: never print it."""

    code: str
    sub_code: str
    fields: Mapping[str, Any] = field(repr=False)

    def text(self, name: str) -> str:
        """A short ASCII field, "" if absent. Raises MalformedAnswer for anything else."""
        return _short_text(self.fields, name)

    def amount_minor(self, name: str) -> int:
        """An amount field in fen. Raises MalformedAnswer if it is absent or no amount."""
        return amount_minor(self.text(name))


@dataclass(slots=True, frozen=True)
class Notification:
    """A verified asynchronous notification. The receiver still checks that `app_id` is its own."""

    app_id: str
    out_trade_no: str
    trade_no: str
    trade_status: str
    total_amount_minor: int


# --- requests -------------------------------------------------------------------------------------------------------


def signed_text(parameters: Mapping[str, str]) -> bytes:
    """The bytes a request's signature covers: every non-empty parameter but `sign`, keys in ASCII order, raw values.

    >>> signed_text({"version": "1.0", "app_id": "2021", "notify_url": "", "sign": "x", "sign_type": "RSA2"})
    b'app_id=2021&sign_type=RSA2&version=1.0'
    """
    names = sorted(name for name, value in parameters.items() if value and name != "sign")
    return "&".join(f"{name}={parameters[name]}" for name in names).encode()


def shanghai_timestamp(time_ms: int) -> str:
    """Unix milliseconds as `yyyy-MM-dd HH:mm:ss` in Asia/Shanghai.

    >>> shanghai_timestamp(1_700_000_000_000)
    '2023-11-15 06:13:20'
    """
    return datetime.fromtimestamp(time_ms // 1000, _SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def request_parameters(app_id: str, method: str, biz_content: str, time_ms: int) -> dict[str, str]:
    """The parameters of one request, all but `sign`."""
    return {
        "app_id": app_id,
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": shanghai_timestamp(time_ms),
        "version": "1.0",
        "biz_content": biz_content,
    }


def signature_text(signature: bytes) -> str:
    """A signature as the `sign` parameter carries it."""
    return base64.b64encode(signature).decode()


def pay_content(
    out_trade_no: str,
    auth_code: str,
    total_amount: str,
    subject: str,
    store_id: str = "",
    terminal_id: str = "",
    timeout_express: str = "",
) -> str:
    """biz_content of alipay.trade.pay, scene bar_code. It carries the payment code: never log it.

    >>> print(pay_content("ab12", "285012345678901234", "0.01", "tea & cake").replace(',"total', ',\\n"total'))
    {"out_trade_no":"ab12","scene":"bar_code","auth_code":"285012345678901234",
    "total_amount":"0.01","subject":"tea cake"}
    """
    return _content(
        out_trade_no=out_trade_no,
        scene="bar_code",
        auth_code=auth_code,
        total_amount=total_amount,
        subject=_plain_subject(subject),
        store_id=_plain_id(store_id),
        terminal_id=_plain_id(terminal_id),
        timeout_express=timeout_express,
    )


def trade_content(out_trade_no: str) -> str:
    """biz_content of alipay.trade.query and alipay.trade.cancel.

    >>> trade_content("ab12")
    '{"out_trade_no":"ab12"}'
    """
    return _content(out_trade_no=out_trade_no)


def refund_content(out_trade_no: str, out_request_no: str, refund_amount: str) -> str:
    """biz_content of alipay.trade.refund; the pair of numbers names the refund, so a repeat has no second effect."""
    return _content(out_trade_no=out_trade_no, out_request_no=out_request_no, refund_amount=refund_amount)


def refund_query_content(out_trade_no: str, out_request_no: str) -> str:
    """biz_content of alipay.trade.fastpay.refund.query."""
    return _content(out_trade_no=out_trade_no, out_request_no=out_request_no)


def _content(**fields: str) -> str:
    present = {name: value for name, value in fields.items() if value}
    return json.dumps(present, ensure_ascii=False, separators=(",", ":"))


def _plain_subject(subject: str) -> str:
    """Alipay refuses `/`, `=` and `&` in a subject and anything over 256 characters."""
    return " ".join(re.sub(r"[/=&\x00-\x1f\x7f\ud800-\udfff]", " ", subject).split())[:256]


def _plain_id(text: str) -> str:
    """Left out rather than cut: half an identifier names another shop."""
    return text if len(text) <= 32 and text.isascii() and text.isprintable() else ""


# --- answers --------------------------------------------------------------------------------------------------------


def load_public_key(pem: str) -> RSAPublicKey:
    """A PEM (SubjectPublicKeyInfo) RSA public key of at least 2048 bits. Raises ValueError for anything else."""
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ValueError("not a public key in PEM") from error
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        raise ValueError("not an RSA public key of 2048 bits or more")
    return key


def response_key(method: str) -> str:
    """
    >>> response_key("alipay.trade.pay")
    'alipay_trade_pay_response'
    """
    return method.replace(".", "_") + "_response"


def read_answer(body: bytes, method: str, public_key: RSAPublicKey) -> Answer:
    """The answer to `method`, after its signature over the raw bytes of the inner value has verified.

    Raises MalformedAnswer or ForgedAnswer, and nothing else, whatever the bytes.
    """
    key, value, raw, signature = split_answer(body)
    if key not in (response_key(method), ERROR_KEY):
        raise MalformedAnswer("it answers another method")
    _verify(public_key, signature, raw)
    code = _short_text(value, "code")
    if not code:
        raise MalformedAnswer("code is missing")
    return Answer(code, _short_text(value, "sub_code"), value)


def split_answer(body: bytes) -> tuple[str, dict[str, Any], bytes, bytes]:
    """(response key, inner value, its raw bytes, signature) of `{"<key>":{…},"sign":"…"}`. Not yet verified.

    The key comes first and `sign` last. The raw bytes are the peer's own, never serialised again: strict UTF-8 decodes
    and encodes to the same bytes. Raises MalformedAnswer or, where there is no signature, ForgedAnswer.
    """
    if len(body) > LARGEST_ANSWER_BYTES:
        raise MalformedAnswer("too long")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MalformedAnswer("not UTF-8") from None
    head = _HEAD.match(text)
    if head is None:
        raise MalformedAnswer("no response key")
    try:
        value, end = _DECODER.raw_decode(text, head.end())
    except (ValueError, RecursionError):
        raise MalformedAnswer("the value is not JSON") from None
    if not isinstance(value, dict):
        raise MalformedAnswer("the value is no object")
    tail = _SIGNED_TAIL.fullmatch(text, end)
    if tail is None:
        if _UNSIGNED_TAIL.fullmatch(text, end):
            raise ForgedAnswer("unsigned")
        raise MalformedAnswer("no signature where it belongs")
    return head[1], value, text[head.end() : end].encode(), _signature_bytes(tail[1].replace("\\/", "/"))


def verify_notification(form: Mapping[str, str], public_key: RSAPublicKey) -> Notification:
    """A notification's form (values URL-decoded), verified: all but `sign` and `sign_type`, sorted, joined.

    Raises ForgedAnswer or MalformedAnswer. The receiver answers the body `success`, or the notification comes again.
    """
    signature = _signature_bytes(form.get("sign", ""))
    text = "&".join(f"{name}={form[name]}" for name in sorted(form) if name not in ("sign", "sign_type"))
    try:
        signed = text.encode()
    except UnicodeEncodeError:
        raise MalformedAnswer("not UTF-8") from None
    _verify(public_key, signature, signed)
    named = {name: _short_text(form, name) for name in ("app_id", "out_trade_no", "trade_no", "trade_status")}
    return Notification(**named, total_amount_minor=amount_minor(_short_text(form, "total_amount")))


def amount_minor(text: str) -> int:
    """Yuan with up to two decimals as fen. Raises MalformedAnswer.

    >>> amount_minor("0.01"), amount_minor("12.5"), amount_minor("88")
    (1, 1250, 8800)
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise MalformedAnswer("an amount is missing or malformed")
    return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))


def _verify(public_key: RSAPublicKey, signature: bytes, signed: bytes) -> None:
    if not signature:
        raise ForgedAnswer("unsigned")
    try:
        public_key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ForgedAnswer("the signature does not verify") from None


def _signature_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedAnswer("the signature is not base64") from None


def _short_text(fields: Mapping[str, Any], name: str) -> str:
    """Printable ASCII only: what is kept, logged and compared must not be able to carry anything else."""
    value = fields.get(name, "")
    if not isinstance(value, str) or len(value) > _LONGEST_FIELD or not value.isascii() or not value.isprintable():
        raise MalformedAnswer(f"{name} is not a short text")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
