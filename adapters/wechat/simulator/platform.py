"""The platform's own keys: the public key with an id, and platform certificates that are replaced now and then."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

_SCHEME = "WECHATPAY2-SHA256-RSA2048"
_LIFETIME = timedelta(days=5 * 365)
_ROOT_NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tenpay.com"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Tenpay.com CA Center"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com Root CA (simulated)"),
    ]
)
_PLATFORM_NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tenpay.com"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com sign (simulated)"),
    ]
)


@dataclass(slots=True, frozen=True)
class PlatformCertificate:
    """serial_no: upper-case hex, as the platform writes it. Times are UTC."""

    serial_no: str
    pem: str
    key: rsa.RSAPrivateKey
    effective: datetime
    expires: datetime


class Platform:
    """All that the platform signs with. key_id: a random one if empty. private_key_pem: of that key; else a new one.

    Certificates and their root are made when they are first asked for: most merchants know the public key only.
    """

    def __init__(
        self,
        time_s: Callable[[], float],
        key_id: str = "",
        real_time_s: Callable[[], float] | None = None,
        private_key_pem: str = "",
    ) -> None:
        self._key = _loaded(private_key_pem) if private_key_pem else _new_key()
        self._time_s = time_s
        self._real_time_s = real_time_s or time_s
        self.key_id = key_id or f"PUB_KEY_ID_{secrets.randbelow(10**28):028d}"

    @property
    def public_key_pem(self) -> str:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @cached_property
    def _root(self) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        key = _new_key()
        return key, self._certificate(_ROOT_NAME, key.public_key(), key, 20 * _LIFETIME / 5)

    @property
    def root_pem(self) -> str:
        return self._root[1].public_bytes(Encoding.PEM).decode()

    @cached_property
    def _certificates(self) -> list[PlatformCertificate]:
        return [self._issue()]

    def certificates(self) -> list[PlatformCertificate]:
        """Those that may sign now, oldest first; the last one does."""
        now = self._now()
        self._certificates[:] = [each for each in self._certificates if now < each.expires]
        if not self._certificates:
            self._certificates.append(self._issue())
        return list(self._certificates)

    def rotate(self, *, impostor: bool = False) -> PlatformCertificate:
        """A new certificate that signs from now on; what the older ones signed stays valid until they expire.

        impostor: issued by another authority of the same name.
        """
        self.certificates()
        self._certificates.append(self._issue(_new_key() if impostor else None))
        return self._certificates[-1]

    def expire_old(self) -> None:
        """Only the newest is listed from now on, as when the others' time is over."""
        self._certificates[:] = self.certificates()[-1:]

    def headers(self, body: bytes, asked_serial: str = "", *, forged: bool = False) -> dict[str, str]:
        """The Wechatpay-* headers for `body`; forged: a signature of something else.

        asked_serial: `Wechatpay-Serial` of the request. A request that names the public key is answered under it, any
        other under the newest platform certificate.
        """
        serial, key = self.key_id, self._key
        if asked_serial != self.key_id:
            newest = self.certificates()[-1]
            serial, key = newest.serial_no, newest.key
        timestamp, nonce = str(int(self._time_s())), secrets.token_hex(16)
        text = f"{timestamp}\n{nonce}\n".encode() + body + (b"." if forged else b"\n")
        signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": base64.b64encode(signature).decode(),
            "Wechatpay-Serial": serial,
            "Wechatpay-Signature-Type": _SCHEME,
        }

    def knows(self, serial: str) -> bool:
        """Whether a request may name this in its `Wechatpay-Serial`."""
        if serial.startswith("PUB_KEY_ID_"):
            return serial == self.key_id
        return serial.upper() in {each.serial_no for each in self.certificates()}

    def _issue(self, issuer_key: rsa.RSAPrivateKey | None = None) -> PlatformCertificate:
        key = _new_key()
        certificate = self._certificate(_PLATFORM_NAME, key.public_key(), issuer_key or self._root[0], _LIFETIME)
        return PlatformCertificate(
            f"{certificate.serial_number:X}",
            certificate.public_bytes(Encoding.PEM).decode(),
            key,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )

    def _certificate(
        self, name: x509.Name, key: rsa.RSAPublicKey, issuer_key: rsa.RSAPrivateKey, lifetime: timedelta
    ) -> x509.Certificate:
        now = self._now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(_ROOT_NAME)
            .public_key(key)
            .serial_number((1 << 158) | secrets.randbits(158))  # 40 hex digits, as theirs have
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=name == _ROOT_NAME, path_length=None), critical=True)
        )
        return builder.sign(issuer_key, hashes.SHA256())

    def _now(self) -> datetime:
        """Certificates are made by the real time: a clock that runs away is a fault of the servers."""
        return datetime.fromtimestamp(int(self._real_time_s()), UTC)


def _loaded(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("private_key_pem: not an RSA private key")
    return key


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
