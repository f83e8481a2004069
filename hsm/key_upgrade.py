"""Bringing a token of the first layout up to date, forward only.

There, a key in the token carried `usage|state|algorithm|KCV` in CKA_ID, and `working-keys.json` (version 1) held the
keys on the host, sealed with label, usage and state as associated data.

The upgrade copies each object under a new identifier, which follows from the old one, writes `keys.json`, and only then
removes what is old. A crash before the file is written leaves copies, which the next attempt finds and uses; a crash
after it leaves old objects and the old file, which the next opening removes. Processes of the old program are stopped
first: the new identifiers are unknown to them, and they refuse to open the token.
"""

import base64
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsm import _core
from hsm.errors import HsmUnavailable
from hsm.key_file import KeyInfo, KeyPlace, KeyState
from hsm.new_keys import NewKey, token_key
from hsm.usages import ALGORITHMS, Exportability, KeyUsage, algorithm_of

OLD_FILE_NAME: Final = "working-keys.json"
OLD_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class OldKey:
    """A key of the old layout, loaded. identifier: its new one, in hex; "" for a key on the host."""

    info: KeyInfo
    identifier: str
    new: NewKey


def holds_old_keys(token: _core.Token, directory: Path) -> bool:
    return (directory / OLD_FILE_NAME).exists() or any(_is_old(each) for _, _, each in token.objects())


def load_old_keys(token: _core.Token, directory: Path, storage_label: str, now_ms: int) -> list[OldKey]:
    """All keys, those of the token copied under their new identifiers. Versions are numbered by age.

    Raises HsmUnavailable, MacMismatch for a key file or an object that is not what the old program made.
    """
    objects = token.objects()
    present = {identifier: handle for handle, _, identifier in objects}
    keys = []
    for handle, label, old in objects:
        if _is_old(old):
            identifier = new_identifier(label, old)
            if identifier not in present:
                present[identifier] = token.store(handle, label, identifier)
            keys.append(_from_token(token, label, old, present[identifier], now_ms))
    storage = next((each.new.key for each in keys if each.info.label == storage_label), None)
    keys += _from_file(token, directory / OLD_FILE_NAME, storage, now_ms)
    return keys


def remove_old_keys(token: _core.Token, directory: Path, known: Collection[str]) -> None:
    """Remove the old file, and the old objects whose copies are among the `known` identifiers."""
    for handle, label, identifier in token.objects():
        if _is_old(identifier) and new_identifier(label, identifier).hex() in known:
            token.destroy(handle)
    (directory / OLD_FILE_NAME).unlink(missing_ok=True)


def new_identifier(label: bytes, old: bytes) -> bytes:
    """The same at every attempt, so that one that was cut short is carried on."""
    return hashlib.sha256(label + b"\0" + old).digest()[:16]


def _is_old(identifier: bytes) -> bool:
    return identifier.count(b"|") == 3 and len(identifier) > 16


def _from_token(token: _core.Token, label: bytes, old: bytes, stored: int, now_ms: int) -> OldKey:
    try:
        usage, state, algorithm, kcv = old.decode().split("|")
        info = _info(label.decode(), KeyUsage(usage), algorithm, kcv, KeyState(state), KeyPlace.TOKEN, 1, now_ms)
    except ValueError:
        raise HsmUnavailable("the token holds an object that is not a key of ours") from None
    new = token_key(token, info, token.load(stored))
    return OldKey(_checked(info, new.kcv), new_identifier(label, old).hex(), new)


def _from_file(token: _core.Token, path: Path, storage: _core.Key | None, now_ms: int) -> list[OldKey]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    if not isinstance(storage, _core.TokenKey):
        raise HsmUnavailable("working keys are stored, but the token has no key to open them")
    try:
        document = json.loads(content)
        if document["version"] != OLD_VERSION:
            raise HsmUnavailable(f"{path} has version {document['version']}; this program knows {OLD_VERSION}")
        entries = [
            (str(each["label"]), KeyUsage(each["usage"]), KeyState(each["state"]), str(each["kcv"]), each["sealed"])
            for each in document["keys"]
        ]
        sealed = [base64.b64decode(each[4], validate=True) for each in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise HsmUnavailable(f"{path} is broken: {type(error).__name__}") from None
    keys = []
    for (label, usage, state, kcv, _), value in zip(entries, sealed, strict=True):
        context = "\n".join((label, usage, state)).encode()
        key = _core.open_host_key(label, usage, token, storage, value, context)
        version = {KeyState.PREVIOUS: 1, KeyState.CURRENT: 2, KeyState.PENDING: 3}[state]
        algorithm = algorithm_of("DES", key.length)
        info = _info(label, usage, algorithm, kcv, state, KeyPlace.HOST, version, now_ms)
        keys.append(OldKey(_checked(info, key.check_value()), "", NewKey(key, 0, kcv)))
    return keys


def _info(
    label: str, usage: KeyUsage, algorithm: str, kcv: str, state: KeyState, place: KeyPlace, version: int, now_ms: int
) -> KeyInfo:
    """The old layout knew neither modes of use nor times: no restriction, and the time of the upgrade."""
    if algorithm not in ALGORITHMS:
        raise HsmUnavailable("a stored key has an algorithm that is none")
    never = Exportability.NEVER
    return KeyInfo(label, version, usage, algorithm, "N", never, kcv, state, place, now_ms, now_ms)


def _checked(info: KeyInfo, kcv: str) -> KeyInfo:
    if kcv != info.kcv:
        raise HsmUnavailable(f"key {info.label}: its check value differs from the one stored with it")
    return info
