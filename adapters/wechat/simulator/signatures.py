"""Both directions of WECHATPAY2-SHA256-RSA2048, as the platform does them."""

import base64
import re
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from adapters.wechat.simulator.errors import bad_signature

_SCHEME = "WECHATPAY2-SHA256-RSA2048"
_PARAMETER = re.compile(r'\s*([a-z_]+)="([^"]*)"\s*')
_NAMES = {"mchid", "nonce_str", "signature", "timestamp", "serial_no"}
_SKEW_S = 300


class MerchantGate:
    """Lets in only what the merchant signed, lately and for the first time."""

    def __init__(self, mchid: str, serial_no: str, public_key_pem: str, time_s: Callable[[], float]) -> None:
        key = load_pem_public_key(public_key_pem.encode())
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("the merchant's public key is not an RSA key")
        self._key = key
        self._mchid = mchid
        self._serial_no = serial_no.lower()
        self._time_s = time_s
        # Two generations, each longer than a signature lives: a bound on what has to be remembered.
        self._nonces: set[str] = set()
        self._older_nonces: set[str] = set()
        self._generation_ends_s = time_s() + 2 * _SKEW_S

    def check(self, authorization: str, method: str, target: str, body: bytes) -> None:
        """Raises Refusal (401 SIGN_ERROR). target: the raw path with its query, as on the request line."""
        given = _parameters(authorization)
        if given["mchid"] != self._mchid:
            raise bad_signature("the mchid is not known")
        if given["serial_no"].lower() != self._serial_no:
            raise bad_signature("the certificate's serial number is not the merchant's")
        if not re.fullmatch(r"[0-9]{1,12}", given["timestamp"]):
            raise bad_signature("the timestamp is not a Unix time")
        if abs(int(given["timestamp"]) - self._time_s()) > _SKEW_S:
            raise bad_signature("the timestamp is too far from now")
        if not re.fullmatch(r"[0-9A-Za-z]{1,32}", given["nonce_str"]):
            raise bad_signature("the nonce is malformed")
        lines = (method, target, given["timestamp"], given["nonce_str"])
        text = b"".join(line.encode() + b"\n" for line in lines) + body + b"\n"
        try:
            signature = base64.b64decode(given["signature"], validate=True)
            self._key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, InvalidSignature):
            raise bad_signature("the signature does not match") from None
        self._remember(given["nonce_str"])

    def _remember(self, nonce: str) -> None:
        now_s = self._time_s()
        if now_s >= self._generation_ends_s:
            self._nonces, self._older_nonces = set(), self._nonces
            self._generation_ends_s = now_s + 2 * _SKEW_S
        if nonce in self._nonces or nonce in self._older_nonces:
            raise bad_signature("the nonce was used before")
        self._nonces.add(nonce)


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


class PlatformSigner:
    """The platform's own key, new with every simulator. key_id: a random one if empty."""

    def __init__(self, time_s: Callable[[], float], key_id: str = "") -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._time_s = time_s
        self.key_id = key_id or f"PUB_KEY_ID_{secrets.randbelow(10**28):028d}"

    @property
    def public_key_pem(self) -> str:
        public = self._key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def headers(self, body: bytes, *, forged: bool = False) -> dict[str, str]:
        """The Wechatpay-* headers for `body`; forged: a signature of something else."""
        timestamp, nonce = str(int(self._time_s())), secrets.token_hex(16)
        text = f"{timestamp}\n{nonce}\n".encode() + body + (b"." if forged else b"\n")
        signature = self._key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": base64.b64encode(signature).decode(),
            "Wechatpay-Serial": self.key_id,
            "Wechatpay-Signature-Type": _SCHEME,
        }
