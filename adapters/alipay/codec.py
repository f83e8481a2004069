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
from typing import Any, Final, NamedTuple, NoReturn
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
_CERTIFICATE = r'(?:,[ \t\r\n]*"alipay_cert_sn"[ \t\r\n]*:[ \t\r\n]*"([0-9a-fA-F]{1,64})"[ \t\r\n]*)?'
_SIGNED_TAIL = re.compile(
    r"[ \t\r\n]*" + _CERTIFICATE + r',[ \t\r\n]*"sign"[ \t\r\n]*:[ \t\r\n]*"((?:[A-Za-z0-9+/=]++|\\/)*+)"'
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


class UnknownCertificate(AlipayError):
    """It is signed under a certificate that we do not have yet, `sn`."""

    def __init__(self, sn: str) -> None:
        super().__init__("the certificate is unknown")
        self.sn = sn


class SignedValue(NamedTuple):
    """`{"<key>":<value>,"alipay_cert_sn":"…","sign":"…"}`, not yet verified. raw: the value's own bytes.

    value: the object, or the text of an encrypted one. certificate_sn: "" in public-key mode.
    """

    key: str
    value: dict[str, Any] | str
    raw: bytes
    signature: bytes
    certificate_sn: str


@dataclass(slots=True, frozen=True)
class Answer:
    """The inner value of a verified answer. `fields` may hold personal data of the payer: never print it."""

    code: str
    sub_code: str
    fields: Mapping[str, Any] = field(repr=False)

    def text(self, name: str) -> str:
        """A short ASCII field, "" if absent. Raises MalformedAnswer for anything else."""
        return short_text(self.fields, name)

    def amount_minor(self, name: str) -> int:
        """An amount field in fen. Raises MalformedAnswer if it is absent or no amount."""
        return amount_minor(self.text(name))


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


def request_parameters(
    app_id: str, method: str, biz_content: str, time_ms: int, optional: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The parameters of one request, all but `sign`. optional: notify_url, app_cert_sn …, those that have a value."""
    return {
        "app_id": app_id,
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": shanghai_timestamp(time_ms),
        "version": "1.0",
        "biz_content": biz_content,
    } | {name: value for name, value in (optional or {}).items() if value}


def base64_text(data: bytes) -> str:
    """As a parameter carries a signature or an encrypted content."""
    return base64.b64encode(data).decode()


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
    signed = split_answer(body)
    check_answer(signed, method, public_key)
    return answer_of(signed.value)


def check_answer(signed: SignedValue, method: str, public_key: RSAPublicKey) -> None:
    """Whether it answers `method` and the key has signed it. Raises MalformedAnswer or ForgedAnswer."""
    if signed.key not in (response_key(method), ERROR_KEY):
        raise MalformedAnswer("it answers another method")
    verify(public_key, signed.signature, signed.raw)


def answer_of(value: object) -> Answer:
    """A verified inner value, in the clear. Raises MalformedAnswer."""
    if not isinstance(value, dict):
        raise MalformedAnswer("the value is no object")
    code = short_text(value, "code")
    if not code:
        raise MalformedAnswer("code is missing")
    return Answer(code, short_text(value, "sub_code"), value)


def deciphered_value(content: bytes) -> object:
    """What an encrypted value holds. Raises MalformedAnswer."""
    try:
        return _DECODER.decode(content.decode())
    except (ValueError, RecursionError):
        raise MalformedAnswer("the deciphered value is not JSON") from None


def ciphertext(value: str) -> bytes:
    """Of an encrypted value. Raises MalformedAnswer."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedAnswer("the encrypted value is not base64") from None


def split_answer(body: bytes) -> SignedValue:
    """The parts of `{"<key>":…,"sign":"…"}`. Not yet verified.

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
    if not isinstance(value, dict | str):
        raise MalformedAnswer("the value is neither an object nor a text")
    tail = _SIGNED_TAIL.fullmatch(text, end)
    if tail is None:
        if _UNSIGNED_TAIL.fullmatch(text, end):
            raise ForgedAnswer("unsigned")
        raise MalformedAnswer("no signature where it belongs")
    raw = text[head.end() : end].encode()
    return SignedValue(head[1], value, raw, signature_bytes(tail[2].replace("\\/", "/")), tail[1] or "")


def amount_minor(text: str) -> int:
    """Yuan with up to two decimals as fen. Raises MalformedAnswer.

    >>> amount_minor("0.01"), amount_minor("12.5"), amount_minor("88")
    (1, 1250, 8800)
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise MalformedAnswer("an amount is missing or malformed")
    return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))


def verify(public_key: RSAPublicKey, signature: bytes, signed: bytes) -> None:
    """RSA2. Raises ForgedAnswer."""
    if not signature:
        raise ForgedAnswer("unsigned")
    try:
        public_key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ForgedAnswer("the signature does not verify") from None


def signature_bytes(text: str) -> bytes:
    """Of the `sign` of a peer. Raises MalformedAnswer."""
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except (binascii.Error, ValueError):
        raise MalformedAnswer("the signature is not base64") from None


def short_text(fields: Mapping[str, Any], name: str) -> str:
    """Printable ASCII only: what is kept, logged and compared must not be able to carry anything else."""
    value = fields.get(name, "")
    if not isinstance(value, str) or len(value) > _LONGEST_FIELD or not value.isascii() or not value.isprintable():
        raise MalformedAnswer(f"{name} is not a short text")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
