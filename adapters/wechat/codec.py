"""What API v3 signs and encrypts, both ways. Bytes in, values out; no I/O, no clock. See `calls` and `answers`.

Source: PROTOCOLS, section "WeChat Pay API v3"; https://pay.weixin.qq.com/doc/v3/merchant/4012365342 (signatures).
"""

import base64
import binascii
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

_PADDING, _HASH = padding.PKCS1v15(), SHA256()
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class WeChatError(Exception):
    """Anything this codec refuses. Its text names the field and never holds a value of the payer's."""


class InvalidField(WeChatError):
    """We were about to send what the interface does not take."""


class InvalidAuthCode(InvalidField):
    """There is no payment code, or it is not one of WeChat Pay's."""


class InvalidAnswer(WeChatError):
    """The peer's bytes do not have the shape of the interface."""


class UnverifiedAnswer(WeChatError):
    """The signature is missing, stale, of an unknown key, or wrong: nothing that it covers may be believed.

    cause: one word for the metrics: stripped, malformed, expired, unknown_key, forged.
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


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
    lowered = headers
    if "wechatpay-signature" not in headers:  # those of an HTTP answer are found in any case as they are
        lowered = {name.lower(): value for name, value in headers.items()}
    try:
        timestamp = lowered["wechatpay-timestamp"]
        nonce = lowered["wechatpay-nonce"]
        encoded = lowered["wechatpay-signature"]
        key_id = lowered["wechatpay-serial"]
    except KeyError as missing:
        raise UnverifiedAnswer("stripped", f"header {missing.args[0]} is missing") from None
    if lowered.get("wechatpay-signature-type", SCHEME) != SCHEME:
        raise UnverifiedAnswer("malformed", "wechatpay-signature-type is not ours")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise UnverifiedAnswer("malformed", "wechatpay-timestamp is not a Unix time")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii.Error is one; so is a character beyond ASCII
        raise UnverifiedAnswer("malformed", "wechatpay-signature is not base64") from None
    return AnswerSignature(timestamp, nonce, signature, key_id)


class PlatformKeys:
    """The platform's keys by their ids: the public key's, and the serial numbers of platform certificates.

    public_key_pem, public_key_id: "" where the platform is known by certificates only.
    Raises ValueError for a PEM that is not an RSA key.
    """

    __slots__ = ("_certificates", "_public")

    def __init__(self, public_key_pem: str = "", public_key_id: str = "") -> None:
        self._public: dict[str, rsa.RSAPublicKey] = {}
        self._certificates: dict[str, rsa.RSAPublicKey] = {}
        if public_key_pem:
            key = load_pem_public_key(public_key_pem.encode())
            if not isinstance(key, rsa.RSAPublicKey):
                raise ValueError("the platform's public key is not an RSA key")
            self._public[public_key_id] = key

    def replace_certificates(self, keys: Mapping[str, rsa.RSAPublicKey]) -> None:
        """keys: by serial number, upper-case hex. All of them are believed, until they are replaced in turn."""
        self._certificates = dict(keys)

    def knows(self, key_id: str) -> bool:
        return key_id in self._public or key_id.upper() in self._certificates

    def verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        """Raise UnverifiedAnswer unless `body` was signed by one of these keys within ±300 s of `now_s` (Unix time)."""
        given = answer_signature(headers)
        key = self._public.get(given.key_id) or self._certificates.get(given.key_id.upper())
        if key is None:
            raise UnverifiedAnswer("unknown_key", "wechatpay-serial names another key")
        if abs(int(given.timestamp) - now_s) > LARGEST_SKEW_S:
            raise UnverifiedAnswer("expired", "wechatpay-timestamp is too far from now")
        try:
            text = answer_text(given.timestamp, given.nonce, body)
            key.verify(given.signature, text, _PADDING, _HASH)
        except (_RsaMismatch, UnicodeEncodeError):
            # a header with bytes beyond ASCII arrives with surrogates, which nobody can have signed
            raise UnverifiedAnswer("forged", "the signature does not match") from None


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
