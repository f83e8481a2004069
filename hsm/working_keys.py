"""The file of host keys: DES keys that live in locked memory, each sealed under the token's storage key.

JSON, 0600, replaced atomically under the token's lock. The label, usage and state of an entry are authenticated with
its key (associated data of AES-256-GCM), so an entry cannot be given another name, use or age.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from hsm import _core
from hsm.errors import HsmUnavailable
from hsm.token import write_atomically

VERSION: Final = 1


class KeyState(StrEnum):
    """Age of a key. A previous key still verifies MACs."""

    PENDING = "pending"
    CURRENT = "current"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class SealedKey:
    """One entry: `sealed` is nonce ‖ ciphertext ‖ tag."""

    label: str
    usage: str
    state: KeyState
    kcv: str
    sealed: bytes

    @property
    def context(self) -> bytes:
        return key_context(self.label, self.usage, self.state)


def key_context(label: str, usage: str, state: KeyState) -> bytes:
    return "\n".join((label, usage, state)).encode()


def read_sealed_keys(path: Path) -> dict[tuple[str, KeyState], SealedKey]:
    """All entries; none if there is no file. Raises HsmUnavailable if the file is not what `write` made."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            raise HsmUnavailable(f"{path} has version {document['version']}; this program knows {VERSION}")
        entries = [
            SealedKey(
                each["label"],
                each["usage"],
                KeyState(each["state"]),
                each["kcv"],
                base64.b64decode(each["sealed"], validate=True),
            )
            for each in document["keys"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise HsmUnavailable(f"{path} is broken: {type(error).__name__}") from None
    return {(each.label, each.state): each for each in entries}


def write_sealed_keys(path: Path, entries: Mapping[tuple[str, KeyState], SealedKey]) -> None:
    """Replace the file. Call under the token's lock, with what was read under the same lock."""
    keys = [
        {
            "label": each.label,
            "usage": each.usage,
            "state": str(each.state),
            "kcv": each.kcv,
            "sealed": base64.b64encode(each.sealed).decode(),
        }
        for each in entries.values()
    ]
    write_atomically(path, json.dumps({"version": VERSION, "keys": keys}, indent=1).encode())


def seal_key(token: _core.Token, storage: _core.TokenKey, key: _core.HostKey, label: str, state: KeyState) -> SealedKey:
    """The entry for a host key in this state."""
    sealed = _core.seal_host_key(token, storage, key, key_context(label, key.usage, state))
    return SealedKey(label, key.usage, state, key.check_value(), sealed)


def open_key(token: _core.Token, storage: _core.TokenKey, entry: SealedKey) -> _core.HostKey:
    """The host key of an entry. Raises MacMismatch if the entry was changed, HsmUnavailable if its KCV differs."""
    key = _core.open_host_key(entry.label, entry.usage, token, storage, entry.sealed, entry.context)
    if key.check_value() != entry.kcv:
        raise HsmUnavailable(f"key {entry.label}: its check value differs from the one stored with it")
    return key
