"""The file of keys, `keys.json`: one entry per key version, the only truth about states.

JSON, 0600, replaced atomically under the token's lock, so a change of states happens completely or not at all.

- A key on the host is sealed in its entry: AES-256-GCM under the token's storage key `hsm/storage`, with all attributes
  as associated data, so an entry cannot be given another name, use, age or place.
- A key in the token, and a retired one, has no value here: its entry carries the seal of an empty plaintext over the
  same attributes. The object in the token bears the entry's identifier in CKA_ID.
- The file as a whole carries such a seal too: no entry can be left out or taken from an older file.
- `audit` is the last line of the audit trail (see `hsm.audit`): a state and the line about it change together.
"""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from hsm import _core
from hsm.algorithms import PENDING, PREVIOUS
from hsm.errors import HsmUnavailable
from hsm.token import write_atomically
from hsm.usages import ALGORITHMS, MODES, Exportability, KeyUsage

VERSION: Final = 2


class KeyState(StrEnum):
    """Age of a key version; it only ever moves down this list. A previous key still verifies MACs and unseals."""

    PENDING = "pending"
    CURRENT = "current"
    PREVIOUS = "previous"
    RETIRED = "retired"


class KeyPlace(StrEnum):
    """Where a key's value is."""

    TOKEN = "token"  # noqa: S105 — a place, not a secret
    HOST = "host"


SUFFIXES: Final[Mapping[KeyState, str]] = {KeyState.PENDING: PENDING, KeyState.CURRENT: "", KeyState.PREVIOUS: PREVIOUS}
"""What a label carries behind it for a version in this state. A retired version is in no command's reach."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A version of a key without its value.

    kcv: check value, upper-case hex, see `_core.HostKey.check_value`; of a key pair the first 3 bytes of SHA-256 (SM2:
    of SM3) of its public key. mode: of use, a letter of `hsm.usages.MODES`. expires_time_ms: the end of its
    crypto-period, which is shown, not enforced. Times are Unix time in milliseconds.
    """

    label: str
    version: int
    usage: KeyUsage
    algorithm: str
    mode: str
    exportability: Exportability
    kcv: str
    state: KeyState
    place: KeyPlace
    created_time_ms: int
    state_since_time_ms: int
    expires_time_ms: int | None = None

    @property
    def family(self) -> str:
        return ALGORITHMS[self.algorithm][0]

    @property
    def name(self) -> str | None:
        """What commands call it: the label with its state; None of a retired version."""
        suffix = SUFFIXES.get(self.state)
        return None if suffix is None else self.label + suffix

    def in_state(self, state: KeyState, now_ms: int) -> "KeyInfo":
        return dataclasses.replace(self, state=state, state_since_time_ms=now_ms)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One version in the file. identifier: 16 random bytes in hex. seal: nonce ‖ ciphertext ‖ tag, see the module."""

    info: KeyInfo
    identifier: str
    seal: bytes

    @property
    def sealed_value(self) -> bool:
        """Whether the key itself is in `seal`."""
        return self.info.place is KeyPlace.HOST and self.info.state is not KeyState.RETIRED


@dataclass(frozen=True, slots=True)
class KeyFile:
    """entries by identifier; audit_line: the last line of the audit trail; seal: over all of it."""

    entries: Mapping[str, KeyEntry]
    audit_line: str
    seal: bytes


def attributes(info: KeyInfo, identifier: str) -> bytes:
    """What an entry's seal binds together: canonical JSON of all attributes."""
    return _canonical({"identifier": identifier, **dataclasses.asdict(info)})


def read_key_file(path: Path) -> KeyFile | None:
    """The file, not yet authenticated; None if there is none. Raises HsmUnavailable if it is not what `write` made."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            raise HsmUnavailable(f"{path} has version {document['version']}; this program knows {VERSION}")
        entries = [_entry(each) for each in document["keys"]]
        file = KeyFile({each.identifier: each for each in entries}, str(document["audit"]), _bytes(document["seal"]))
    except (ValueError, KeyError, TypeError) as error:
        raise HsmUnavailable(f"{path} is broken: {type(error).__name__}") from None
    names = [each.info.name for each in entries if each.info.name is not None]
    if len(file.entries) != len(entries) or len(set(names)) != len(names):
        raise HsmUnavailable(f"{path} is broken: it names a key twice")
    return file


def write_key_file(path: Path, file: KeyFile) -> None:
    """Replace the file. Call under the token's lock, with what was read under the same lock."""
    document = {**_body(file.entries.values(), file.audit_line), "seal": _text(file.seal)}
    write_atomically(path, json.dumps(document, indent=1).encode())


class Storage:
    """Seals and opens entries under one version of the storage key."""

    def __init__(self, token: _core.Token, key: _core.TokenKey) -> None:
        self._token = token
        self.key = key

    def entry(self, info: KeyInfo, identifier: str, key: _core.Key) -> KeyEntry:
        """The entry of a version in this state; key: where its value is kept."""
        context = attributes(info, identifier)
        if isinstance(key, _core.HostKey) and info.state is not KeyState.RETIRED:
            return KeyEntry(info, identifier, _core.seal_host_key(self._token, self.key, key, context))
        return self.bare_entry(info, identifier)

    def bare_entry(self, info: KeyInfo, identifier: str) -> KeyEntry:
        """The entry of a version whose value is not in the file."""
        return KeyEntry(info, identifier, _core.authenticate(self._token, self.key, attributes(info, identifier)))

    def open(self, entry: KeyEntry) -> _core.HostKey | None:
        """The host key of an entry; None if its value is not in the file.

        Raises MacMismatch if the entry was changed, HsmUnavailable if its check value differs.
        """
        info, context = entry.info, attributes(entry.info, entry.identifier)
        if not entry.sealed_value:
            _core.check_authentic(self._token, self.key, entry.seal, context)
            return None
        key = _core.open_host_key(
            info.label, info.usage, self._token, self.key, entry.seal, context, info.family, mode=info.mode
        )
        if key.check_value() != info.kcv:
            raise HsmUnavailable(f"key {info.label}: its check value differs from the one stored with it")
        return key

    def file(self, entries: Iterable[KeyEntry], audit_line: str) -> KeyFile:
        by_identifier = {each.identifier: each for each in entries}
        digest = _digest(by_identifier.values(), audit_line)
        return KeyFile(by_identifier, audit_line, _core.authenticate(self._token, self.key, digest))

    def check(self, file: KeyFile) -> None:
        """Raises MacMismatch unless the file is, as a whole, one that `file` made."""
        _core.check_authentic(self._token, self.key, file.seal, _digest(file.entries.values(), file.audit_line))


def _entry(fields: Mapping[str, Any]) -> KeyEntry:
    """Raises ValueError, KeyError or TypeError for what is none."""
    info = KeyInfo(
        str(fields["label"]),
        int(fields["key_version"]),
        KeyUsage(fields["usage"]),
        str(fields["algorithm"]),
        str(fields["mode"]),
        Exportability(fields["exportability"]),
        str(fields["kcv"]),
        KeyState(fields["state"]),
        KeyPlace(fields["place"]),
        int(fields["created_time_ms"]),
        int(fields["state_since_time_ms"]),
        None if fields["expires_time_ms"] is None else int(fields["expires_time_ms"]),
    )
    if info.algorithm not in ALGORITHMS or info.mode not in MODES:
        raise ValueError("an attribute that no key has")
    return KeyEntry(info, str(fields["identifier"]), _bytes(fields["seal"]))


def _fields(entry: KeyEntry) -> dict[str, Any]:
    fields = dataclasses.asdict(entry.info)
    fields["key_version"] = fields.pop("version")
    return {**fields, "identifier": entry.identifier, "seal": _text(entry.seal)}


def _body(entries: Iterable[KeyEntry], audit_line: str) -> dict[str, Any]:
    return {"version": VERSION, "audit": audit_line, "keys": [_fields(each) for each in entries]}


def _digest(entries: Iterable[KeyEntry], audit_line: str) -> bytes:
    return hashlib.sha256(_canonical(_body(entries, audit_line))).digest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
