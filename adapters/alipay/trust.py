"""Whose signatures are believed: one public key, or the keys of certificates that lead to Alipay's roots. No I/O."""

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adapters.alipay.certificates import (
    CertificateRefused,
    read_certificates,
    root_serial_number,
    serial_number,
    verified_key,
)
from adapters.alipay.codec import ForgedAnswer, UnknownCertificate, load_public_key


class Trust:
    """application_sn, root_sn: what requests of certificate mode name; "" in public-key mode."""

    def __init__(self) -> None:
        self.application_sn = ""
        self.root_sn = ""
        self._roots: list[x509.Certificate] = []
        self._keys: dict[str, RSAPublicKey] = {}

    @classmethod
    def by_public_key(cls, pem: str) -> "Trust":
        """Raises ValueError."""
        trust = cls()
        try:
            trust._keys[""] = load_public_key(pem)
        except ValueError as error:
            raise ValueError(f"alipay_public_key_pem: {error}") from error
        return trust

    @classmethod
    def by_certificates(cls, application_pem: str, roots_pem: str, platform_pem: str) -> "Trust":
        """Raises ValueError. The platform's certificate may have ended: Alipay is asked for the one after it."""
        trust = cls()
        ours = read_certificates(application_pem.encode())
        trust._roots = read_certificates(roots_pem.encode())
        if not ours:
            raise ValueError("application_certificate_pem: not a certificate in PEM")
        trust.application_sn = serial_number(ours[0])
        trust.root_sn = root_serial_number(trust._roots)
        if not trust.root_sn:
            raise ValueError("root_certificates_pem: no certificate that is signed with RSA")
        chain = read_certificates(platform_pem.encode())
        try:
            key = verified_key(chain, trust._roots, None)
            trust._keys[serial_number(chain[0])] = key
        except CertificateRefused as refusal:
            raise ValueError(f"alipay_certificate_pem: {refusal.cause}") from refusal
        return trust

    @property
    def certified(self) -> bool:
        return bool(self.application_sn)

    def key(self, sn: str) -> RSAPublicKey:
        """Of the answer that names this certificate. Raises UnknownCertificate, or ForgedAnswer where it names none."""
        if not self.certified:
            return self._keys[""]
        if not sn:
            raise ForgedAnswer("no certificate is named")
        if sn.lower() not in self._keys:
            raise UnknownCertificate(sn.lower())
        return self._keys[sn.lower()]

    def knows(self, sn: str) -> bool:
        return sn.lower() in self._keys

    def every_key(self) -> Iterable[RSAPublicKey]:
        """All of them, the newest first: a notification does not say which."""
        return reversed(self._keys.values())

    def examine(self, sn: str, pem: bytes, now: datetime) -> RSAPublicKey:
        """The key of the platform certificate that was fetched as `sn`. Raises CertificateRefused."""
        chain = read_certificates(pem)
        if not chain:
            raise CertificateRefused("malformed")
        if serial_number(chain[0]) != sn:
            raise CertificateRefused("another")
        return verified_key(chain, self._roots, now)

    def admit(self, sn: str, key: RSAPublicKey) -> None:
        self._keys[sn] = key
