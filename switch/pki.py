"""Certificates: a development authority, and the one place that says what a participant's name looks like.

A participant is the URI name (RFC 5280 4.2.1.6) in its client certificate: `payswitch://<role>/<id>`, where the role is
acquirer, issuer, operator, reviewer, finance, platform, risk or messenger (access.proto says what each may do). In
production the certificates come from an authority of the operator's own; only the name is the contract.
"""

import datetime as dt
import fcntl
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROLES = ("acquirer", "issuer", "operator", "reviewer", "finance", "platform", "risk", "messenger")

AUTHORITY_DAYS = 3 * 365
CERTIFICATE_DAYS = 90
RENEWED_BEFORE_DAYS = 30
_CLOCK_SKEW = dt.timedelta(minutes=5)
_PARTICIPANT = re.compile(rf"payswitch://({'|'.join(ROLES)})/([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})")

SERVER_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)


class ParticipantError(ValueError):
    """The names are not those of exactly one participant."""


class PkiError(Exception):
    """The folder's authority cannot be used; the text says which file and what to do."""


def participant_uri(role: str, participant_id: str) -> str:
    """The URI name of a participant; raises ParticipantError if it would not be one.

    >>> participant_uri("acquirer", "shop-1")
    'payswitch://acquirer/shop-1'
    """
    uri = f"payswitch://{role}/{participant_id}"
    participant_of([uri])
    return uri


def participant_of(san_uris: Iterable[str]) -> tuple[str, str]:
    """(role, id) from a certificate's subject alternative names; those of other schemes do not count.

    The form is strict: lower-case scheme and role, no port, query or escapes, 1 to 64 of A-Z a-z 0-9 . _ - as id.
    Raises ParticipantError for none, for several, and for one of another form.

    >>> participant_of(["localhost", "payswitch://issuer/bank-1"])
    ('issuer', 'bank-1')
    """
    ours = [name for name in san_uris if name.lower().startswith("payswitch:")]
    if len(ours) != 1:
        raise ParticipantError(f"expected one payswitch:// name in the certificate, found {len(ours)}")
    match = _PARTICIPANT.fullmatch(ours[0])
    if match is None:
        raise ParticipantError(
            f"a participant's name is payswitch://<{'|'.join(ROLES)}>/<1 to 64 of A-Z a-z 0-9 . _ ->"
        )
    return match[1], match[2]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM files."""

    certificate: Path
    private_key: Path


class Authority:
    """The development authority of one folder. Every call makes what is missing and renews what is about to expire.

    Safe to use from several processes at once; an interrupted call leaves nothing half-written.
    Raises PkiError if the authority's certificate is there without its key, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = Pair(folder / "ca.pem", folder / "ca.key")

    @property
    def certificate(self) -> Path:
        return self._files.certificate

    def ensure(self) -> Path:
        """The authority's certificate."""
        with _locked(self._folder):
            self._load()
        return self._files.certificate

    def server(self, names: Iterable[x509.GeneralName] = SERVER_NAMES, file: str = "server") -> Pair:
        """The switch's certificate, for localhost and the loopback addresses unless other names are given."""
        usages = (ExtendedKeyUsageOID.SERVER_AUTH,)
        return self._leaf(file, "payswitch", x509.SubjectAlternativeName(names), usages)

    def participant(self, role: str, participant_id: str) -> Pair:
        """A client certificate in the name of a participant; raises ParticipantError for an impossible name."""
        uri = participant_uri(role, participant_id)
        usages = (ExtendedKeyUsageOID.CLIENT_AUTH,)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        return self._leaf(f"{role}-{participant_id}", f"{role} {participant_id}"[:64], names, usages)

    def _leaf(
        self, file: str, common_name: str, names: x509.SubjectAlternativeName, usages: Iterable[x509.ObjectIdentifier]
    ) -> Pair:
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        with _locked(self._folder):
            authority, authority_key = self._load()
            if not _still_good(pair, authority, names):
                key = ec.generate_private_key(ec.SECP256R1())
                builder = (
                    _started(common_name, key.public_key(), CERTIFICATE_DAYS)
                    .issuer_name(authority.subject)
                    .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                    .add_extension(_key_usage(signs_certificates=False), critical=True)
                    .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
                    .add_extension(_authority_key_identifier(authority), critical=False)
                    .add_extension(names, critical=False)
                )
                _write(pair, builder.sign(authority_key, hashes.SHA256()), key)
        return pair

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        certificate, key = _read(self._files)
        if certificate is not None and key is None:
            raise PkiError(
                f"{self._files.private_key} is missing or not the key of {self._files.certificate}: "
                "put it back, or remove the certificate for a new authority"
            )
        if certificate is None or key is None or _expires_soon(certificate, CERTIFICATE_DAYS + RENEWED_BEFORE_DAYS):
            key = ec.generate_private_key(ec.SECP256R1())
            builder = (
                _started("payswitch development CA", key.public_key(), AUTHORITY_DAYS)
                .issuer_name(_name("payswitch development CA"))
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(_key_usage(signs_certificates=True), critical=True)
            )
            certificate = builder.sign(key, hashes.SHA256())
            _write(self._files, certificate, key)
        return certificate, key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _started(common_name: str, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject.value)


def _still_good(pair: Pair, authority: x509.Certificate, names: x509.SubjectAlternativeName) -> bool:
    certificate, key = _read(pair)
    if certificate is None or key is None or _expires_soon(certificate, RENEWED_BEFORE_DAYS):
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError):  # another authority signed it: this one is newer
        return False
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names


def _expires_soon(certificate: x509.Certificate, days: int) -> bool:
    return certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) < dt.timedelta(days=days)


def _read(pair: Pair) -> tuple[x509.Certificate | None, ec.EllipticCurvePrivateKey | None]:
    """The pair as it is on disk; None for a certificate that is not there and for a key that is not its key."""
    if not pair.certificate.exists():
        return None, None
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        if not pair.private_key.exists():
            return certificate, None
        key = serialization.load_pem_private_key(pair.private_key.read_bytes(), password=None)
    except (ValueError, TypeError) as error:  # TypeError: the key is encrypted
        raise PkiError(f"{pair.certificate} or its key is damaged: remove both for new ones") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return certificate, None
    return certificate, key


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """The key first: an interruption leaves a key without a certificate, which is made anew."""
    pair.certificate.unlink(missing_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(pair.private_key, pem, mode=0o600)
    _replace(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write all or nothing; the temporary file is created 0600, so that a key is never readable by others."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    os.replace(temporary, path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
