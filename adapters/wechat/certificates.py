"""The platform certificates in an answer of `GET /v3/certificates`. Pure.

Source: https://pay.weixin.qq.com/doc/v3/merchant/4012551764. Each certificate is encrypted under the APIv3 key and was
issued by WeChat Pay's own authority, whose certificate is configured: who knows the APIv3 key alone cannot make one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from adapters.wechat.answers import certificates_of
from adapters.wechat.codec import InvalidResource, decrypt_resource


@dataclass(slots=True, frozen=True)
class PlatformCertificate:
    """serial_no: upper-case hex. expires_s: Unix seconds."""

    serial_no: str
    key: rsa.RSAPublicKey
    expires_s: float


class RefusedCertificate(Exception):
    """cause: foreign (another authority), undecryptable, malformed, expired (or not yet valid)."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def load_root(pem: str) -> x509.Certificate:
    """Raises ValueError for anything but one RSA certificate."""
    root = x509.load_pem_x509_certificate(pem.encode())
    if not isinstance(root.public_key(), rsa.RSAPublicKey):
        raise ValueError("the authority's key is not an RSA key")
    return root


def read_certificates(
    body: bytes, apiv3_key: bytes, root: x509.Certificate, now_s: float
) -> tuple[list[PlatformCertificate], list[RefusedCertificate]]:
    """The good ones, and why the others are not. Raises InvalidAnswer for a body without a list of them."""
    good: list[PlatformCertificate] = []
    refused: list[RefusedCertificate] = []
    for each in certificates_of(body):
        try:
            good.append(_read(each, apiv3_key, root, now_s))
        except RefusedCertificate as refusal:
            refused.append(refusal)
    return good, refused


def _read(listed: Mapping[str, Any], apiv3_key: bytes, root: x509.Certificate, now_s: float) -> PlatformCertificate:
    encrypted = listed.get("encrypt_certificate")
    if not isinstance(encrypted, dict):
        raise RefusedCertificate("malformed")
    try:
        certificate = x509.load_pem_x509_certificate(decrypt_resource(encrypted, apiv3_key))
        key = certificate.public_key()
    except InvalidResource:
        raise RefusedCertificate("undecryptable") from None
    except ValueError:
        raise RefusedCertificate("malformed") from None
    serial_no = f"{certificate.serial_number:X}"
    if not isinstance(key, rsa.RSAPublicKey) or str(listed.get("serial_no", "")).lstrip("0").upper() != serial_no:
        raise RefusedCertificate("malformed")
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        raise RefusedCertificate("foreign") from None
    now = datetime.fromtimestamp(now_s, UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise RefusedCertificate("expired")
    return PlatformCertificate(serial_no, key, certificate.not_valid_after_utc.timestamp())
