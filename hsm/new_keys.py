"""What a new key is to be, and its making: in the token, or in locked memory and from there into the token."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm import _core, _sm
from hsm.errors import HsmUnavailable, InvalidCommand
from hsm.key_file import KeyInfo
from hsm.public_keys import sm2_pem
from hsm.usages import (
    ALGORITHMS,
    FAMILIES,
    GENERATED,
    USAGE_MODES,
    Exportability,
    KeyUsage,
    algorithm_of,
    block_usage,
    lives_in_token,
)

MAX_LABEL: Final = 128
SINGLE_DES_USAGES: Final = (KeyUsage.MAC_KEY,)
KEY_PAIRS: Final = frozenset({"RSA", "EC", "SM2"})


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Every attribute of a key but its value. Made by `specify`, which checks them."""

    label: str
    usage: KeyUsage
    algorithm: str
    mode: str
    exportability: Exportability
    expires_time_ms: int | None = None

    @property
    def family(self) -> str:
        return ALGORITHMS[self.algorithm][0]

    @property
    def in_token(self) -> bool:
        return lives_in_token(self.usage, self.family, self.exportability)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is nowhere stored yet; handle: of its session object in the token, 0 on the host."""

    key: _core.Key
    handle: int
    kcv: str


def specify(
    label: str,
    usage: KeyUsage,
    algorithm: str | None = None,
    *,
    mode: str | None = None,
    exportability: Exportability = Exportability.NEVER,
    expires_time_ms: int | None = None,
) -> KeySpec:
    """None: the usage's own algorithm and mode. Raises InvalidCommand for attributes that do not go together."""
    check_label(label)
    algorithm = algorithm or GENERATED[usage]
    mode = mode or USAGE_MODES[usage][0]
    family, _ = ALGORITHMS.get(algorithm, ("", 0))
    if family not in FAMILIES[usage] or (algorithm == "DES" and usage not in SINGLE_DES_USAGES):
        raise InvalidCommand(f"a {usage} key cannot be {algorithm[:32]}")
    if mode != "N" and mode not in tuple(USAGE_MODES[usage]):
        raise InvalidCommand(f"a {usage} key has the mode of use {', '.join(USAGE_MODES[usage])} or N")
    if exportability is not Exportability.NEVER and block_usage(usage, family) is None:
        raise InvalidCommand(f"a {usage} key of {algorithm} travels in no key block: its exportability is N")
    return KeySpec(label, usage, algorithm, mode, exportability, expires_time_ms)


def check_label(label: str) -> None:
    if not 0 < len(label) <= MAX_LABEL or "?" in label or not label.isascii() or not label.isprintable():
        raise InvalidCommand("a label is 1 to 128 printable ASCII characters without '?'")


def component_algorithm(usage: KeyUsage, components: Sequence[bytes | bytearray], family: str | None) -> str:
    """The algorithm of a key of such components. Raises InvalidCommand."""
    if set(FAMILIES[usage]) <= KEY_PAIRS:
        raise InvalidCommand(f"a {usage} key is not formed from components")
    return algorithm_of(family or FAMILIES[usage][0], len(components[0]) if components else 0)


def components_check_value(usage: KeyUsage, algorithm: str, components: Sequence[bytes | bytearray]) -> str:
    """KCV of one component by itself, or of the key that several form. Raises InvalidCommand."""
    spec = specify("components", usage, algorithm)
    given = [*components, bytes(len(components[0]))] if len(components) == 1 else components
    if component_algorithm(usage, components, spec.family) != algorithm:
        raise InvalidCommand(f"a component of {algorithm} has {ALGORITHMS[algorithm][1]} bytes")
    return _core.combine_host_key(spec.label, usage, given, spec.family).check_value()


def random_key(token: _core.Token, spec: KeySpec) -> NewKey:
    """A new random key. One that is to live in the token is made there; but a double-length DES key, which SoftHSM
    cannot generate, is made in locked memory."""
    family, length = ALGORITHMS[spec.algorithm]
    if family == "RSA":
        return token_key(token, spec, token.generate_rsa())
    if family == "EC":
        return token_key(token, spec, token.generate_ec_p256())
    if family == "SM2":
        return placed(token, spec, _sm.generate_key(spec.label, spec.usage, mode=spec.mode))
    if spec.in_token and spec.algorithm != "TDES-2KEY":
        return token_key(token, spec, token.generate_secret(family, length, _core.PERMISSIONS[spec.usage]))
    made = _core.generate_host_key(spec.label, spec.usage, length, family, mode=spec.mode)
    return placed(token, spec, made)


def placed(token: _core.Token, spec: KeySpec, key: _core.HostKey) -> NewKey:
    """A key in locked memory, moved into the token if it is to live there. Raises InvalidCommand."""
    if not spec.in_token:
        return NewKey(key, 0, key.check_value())
    if spec.family == "HMAC" and key.length < 32:
        raise InvalidCommand("the token takes no HMAC key shorter than 32 bytes")
    return token_key(token, spec, token.create_secret(key, _core.PERMISSIONS[spec.usage]))


def token_key(token: _core.Token, attributes: KeySpec | KeyInfo, handle: int) -> NewKey:
    """A session object in the token as a key. Raises HsmUnavailable if its value could be read."""
    label, family = attributes.label, attributes.family
    if not token.is_protected(handle):
        raise HsmUnavailable(f"key {label} can be read out of the token")
    kcv = token_check_value(token, attributes, handle)
    return NewKey(_core.TokenKey(label, attributes.usage, token, family, handle, mode=attributes.mode), handle, kcv)


def token_check_value(token: _core.Token, attributes: KeySpec | KeyInfo, handle: int) -> str:
    """KCV of an object in the token."""
    family = attributes.family
    if family in ("RSA", "EC"):
        return hashlib.sha256(_token_public_key(token, family, handle, Encoding.DER)).hexdigest()[:6].upper()
    # KEY_STORAGE opens no sessions of its own, which is all a check value needs.
    return _core.TokenKey(attributes.label, KeyUsage.KEY_STORAGE, token, family, handle).check_value(token)


def public_key(token: _core.Token, family: str, key: _core.Key, handle: int) -> bytes:
    """PEM (SubjectPublicKeyInfo) of a key pair, wherever it lives."""
    if not isinstance(key, _core.HostKey):
        return _token_public_key(token, family, handle, Encoding.PEM)
    return sm2_pem(_sm.public_key(key))


def _token_public_key(token: _core.Token, family: str, handle: int, encoding: Encoding) -> bytes:
    if family == "RSA":
        modulus, exponent = (int.from_bytes(each) for each in token.rsa_public_numbers(handle))
        rsa_key = RSAPublicNumbers(exponent, modulus).public_key()
        return rsa_key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), token.ec_public_point(handle))
    return point.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
