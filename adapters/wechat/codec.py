"""WeChat Pay API v3 messages: what is signed, what is sent, what is read. Bytes in, values out; no I/O, no clock.

Source: PROTOCOLS, section "WeChat Pay API v3"; https://pay.weixin.qq.com/doc/v3/merchant/4012365342 (signatures).
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature as _RsaMismatch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SCHEME = "WECHATPAY2-SHA256-RSA2048"
RESOURCE_ALGORITHM = "AEAD_AES_256_GCM"
LARGEST_SKEW_S = 300

_OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-*]{1,32}")
_OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
_AUTH_CODE = re.compile(r"1[0-5][0-9]{16}")
_CODE_TEXT = re.compile(r"[A-Z0-9_]{1,64}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_DESCRIPTION_CHARS = 127
_DEVICE_ID_CHARS = 32


class WeChatError(Exception):
    """Anything this codec refuses. Its text names the field and never holds a value of the payer's."""


class InvalidField(WeChatError):
    """We were about to send what the interface does not take."""


class InvalidAuthCode(InvalidField):
    """There is no payment code, or it is not one of WeChat Pay's."""


class InvalidAnswer(WeChatError):
    """The peer's bytes do not have the shape of the interface."""


class UnverifiedAnswer(WeChatError):
    """The answer's signature is missing, stale, of an unknown key, or wrong: nothing in it may be believed."""


class InvalidResource(WeChatError):
    """An encrypted resource that does not decrypt under the APIv3 key."""


# --- signatures -----------------------------------------------------------------------------------------------------


def request_text(method: str, target: str, timestamp_s: int, nonce: str, body: bytes) -> bytes:
    """The text a merchant signs (RSASSA-PKCS1-v1_5, SHA-256). target: raw path with its query.

    >>> request_text("GET", "/v3/certificates", 1554208460, "593BEC0C930BF1AFEB40B4A08C8FB242", b"")
    b'GET\\n/v3/certificates\\n1554208460\\n593BEC0C930BF1AFEB40B4A08C8FB242\\n\\n'
    """
    return f"{method}\n{target}\n{timestamp_s}\n{nonce}\n".encode() + body + b"\n"


def answer_text(timestamp: str, nonce: str, body: bytes) -> bytes:
    """The text the platform signs in answers and notifications; an empty body for a 204.

    >>> answer_text("1554209980", "c5ac7061fccab6bf3e254dcf98995b8c", b"")
    b'1554209980\\nc5ac7061fccab6bf3e254dcf98995b8c\\n\\n'
    """
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def authorization_header(mchid: str, serial_no: str, timestamp_s: int, nonce: str, signature: bytes) -> str:
    """
    >>> authorization_header("1900", "1DDE", 1554208460, "593B", b"\\x00")
    'WECHATPAY2-SHA256-RSA2048 mchid="1900",nonce_str="593B",signature="AA==",timestamp="1554208460",serial_no="1DDE"'
    """
    encoded = base64.b64encode(signature).decode()
    return (
        f'{SCHEME} mchid="{mchid}",nonce_str="{nonce}",signature="{encoded}",'
        f'timestamp="{timestamp_s}",serial_no="{serial_no}"'
    )


@dataclass(slots=True, frozen=True)
class AnswerSignature:
    """The Wechatpay-* headers of one answer. signature: decoded; key_id: `PUB_KEY_ID_…`."""

    timestamp: str
    nonce: str
    signature: bytes = field(repr=False)
    key_id: str = ""


def answer_signature(headers: Mapping[str, str]) -> AnswerSignature:
    """Read the signature headers; names in any case. Raises UnverifiedAnswer if one is missing or malformed.

    Signature-Type may be absent (older gateways leave it out); another type than ours is refused.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        timestamp = lowered["wechatpay-timestamp"]
        nonce = lowered["wechatpay-nonce"]
        encoded = lowered["wechatpay-signature"]
        key_id = lowered["wechatpay-serial"]
    except KeyError as missing:
        raise UnverifiedAnswer(f"header {missing.args[0]} is missing") from None
    if lowered.get("wechatpay-signature-type", SCHEME) != SCHEME:
        raise UnverifiedAnswer("wechatpay-signature-type is not ours")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise UnverifiedAnswer("wechatpay-timestamp is not a Unix time")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii.Error is one; so is a character beyond ASCII
        raise UnverifiedAnswer("wechatpay-signature is not base64") from None
    return AnswerSignature(timestamp, nonce, signature, key_id)


class PlatformKey:
    """WeChat Pay's public key, loaded once. Raises ValueError for a PEM that is not an RSA key."""

    __slots__ = ("_key", "key_id")

    def __init__(self, pem: str, key_id: str) -> None:
        key = load_pem_public_key(pem.encode())
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("the platform's public key is not an RSA key")
        self._key = key
        self.key_id = key_id

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        """Raise UnverifiedAnswer unless `body` was signed by this key within ±300 s of `now_s` (Unix seconds)."""
        given = answer_signature(headers)
        if given.key_id != self.key_id:
            raise UnverifiedAnswer("wechatpay-serial names another key")
        if abs(int(given.timestamp) - now_s) > LARGEST_SKEW_S:
            raise UnverifiedAnswer("wechatpay-timestamp is too far from now")
        try:
            text = answer_text(given.timestamp, given.nonce, body)
            self._key.verify(given.signature, text, padding.PKCS1v15(), SHA256())
        except (_RsaMismatch, UnicodeEncodeError):
            # a header with bytes beyond ASCII arrives with surrogates, which nobody can have signed
            raise UnverifiedAnswer("the signature does not match") from None


# --- encrypted resources --------------------------------------------------------------------------------------------


def decrypt_resource(resource: Mapping[str, Any], apiv3_key: bytes) -> bytes:
    """Open the `resource` of a notification or an `encrypt_certificate` (AES-256-GCM, tag appended, RFC 5116).

    apiv3_key: 32 bytes, else ValueError. Raises InvalidResource for another algorithm, a missing field or a wrong
    tag.
    """
    if len(apiv3_key) != 32:
        raise ValueError("the APIv3 key must be 32 bytes")
    if resource.get("algorithm") != RESOURCE_ALGORITHM:
        raise InvalidResource("algorithm is not AEAD_AES_256_GCM")
    nonce, associated, encoded = (resource.get(name, "") for name in ("nonce", "associated_data", "ciphertext"))
    if not (isinstance(nonce, str) and isinstance(associated, str) and isinstance(encoded, str)):
        raise InvalidResource("nonce, associated_data and ciphertext must be text")
    try:
        ciphertext = base64.b64decode(encoded, validate=True)
        return AESGCM(apiv3_key).decrypt(nonce.encode(), ciphertext, associated.encode())
    except (binascii.Error, ValueError) as error:
        raise InvalidResource(f"not an encrypted resource: {type(error).__name__}") from None
    except InvalidTag:
        raise InvalidResource("the resource was not encrypted under this key") from None


# --- requests -------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Call:
    """One HTTP request before it is signed. target: raw path with query. body: b"" for GET; it may hold a code."""

    method: str
    target: str
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True, frozen=True)
class Scene:
    """Where the payer stands. device_ip: dotted address of the terminal, or of this switch."""

    store_id: str
    device_id: str
    device_ip: str


def codepay(
    appid: str, mchid: str, out_trade_no: str, auth_code: str, amount_fen: int, description: str, scene: Scene
) -> Call:
    """POST /v3/pay/transactions/codepay. auth_code: 18 digits, prefix 10–15. Raises InvalidField."""
    if not _AUTH_CODE.fullmatch(auth_code):
        raise InvalidAuthCode("payer.auth_code must be 18 digits with a prefix of 10 to 15")
    if amount_fen < 1:
        raise InvalidField("amount.total must be positive")
    scene_info: dict[str, Any] = {"device_ip": scene.device_ip, "store_info": {"out_id": scene.store_id}}
    if scene.device_id:
        scene_info["device_id"] = scene.device_id[:_DEVICE_ID_CHARS]
    content = {
        "appid": appid,
        "mchid": mchid,
        "description": description[:_DESCRIPTION_CHARS],
        "out_trade_no": _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no"),
        "payer": {"auth_code": auth_code},
        "amount": {"total": amount_fen, "currency": "CNY"},
        "scene_info": scene_info,
    }
    return Call("POST", "/v3/pay/transactions/codepay", _json(content))


def query_order(mchid: str, out_trade_no: str) -> Call:
    """
    >>> query_order("1230000109", "A_1").target
    '/v3/pay/transactions/out-trade-no/A_1?mchid=1230000109'
    """
    number = _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no")
    return Call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid={mchid}")


def reverse(appid: str, mchid: str, out_trade_no: str) -> Call:
    """POST …/reverse: a paid order is given back, an unpaid one is closed for ever."""
    number = _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no")
    content = _json({"appid": appid, "mchid": mchid})
    return Call("POST", f"/v3/pay/transactions/out-trade-no/{number}/reverse", content)


def refund(out_trade_no: str, out_refund_no: str, refund_fen: int, total_fen: int) -> Call:
    """POST /v3/refund/domestic/refunds: `refund_fen` of an order of `total_fen`; one effect per out_refund_no."""
    if not 1 <= refund_fen <= total_fen:
        raise InvalidField("amount.refund must be positive and at most amount.total")
    content = {
        "out_trade_no": _checked(_OUT_TRADE_NO, out_trade_no, "out_trade_no"),
        "out_refund_no": _checked(_OUT_REFUND_NO, out_refund_no, "out_refund_no"),
        "amount": {"refund": refund_fen, "total": total_fen, "currency": "CNY"},
    }
    return Call("POST", "/v3/refund/domestic/refunds", _json(content))


def query_refund(out_refund_no: str) -> Call:
    number = _checked(_OUT_REFUND_NO, out_refund_no, "out_refund_no").replace("|", "%7C")
    return Call("GET", f"/v3/refund/domestic/refunds/{number}")


def _checked(pattern: re.Pattern[str], value: str, name: str) -> str:
    if not pattern.fullmatch(value):
        raise InvalidField(f"{name} must match {pattern.pattern}")
    return value


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


# --- answers --------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Trade:
    """An order as the platform tells it. While the payer types a password everything but `state` may be empty.

    total_fen: the order's amount, None if it was not told.
    """

    state: str
    out_trade_no: str = ""
    transaction_id: str = ""
    mchid: str = ""
    total_fen: int | None = None
    currency: str = ""


@dataclass(slots=True, frozen=True)
class Refund:
    """A refund as the platform tells it. status: SUCCESS, CLOSED, PROCESSING or ABNORMAL."""

    status: str
    out_refund_no: str
    refund_id: str
    out_trade_no: str
    refund_fen: int


def trade_of(body: bytes) -> Trade:
    """Read the answer of codepay or of an order query. Raises InvalidAnswer.

    >>> trade_of(b'{"trade_state":"USERPAYING"}').state
    'USERPAYING'
    """
    content = _object(body)
    amount = content.get("amount")
    total: int | None = None
    currency = ""
    if amount is not None:
        if not isinstance(amount, dict):
            raise InvalidAnswer("amount is not an object")
        total = _integer(amount, "total")
        currency = _text(amount, "currency", required=False)
    return Trade(
        state=_code(content, "trade_state"),
        out_trade_no=_text(content, "out_trade_no", required=False),
        transaction_id=_text(content, "transaction_id", required=False),
        mchid=_text(content, "mchid", required=False),
        total_fen=total,
        currency=currency,
    )


def refund_of(body: bytes) -> Refund:
    """Read the answer of a refund or of its query. Raises InvalidAnswer."""
    content = _object(body)
    amount = content.get("amount")
    if not isinstance(amount, dict):
        raise InvalidAnswer("amount is not an object")
    return Refund(
        status=_code(content, "status"),
        out_refund_no=_text(content, "out_refund_no"),
        refund_id=_text(content, "refund_id"),
        out_trade_no=_text(content, "out_trade_no"),
        refund_fen=_integer(amount, "refund"),
    )


def reversed_out_trade_no(body: bytes) -> str:
    """The order that a reversal's answer names; "" for the empty body of a 204. Raises InvalidAnswer."""
    return _text(_object(body), "out_trade_no") if body else ""


def error_code(body: bytes) -> str:
    """The `code` of an error answer. Raises InvalidAnswer; `message` is prose and is not read.

    >>> error_code('{"code":"NOT_ENOUGH","message":"用户余额不足"}'.encode())
    'NOT_ENOUGH'
    """
    return _code(_object(body), "code")


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):  # ValueError: not JSON, not UTF-8, or a number of absurd length
        raise InvalidAnswer("the body is not JSON") from None
    if not isinstance(content, dict):
        raise InvalidAnswer("the body is not a JSON object")
    return content


def _text(content: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    value = content.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or len(value) > 64:
        raise InvalidAnswer(f"{name} is not a short text")
    return value


def _code(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not _CODE_TEXT.fullmatch(value):
        raise InvalidAnswer(f"{name} is not a code")
    return value


def _integer(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    if type(value) is not int or value < 0:  # bool is an int to isinstance
        raise InvalidAnswer(f"{name} is not an amount")
    return value
