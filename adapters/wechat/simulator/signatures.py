"""Who asks: WECHATPAY2-SHA256-RSA2048 of a request, as the platform checks it."""

import base64
import re
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adapters.wechat.simulator.errors import bad_signature
from adapters.wechat.simulator.merchants import WeChatMerchant

_SCHEME = "WECHATPAY2-SHA256-RSA2048"
_PARAMETER = re.compile(r'\s*([a-z_]+)="([^"]*)"\s*')
_NAMES = {"mchid", "nonce_str", "signature", "timestamp", "serial_no"}
_NONCE = re.compile(r"[!-~]{1,64}")  # clients send UUIDs and base64, too
_SKEW_S = 300


class MerchantGate:
    """Lets in only what one of the merchants signed, lately and for the first time."""

    def __init__(self, merchants: Sequence[WeChatMerchant], time_s: Callable[[], float]) -> None:
        self._known = {each.mchid: (each, _public_key(each)) for each in merchants}
        if len(self._known) != len(merchants):
            raise ValueError("two merchants have the same mchid")
        self._time_s = time_s
        # Two generations, each longer than a signature lives: a bound on what has to be remembered.
        self._nonces: set[tuple[str, str]] = set()
        self._older_nonces: set[tuple[str, str]] = set()
        self._generation_ends_s = time_s() + 2 * _SKEW_S

    def check(self, authorization: str, method: str, target: str, body: bytes) -> WeChatMerchant:
        """Who asks. Raises Refusal (401 SIGN_ERROR). target: the raw path with its query, as on the request line."""
        given = _parameters(authorization)
        if given["mchid"] not in self._known:
            raise bad_signature("the mchid is not known")
        merchant, key = self._known[given["mchid"]]
        if given["serial_no"].lower() != merchant.serial_no.lower():
            raise bad_signature("the certificate's serial number is not the merchant's")
        if not re.fullmatch(r"[0-9]{1,12}", given["timestamp"]):
            raise bad_signature("the timestamp is not a Unix time")
        if abs(int(given["timestamp"]) - self._time_s()) > _SKEW_S:
            raise bad_signature("the timestamp is too far from now")
        if not _NONCE.fullmatch(given["nonce_str"]):
            raise bad_signature("the nonce is malformed")
        lines = (method, target, given["timestamp"], given["nonce_str"])
        text = b"".join(line.encode() + b"\n" for line in lines) + body + b"\n"
        try:
            signature = base64.b64decode(given["signature"], validate=True)
            key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, InvalidSignature):
            raise bad_signature("the signature does not match") from None
        self._remember((merchant.mchid, given["nonce_str"]))
        return merchant

    def _remember(self, nonce: tuple[str, str]) -> None:
        now_s = self._time_s()
        if now_s >= self._generation_ends_s:
            self._nonces, self._older_nonces = set(), self._nonces
            self._generation_ends_s = now_s + 2 * _SKEW_S
        if nonce in self._nonces or nonce in self._older_nonces:
            raise bad_signature("the nonce was used before")
        self._nonces.add(nonce)


def _public_key(merchant: WeChatMerchant) -> rsa.RSAPublicKey:
    key = load_pem_public_key(merchant.public_key_pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("the merchant's public key is not an RSA key")
    return key


def _parameters(authorization: str) -> dict[str, str]:
    scheme, _, rest = authorization.partition(" ")
    if scheme != _SCHEME:
        raise bad_signature(f"the Authorization header must be of {_SCHEME}")
    found: dict[str, str] = {}
    for part in rest.split(","):
        match = _PARAMETER.fullmatch(part)
        if match is None or match[1] in found:
            raise bad_signature("the Authorization header is malformed")
        found[match[1]] = match[2]
    if set(found) != _NAMES:
        raise bad_signature("the Authorization header lacks a parameter or has one too many")
    return found
