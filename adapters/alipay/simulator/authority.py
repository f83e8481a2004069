"""The platform's certification authority, for certificate mode: roots, the platform's certificate, applications'.

A certificate is named by its serial number (SN) in Alipay's sense: MD5 of the issuer's name, most specific part first,
and the decimal serial number. The roots' SN joins those of the RSA certificates alone.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from adapters.alipay.simulator.signing import GatewayKey

_LIFE: Final = timedelta(days=5 * 365)
_ORGANIZATION: Final = "payswitch simulators"
_UNIT: Final = "Certification Authority"
_SHORT: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.COUNTRY_NAME: "C",
}

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def certificate_sn(pem: str) -> str:
    """The SN of a PEM certificate, 32 hex digits; of a chain, its first."""
    certificate = x509.load_pem_x509_certificates(pem.encode())[0]
    names = {each.oid: str(each.value) for each in certificate.issuer}
    issuer = ",".join(f"{short}={names[oid]}" for oid, short in _SHORT.items() if oid in names)
    return hashlib.md5(f"{issuer}{certificate.serial_number}".encode(), usedforsecurity=False).hexdigest()


class PlatformAuthority:
    """Makes its keys when first asked: public-key mode needs none of them. now_s: Unix seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._certificates: dict[str, str] = {}  # the platform's, by SN: old ones can still be fetched
        self._key: GatewayKey | None = None
        self._current = ""

    # --- roots ------------------------------------------------------------------------------------------------------

    @cached_property
    def root_certificates_pem(self) -> str:
        """Two RSA roots and one of another kind, which no client counts, with an empty line between, as Alipay's."""
        elliptic = ec.generate_private_key(ec.SECP256R1())
        other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        roots = [
            self._issued("Root R1", self._root_key.public_key(), "Root R1", self._root_key, authority=True),
            self._issued("Root E1", elliptic.public_key(), "Root E1", elliptic, authority=True),
            self._issued("Root R2", other.public_key(), "Root R2", other, authority=True),
        ]
        return "\n".join(roots)

    @cached_property
    def root_sn(self) -> str:
        certificates = x509.load_pem_x509_certificates(self.root_certificates_pem.encode())
        rsa_alone = [each for each in certificates if isinstance(each.public_key(), rsa.RSAPublicKey)]
        return "_".join(certificate_sn(each.public_bytes(Encoding.PEM).decode()) for each in rsa_alone)

    @cached_property
    def _root_key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)

    @cached_property
    def _middle_key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)

    @cached_property
    def _middle_pem(self) -> str:
        return self._issued("Class 1 R1", self._middle_key.public_key(), "Root R1", self._root_key, authority=True)

    # --- what it certifies ------------------------------------------------------------------------------------------

    def application_certificate_pem(self, app_id: str, public_key: rsa.RSAPublicKey) -> str:
        return self._issued(app_id, public_key, "Class 1 R1", self._middle_key)

    @property
    def platform_certificate_pem(self) -> str:
        """The current one, followed by the one that signed it."""
        if not self._current:
            self.rotate()
        return self._certificates[self._current]

    @property
    def platform_sn(self) -> str:
        return certificate_sn(self.platform_certificate_pem)

    @property
    def key(self) -> GatewayKey:
        if self._key is None:
            self.rotate()
        assert self._key is not None
        return self._key

    def rotate(self) -> None:
        """A new key and certificate from now on. The old certificate can still be fetched."""
        self._key = GatewayKey()
        certificate = self._issued("Alipay", self._key.public_key, "Class 1 R1", self._middle_key)
        self._current = certificate_sn(certificate)
        self._certificates[self._current] = certificate + self._middle_pem

    def rotate_to(self, key: GatewayKey, chain_pem: str) -> None:
        """A fault: from now on this key signs, under a certificate that anybody may have made."""
        self._key, self._current = key, certificate_sn(chain_pem)
        self._certificates[self._current] = chain_pem

    def platform_certificate(self, sn: str) -> str | None:
        return self._certificates.get(sn.lower())

    def _issued(
        self, subject: str, key: _PublicKey, issuer: str, issuer_key: _PrivateKey, authority: bool = False
    ) -> str:
        now = datetime.fromtimestamp(self._now_s(), UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(issuer))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _LIFE)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(issuer_key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM).decode()


def _name(common_name: str) -> x509.Name:
    """Country first, common name last, as in Alipay's certificates."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, _UNIT),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
