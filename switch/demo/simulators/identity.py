"""The independent client: an application of Alipay's, a merchant of WeChat Pay's and a member of UnionPay's that
are not the switch. Its keys are made once and lie in files, 0600, as an SDK wants them.
"""

import base64
import datetime as dt
import json
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from hsm.token import file_lock, write_atomically

APP_ID = "2021000000000002"
APPID, MCHID = "wx0000000000000002", "1900000002"
INSTITUTION_ID = "01030344"

_CERTIFICATE_DAYS = 5 * 365
_PKCS1, _PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8


class IdentityError(Exception):
    """A file of the client's is damaged; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """One RSA-2048 key: its PEM file in PKCS #8 and, beside it, in PKCS #1."""

    pkcs8: Path
    pkcs1: Path
    key: rsa.RSAPrivateKey = field(repr=False)

    @property
    def public_pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True, slots=True)
class Secrets:
    """aes_key: base64 of 16 bytes. apiv3_key, v2_key: 32 characters. unionpay_mmk: 32 hex digits."""

    aes_key: str = field(repr=False)
    apiv3_key: str = field(repr=False)
    v2_key: str = field(repr=False)
    unionpay_mmk: str = field(repr=False)


class Identity:
    """The client of one folder. Raises IdentityError.

    application, merchant: its RSA keys. merchant_certificate, master_key: files, the latter with 32 hex digits.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.merchant_certificate = folder / "merchant-certificate.pem"
        self.master_key = folder / "unionpay-mmk.txt"
        with file_lock(folder / ".lock"):
            self.application = _key_files(folder / "app-private-key.pem")
            self.merchant = _key_files(folder / "merchant-private-key.pem")
            self.secrets = _secrets(folder / "secrets.json")
            self._certify()
            _keep(self.master_key, f"{self.secrets.unionpay_mmk}\n".encode())

    @cached_property
    def merchant_serial_no(self) -> str:
        """Of the merchant's certificate: 40 hex digits, upper case."""
        return f"{_certificate(self.merchant_certificate).serial_number:040X}"

    def _certify(self) -> None:
        path, public_key = self.merchant_certificate, self.merchant.key.public_key()
        if path.exists():
            known = _certificate(path)
            expired = known.not_valid_after_utc < dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
            if known.public_key() == public_key and not expired:
                return
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, MCHID)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number((1 << 158) | secrets.randbits(158))  # 40 hex digits, as those of WeChat Pay have
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=_CERTIFICATE_DAYS))
            .sign(self.merchant.key, hashes.SHA256())
        )
        write_atomically(path, certificate.public_bytes(Encoding.PEM))


def rsa_key(path: Path) -> tuple[rsa.RSAPrivateKey, bytes]:
    """An RSA-2048 key and its file's content in PKCS #8, made if it is not there. Raises IdentityError."""
    if not path.exists():
        made = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        write_atomically(path, made.private_bytes(Encoding.PEM, _PKCS8, NoEncryption()))
    content = path.read_bytes()
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise _damaged(path) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _damaged(path)
    return key, content


def _key_files(pkcs8: Path) -> KeyFiles:
    key, _ = rsa_key(pkcs8)
    pkcs1 = pkcs8.with_name(f"{pkcs8.stem}-pkcs1.pem")
    _keep(pkcs1, key.private_bytes(Encoding.PEM, _PKCS1, NoEncryption()))
    return KeyFiles(pkcs8, pkcs1, key)


def _secrets(path: Path) -> Secrets:
    if not path.exists():
        made = {
            "aes_key": base64.b64encode(secrets.token_bytes(16)).decode(),
            "apiv3_key": secrets.token_hex(16),
            "v2_key": secrets.token_hex(16),
            "unionpay_mmk": secrets.token_hex(16).upper(),
        }
        write_atomically(path, json.dumps(made).encode())
    try:
        return Secrets(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        raise _damaged(path) from None


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise _damaged(path) from None


def _keep(path: Path, content: bytes) -> None:
    """Written if it is not there already: a start that finds everything waits for no disk."""
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


def _damaged(path: Path) -> IdentityError:
    return IdentityError(f"{path} is damaged: remove it for a new one")
