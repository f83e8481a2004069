"""Certificates of certificate mode: their serial numbers in Alipay's sense, and chains up to a known root. Pure.

Source: Alipay Open API, certificate signing: SN = MD5 of the issuer's name (most specific part first, `CN=…,OU=…`) and
the decimal serial number; of the file of roots, the SN of each that is signed with RSA, joined by `_`.
"""

import hashlib
import re
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,20000}-----END CERTIFICATE-----")
_RSA_SIGNATURES: Final = "1.2.840.113549.1.1."
_LONGEST_CHAIN: Final = 5


class CertificateRefused(Exception):
    """A certificate that is not believed. `cause` is one word for the metrics: malformed, foreign, expired, another."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """In order; those that cannot be read, as those of national algorithms, are left out."""
    found: list[x509.Certificate] = []
    for block in _PEM.findall(pem):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue
    return found


def serial_number(certificate: x509.Certificate) -> str:
    """The SN, 32 hex digits."""
    issuer = ",".join(f"{each.rfc4514_attribute_name}={each.value!s}" for each in reversed(list(certificate.issuer)))
    text = f"{issuer}{certificate.serial_number}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def root_serial_number(roots: list[x509.Certificate]) -> str:
    signed_with_rsa = [each for each in roots if each.signature_algorithm_oid.dotted_string.startswith(_RSA_SIGNATURES)]
    return "_".join(serial_number(each) for each in signed_with_rsa)


def verified_key(chain: list[x509.Certificate], roots: list[x509.Certificate], now: datetime | None) -> RSAPublicKey:
    """The public key of the first certificate, whose chain leads to one of the roots.

    now: with a time zone; None: whenever it was or will be valid.
    Raises CertificateRefused: foreign where it leads nowhere, expired where one of them is not valid now, malformed
    where the first holds no RSA key of 2048 bits or more.
    """
    if not chain:
        raise CertificateRefused("malformed")
    current = chain[0]
    for _ in range(_LONGEST_CHAIN):
        if now is not None and not current.not_valid_before_utc <= now <= current.not_valid_after_utc:
            raise CertificateRefused("expired")
        if current in roots:
            return _rsa_key(chain[0])
        issuer = next((each for each in [*roots, *chain[1:]] if _issued(current, each)), None)
        if issuer is None:
            raise CertificateRefused("foreign")
        current = issuer
    raise CertificateRefused("foreign")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.value.ca


def _rsa_key(certificate: x509.Certificate) -> RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        raise CertificateRefused("malformed")
    return key
