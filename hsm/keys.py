"""The key store: every key by its label, with one usage it may not leave, a check value and a state.

Where keys live:

- in the token, non-extractable: PIN_KEY, KEY_TRANSPORT, SIGNING, SEALING, HASHING and `hsm/storage` (KEY_STORAGE);
- on the host, in locked and wiped memory, and in `working-keys.json` under `hsm/storage`: every MAC_KEY (SoftHSM has no
  retail MAC) and every working key that arrives under a KEY_TRANSPORT key (UnionPay's PIK and MAK).

A key in the token carries `usage|state|algorithm|KCV` in CKA_ID, written in the same call that creates it.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm import _core
from hsm.algorithms import PENDING, PREVIOUS
from hsm.errors import HsmUnavailable, InvalidCommand, KeyExists, KeyNotFound, KeyUsageError
from hsm.token import OpenToken
from hsm.usages import KeyUsage
from hsm.working_keys import KeyState, SealedKey, open_key, read_sealed_keys, seal_key, write_sealed_keys

__all__ = ["KeyInfo", "KeyState", "KeyStore", "KeyUsage"]

STORAGE_LABEL: Final = "hsm/storage"
SUFFIXES: Final = {KeyState.PENDING: PENDING, KeyState.CURRENT: "", KeyState.PREVIOUS: PREVIOUS}


GENERATED: Final = {
    KeyUsage.PIN_KEY: "TDES-3KEY",
    KeyUsage.MAC_KEY: "TDES-2KEY",
    KeyUsage.KEY_TRANSPORT: "TDES-3KEY",
    KeyUsage.SIGNING: "RSA-2048",
    KeyUsage.SEALING: "AES-256",
    KeyUsage.HASHING: "HMAC-SHA-256",
    KeyUsage.KEY_STORAGE: "AES-256",
    KeyUsage.KEY_WRAPPING: "AES-256",
}
"""The algorithm `generate` chooses for a usage."""

ALGORITHMS: Final = {
    "DES": ("DES", 8),
    "TDES-2KEY": ("DES", 16),
    "TDES-3KEY": ("DES", 24),
    "AES-128": ("AES", 16),
    "AES-192": ("AES", 24),
    "AES-256": ("AES", 32),
    "HMAC-SHA-256": ("HMAC", 32),
    "RSA-2048": ("RSA", 256),
}
"""Algorithm → (family, bytes)."""

FAMILIES: Final = {
    KeyUsage.PIN_KEY: ("DES", "AES"),
    KeyUsage.MAC_KEY: ("DES",),
    KeyUsage.KEY_TRANSPORT: ("DES",),
    KeyUsage.SEALING: ("AES",),
    KeyUsage.HASHING: ("HMAC",),
    KeyUsage.KEY_STORAGE: ("AES",),
    KeyUsage.KEY_WRAPPING: ("AES",),
}
"""Families of secret keys a usage takes; the first is meant where none is named."""

WORKING_USAGES: Final = (KeyUsage.PIN_KEY, KeyUsage.MAC_KEY)
TOKEN_DES_BYTES: Final = (16, 24)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its value. kcv: upper-case hex; of an RSA key the first 3 bytes of SHA-256 of its public key."""

    label: str
    usage: KeyUsage
    algorithm: str
    kcv: str
    state: KeyState

    def identifier(self) -> bytes:
        return "|".join((self.usage, self.state, self.algorithm, self.kcv)).encode()

    @classmethod
    def from_identifier(cls, label: bytes, identifier: bytes) -> "KeyInfo":
        """Raises HsmUnavailable for an object this package did not make."""
        try:
            usage, state, algorithm, kcv = identifier.decode().split("|")
            return cls(label.decode(), KeyUsage(usage), algorithm, kcv, KeyState(state))
        except ValueError:
            raise HsmUnavailable("the token holds an object that is not a key of ours") from None


class KeyStore:
    """The keys of one open token. Methods may be called from any thread; they do file I/O and take milliseconds.

    `keys` is what the commands look labels up in: it changes by whole entries, so a command sees the old or the new.
    """

    def __init__(self, token: OpenToken) -> None:
        """Load all keys and check their KCVs; creates the storage key at first start. Raises HsmUnavailable."""
        self.token = token
        self.keys: dict[str, _core.Key] = {}
        self._core = token.core
        self._information: dict[str, KeyInfo] = {}
        self._handles: dict[str, int] = {}
        self._entries: dict[tuple[str, KeyState], SealedKey] = {}
        self._sealed_path: Path = token.directory / "working-keys.json"
        self._lock = threading.RLock()
        self.reload()
        self.ensure(STORAGE_LABEL, KeyUsage.KEY_STORAGE)

    def __repr__(self) -> str:
        return f"<KeyStore of {len(self._information)} keys>"

    def __contains__(self, label: str) -> bool:
        return label in self._information

    # --- reading ------------------------------------------------------------------------------------------------------

    def inventory(self) -> list[KeyInfo]:
        """All keys, sorted by label and state."""
        with self._lock:
            return sorted(self._information.values(), key=lambda each: (each.label, each.state))

    def find(self, label: str) -> KeyInfo:
        """One key; the label may carry a state (`…?pending`). Raises KeyNotFound."""
        found = self._information.get(label)
        if found is None:
            raise KeyNotFound(f"no key {label}")
        return found

    def public_key(self, label: str) -> bytes:
        """PEM (SubjectPublicKeyInfo) of a SIGNING key. Raises KeyNotFound, KeyUsageError."""
        information = self.find(label)
        if information.usage is not KeyUsage.SIGNING:
            raise KeyUsageError(f"key {label} is a {information.usage}, it has no public key")
        return self._public_key(self._handles[label], Encoding.PEM)

    # --- creating -----------------------------------------------------------------------------------------------------

    def generate(self, label: str, usage: KeyUsage, algorithm: str | None = None) -> KeyInfo:
        """A new random key; algorithm of `ALGORITHMS`, None: `GENERATED`. Raises KeyExists, InvalidCommand."""
        return self._create(label, usage, algorithm or GENERATED[usage], None)

    def ensure(self, label: str, usage: KeyUsage) -> KeyInfo:
        """The key of this label, generated if it is missing: for a first start. Raises KeyUsageError."""
        if label not in self:
            try:
                return self.generate(label, usage)
            except KeyExists:
                self.reload()  # another process was faster
        found = self.find(label)
        if found.usage is not usage:
            raise KeyUsageError(f"key {label} is a {found.usage}, not a {usage}")
        return found

    def generate_rsa(self, label: str) -> bytes:
        """A new RSA-2048 signing key; returns its public key as PEM. Raises KeyExists."""
        self.generate(label, KeyUsage.SIGNING)
        return self.public_key(label)

    def import_components(
        self, label: str, usage: KeyUsage, components: Sequence[bytes | bytearray], family: str | None = None
    ) -> KeyInfo:
        """A key formed as the exclusive or of two or more components of equal length (8–64 bytes), in the C core.

        family: "DES", "AES" or "HMAC", where the usage leaves a choice. The state is current.
        Raises KeyExists, InvalidCommand.
        """
        if usage not in FAMILIES:
            raise InvalidCommand(f"a {usage} key is not formed from components")
        length = len(components[0]) if components else 0
        family = family or FAMILIES[usage][0]
        fitting = [name for name, shape in ALGORITHMS.items() if shape == (family, length)]
        if family == "HMAC":
            fitting = ["HMAC-SHA-256"] if length >= 32 else []  # SoftHSM refuses shorter ones
        if not fitting:
            raise InvalidCommand(f"no {family} key has {length} bytes")
        return self._create(label, usage, fitting[0], components)

    def _create(
        self, label: str, usage: KeyUsage, algorithm: str, components: Sequence[bytes | bytearray] | None
    ) -> KeyInfo:
        family, length = ALGORITHMS.get(algorithm, ("", 0))
        if usage is KeyUsage.SIGNING:
            if family != "RSA":
                raise InvalidCommand("a SIGNING key is RSA-2048")
        elif family not in FAMILIES[usage]:
            raise InvalidCommand(f"a {usage} key cannot be {algorithm}")
        if not label or len(label) > 128 or "?" in label or not label.isascii() or not label.isprintable():
            raise InvalidCommand("a label is 1 to 128 printable ASCII characters without '?'")
        with self._lock, self.token.locked():
            self._reload()
            if label in self._information:
                raise KeyExists(f"key {label} exists")
            if usage is KeyUsage.MAC_KEY:
                self._create_on_host(label, usage, length, components)
            else:
                self._create_in_token(label, usage, algorithm, components)
            return self._information[label]

    def _create_on_host(
        self, label: str, usage: KeyUsage, length: int, components: Sequence[bytes | bytearray] | None
    ) -> None:
        if components is None:
            key = _core.generate_host_key(label, usage, length)
        else:
            key = _core.combine_host_key(label, usage, components)
        self._save({(label, KeyState.CURRENT): key})
        self._install(label, KeyState.CURRENT, key)

    def _create_in_token(
        self, label: str, usage: KeyUsage, algorithm: str, components: Sequence[bytes | bytearray] | None
    ) -> None:
        """Made as a session object, so that the token's copy appears at once with its check value."""
        family, length = ALGORITHMS[algorithm]
        if family == "DES" and length not in TOKEN_DES_BYTES:
            raise InvalidCommand("a single-length DES key is not kept in the token")
        if family == "RSA":
            made = self._core.generate_rsa()
        elif components is None and algorithm == "TDES-2KEY":
            raise InvalidCommand("double-length keys are formed from components; generate a TDES-3KEY")
        elif components is None:
            made = self._core.generate_secret(family, length, _core.PERMISSIONS[usage])
        else:
            made = self._core.combine_secret(family, components, _core.PERMISSIONS[usage])
        information = KeyInfo(label, usage, algorithm, self._check_value(label, usage, family, made), KeyState.CURRENT)
        self._core.store(made, label.encode(), information.identifier())
        self._core.destroy(made)
        self._reload()

    # --- working keys -------------------------------------------------------------------------------------------------

    def import_working_key(self, label: str, usage: KeyUsage, under: str, wrapped: bytes) -> str:
        """Unwrap a DES key of 8, 16 or 24 bytes (ECB under the KEY_TRANSPORT key `under`) and keep it as pending.

        A pending key of the same label is replaced. Returns the KCV. Durable on return.
        Raises KeyNotFound, KeyUsageError, InvalidCommand.
        """
        if usage not in WORKING_USAGES:
            raise KeyUsageError(f"a working key is a PIN_KEY or a MAC_KEY, not a {usage}")
        transport = self.keys.get(under)
        if transport is None:
            raise KeyNotFound(f"no key {under}")
        if not isinstance(transport, _core.TokenKey) or transport.usage != KeyUsage.KEY_TRANSPORT:
            raise KeyUsageError(f"key {under} is a {transport.usage}, not a {KeyUsage.KEY_TRANSPORT}")
        with self._lock, self.token.locked():
            self._reload()
            held = [self._information[each] for each in (label, label + PENDING) if each in self._information]
            if label in self._handles or any(each.usage is not usage for each in held):
                raise KeyUsageError(f"key {label} exists, and a {usage} that arrives wrapped may not replace it")
            key = _core.unwrap_host_key(label, usage, self._core, transport, wrapped)
            self._save({(label, KeyState.PENDING): key})
            self._install(label, KeyState.PENDING, key)
            return key.check_value()

    def activate_working_key(self, label: str) -> None:
        """Pending becomes current, current becomes previous, previous is forgotten. Durable on return.

        A pending key that is the current one already is dropped, and nothing else changes.

        Raises KeyNotFound if nothing is pending.
        """
        with self._lock, self.token.locked():
            self._reload()
            pending, current = self.keys.get(label + PENDING), self.keys.get(label)
            if not isinstance(pending, _core.HostKey):
                raise KeyNotFound(f"no key {label}{PENDING}")
            if isinstance(current, _core.HostKey) and current.check_value() == pending.check_value():
                # Another process of this token was given the same key: the previous one is still wanted.
                self._save({(label, KeyState.PENDING): None})
                self._remove(label + PENDING)
                return
            changes: dict[tuple[str, KeyState], _core.HostKey | None] = {(label, KeyState.CURRENT): pending}
            if isinstance(current, _core.HostKey):
                changes[label, KeyState.PREVIOUS] = current
            changes[label, KeyState.PENDING] = None
            self._save(changes)
            if isinstance(current, _core.HostKey):
                self._install(label, KeyState.PREVIOUS, current)
            self._install(label, KeyState.CURRENT, pending)
            self._remove(label + PENDING)

    def _save(self, changes: dict[tuple[str, KeyState], _core.HostKey | None]) -> None:
        """Write changed host keys (None: forget) to the file. The caller holds both locks."""
        storage = self.keys[STORAGE_LABEL]
        assert isinstance(storage, _core.TokenKey)
        entries = read_sealed_keys(self._sealed_path)
        for (label, state), key in changes.items():
            entries.pop((label, state), None)
            if key is not None:
                entries[label, state] = seal_key(self._core, storage, key, label, state)
        write_sealed_keys(self._sealed_path, entries)
        self._entries = entries

    # --- loading ------------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Take over what other processes created, imported or activated since. Raises HsmUnavailable."""
        with self._lock, self.token.locked():
            self._reload()

    def _reload(self) -> None:
        for handle, label, identifier in self._core.objects():
            information = KeyInfo.from_identifier(label, identifier)
            if information.label not in self._handles:
                self._load_from_token(information, handle)
        entries = read_sealed_keys(self._sealed_path)
        for key in self._entries.keys() - entries.keys():
            self._remove(key[0] + SUFFIXES[key[1]])
        for key, entry in entries.items():
            if self._entries.get(key) != entry:
                self._load_sealed(entry)
        self._entries = entries

    def _load_from_token(self, information: KeyInfo, stored: int) -> None:
        family = ALGORITHMS[information.algorithm][0]
        handle = self._core.load(stored)
        if not self._core.is_protected(handle):
            raise HsmUnavailable(f"key {information.label} can be read out of the token")
        if self._check_value(information.label, information.usage, family, handle) != information.kcv:
            raise HsmUnavailable(f"key {information.label}: its check value differs from the one stored with it")
        self.keys[information.label] = _core.TokenKey(information.label, information.usage, self._core, family, handle)
        self._handles[information.label] = handle
        self._information[information.label] = information

    def _load_sealed(self, entry: SealedKey) -> None:
        storage = self.keys.get(STORAGE_LABEL)
        if not isinstance(storage, _core.TokenKey):
            raise HsmUnavailable(f"working keys are stored, but the token has no {STORAGE_LABEL}")
        self._install(entry.label, entry.state, open_key(self._core, storage, entry))

    def _install(self, label: str, state: KeyState, key: _core.HostKey) -> None:
        name = label + SUFFIXES[state]
        algorithm = {8: "DES", 16: "TDES-2KEY", 24: "TDES-3KEY"}[key.length]
        self._information[name] = KeyInfo(label, KeyUsage(key.usage), algorithm, key.check_value(), state)
        self.keys[name] = key

    def _remove(self, name: str) -> None:
        del self.keys[name]
        del self._information[name]

    def _check_value(self, label: str, usage: KeyUsage, family: str, handle: int) -> str:
        if family == "RSA":
            return hashlib.sha256(self._public_key(handle, Encoding.DER)).hexdigest()[:6].upper()
        # KEY_STORAGE opens no sessions of its own, which is all a check value needs.
        return _core.TokenKey(label, KeyUsage.KEY_STORAGE, self._core, family, handle).check_value(self._core)

    def _public_key(self, handle: int, encoding: Encoding) -> bytes:
        modulus, exponent = (int.from_bytes(each) for each in self._core.rsa_public_numbers(handle))
        public = RSAPublicNumbers(exponent, modulus).public_key()
        return public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
