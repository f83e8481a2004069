"""The register of keys: the file of states, the keys in memory and the audit trail, kept together.

Every change goes through `_commit`: the intent into the trail, new objects into the token, all states in one
replacement of the file, the outcome into the trail. What each operation means is in `hsm.keys`.
"""

import dataclasses
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hsm import _core
from hsm.audit import AuditEvent, AuditTrail, Change, Phase
from hsm.errors import HsmError, HsmUnavailable, KeyNotFound
from hsm.key_file import (
    SUFFIXES,
    KeyEntry,
    KeyFile,
    KeyInfo,
    KeyPlace,
    KeyState,
    Storage,
    read_key_file,
    write_key_file,
)
from hsm.key_upgrade import holds_old_keys, load_old_keys, remove_old_keys
from hsm.keyring import AUDIT_LABEL, STORAGE_LABEL, Keyring
from hsm.new_keys import MAX_LABEL, KeySpec, NewKey, random_key, specify, token_key
from hsm.token import OpenToken
from hsm.usages import KeyUsage

FILE_NAME: Final = "keys.json"
TRAIL_NAME: Final = "key-audit.jsonl"
OWN_LABELS: Final = "hsm/"
RETIRED_KEPT: Final = 16
"""Retired versions of a label that stay listed: UnionPay's keys change daily. Older ones are in the audit trail."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Update:
    """A version as it is to be. before: None for a new one, whose key is `new`."""

    info: KeyInfo
    identifier: str
    before: KeyState | None
    new: NewKey | None = None

    @property
    def change(self) -> Change:
        return Change(self.info.label, self.info.version, self.info.kcv, self.before or "", self.info.state)


class KeyRegister:
    """Methods may be called from any thread. Those whose names begin with _ want both locks held: see `_managed`."""

    def __init__(self, token: OpenToken, actor: str = "payswitch", clock_ms: Callable[[], int] = now_ms) -> None:
        """Load all keys and check their KCVs. At first start the storage and audit keys are made; the layout of version
        1 is brought up to date. Raises HsmUnavailable, MacMismatch."""
        self.token = token
        self.actor = actor
        self._core = token.core
        self._ring = Keyring(token.core)
        self.keys: dict[str, _core.Key] = self._ring.keys
        self._clock_ms = clock_ms
        self._path = token.directory / FILE_NAME
        self._audit_key: _core.Key | None = None
        self._trail = AuditTrail(token.directory / TRAIL_NAME, self._authenticate, clock_ms)
        self._file: KeyFile | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._lock = threading.RLock()
        with self._lock, token.locked():
            self._open()

    # --- for everybody ------------------------------------------------------------------------------------------------

    def changed(self) -> bool:
        """Whether another process changed keys since they were loaded. Costs one stat; see `reload`."""
        return self._stamp != self._stat()

    def reload(self) -> None:
        """Take over what other processes changed since. Raises HsmUnavailable, MacMismatch."""
        with self._lock, self.token.locked():
            self._reload()

    def record(self, action: str, label: str, reason: str, *, usage: str = "", failed: bool = False) -> None:
        """Add a step that changes no key to the audit trail: of a ceremony, say."""
        with self._lock, self.token.locked():
            self._reload()
            self._record(Phase.FAILED if failed else Phase.DONE, AuditEvent(action, label, usage, (), reason))

    # --- changing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _managed(self, action: str, label: str, usage: str = "") -> Iterator[None]:
        """Both locks, the newest keys, and a line in the audit trail if it fails."""
        with self._lock, self.token.locked():
            self._reload()
            try:
                yield
            except HsmError as error:
                shown = label[:MAX_LABEL]
                self._record(Phase.FAILED, AuditEvent(action, shown, usage, (), f"{type(error).__name__}: {error}"))
                raise

    def _entry(self, name: str) -> KeyEntry:
        found = self._ring.named(name)
        if found is None:
            raise KeyNotFound(f"no key {name}")
        return found

    def _live(self, label: str, state: KeyState) -> KeyEntry:
        found = self._ring.live(label).get(state)
        if found is None:
            raise KeyNotFound(f"no key {label}{SUFFIXES[state]}")
        return found

    def _new_version(self, spec: KeySpec, new: NewKey, state: KeyState) -> Update:
        now = self._clock_ms()
        versions = self._ring.versions(spec.label)
        info = KeyInfo(
            spec.label,
            versions[-1].info.version + 1 if versions else 1,
            spec.usage,
            spec.algorithm,
            spec.mode,
            spec.exportability,
            new.kcv,
            state,
            KeyPlace.TOKEN if new.handle else KeyPlace.HOST,
            now,
            now,
            spec.expires_time_ms,
        )
        return Update(info, secrets.token_hex(16), None, new)

    def _moved(self, entry: KeyEntry, state: KeyState) -> Update:
        return Update(entry.info.in_state(state, self._clock_ms()), entry.identifier, entry.info.state)

    def _commit(self, action: str, updates: Sequence[Update], reason: str = "", storage: Storage | None = None) -> None:
        """Change states: the intent's line, new objects in the token, the file (all at once), the line, the memory.

        storage: a new storage key, under which everything is sealed anew.
        """
        first = updates[0].info
        event = AuditEvent(action, first.label, first.usage, [each.change for each in updates], reason)
        self._trail.append(self._trail.next_line(self._known_line, Phase.INTENT, self.actor, event))
        fresh = {each.identifier: (each.new.key, each.new.handle) for each in updates if each.new is not None}
        for each in updates:
            if each.new is not None and each.new.handle:
                self._core.store(each.new.handle, each.info.label.encode(), bytes.fromhex(each.identifier))
        self._write(self._entries_with(updates, storage), Phase.DONE, event, storage, fresh)
        self._ring.destroy_retired()

    def _entries_with(self, updates: Sequence[Update], storage: Storage | None) -> list[KeyEntry]:
        """The entries of the file after the updates."""
        seal = storage or self._ring.storage
        entries = dict(self._ring.entries)
        if storage is not None:
            entries = {each.identifier: self._sealed(seal, each.info, each.identifier) for each in entries.values()}
        for each in updates:
            key = each.new.key if each.new is not None else None
            entries[each.identifier] = self._sealed(seal, each.info, each.identifier, key)
        retired = sorted(
            (each for each in entries.values() if each.info.state is KeyState.RETIRED),
            key=lambda each: each.info.version,
            reverse=True,
        )
        kept: Counter[str] = Counter()
        for each_entry in retired:
            kept[each_entry.info.label] += 1
            if kept[each_entry.info.label] > RETIRED_KEPT:
                del entries[each_entry.identifier]
        return list(entries.values())

    def _sealed(self, storage: Storage, info: KeyInfo, identifier: str, key: _core.Key | None = None) -> KeyEntry:
        if info.state is KeyState.RETIRED:
            return storage.bare_entry(info, identifier)
        return storage.entry(info, identifier, key or self._ring.loaded(self._ring.entries[identifier]))

    def _record(self, phase: Phase, event: AuditEvent) -> None:
        """A line about an event that changes no state."""
        self._write(list(self._ring.entries.values()), phase, event)

    def _write(
        self,
        entries: Sequence[KeyEntry],
        phase: Phase,
        event: AuditEvent,
        storage: Storage | None = None,
        fresh: Mapping[str, tuple[_core.Key, int]] | None = None,
    ) -> None:
        """The file with the line in it, then the line in the trail: see `AuditTrail.recover` for a crash in between."""
        line = self._trail.next_line(self._known_line, phase, self.actor, event)
        file = (storage or self._ring.storage).file(entries, line)
        write_key_file(self._path, file)
        self._ring.load(file, fresh)
        self._file, self._stamp = file, self._stat()
        self._trail.append(line)

    @property
    def _known_line(self) -> str:
        return self._file.audit_line if self._file is not None else ""

    def _authenticate(self, line: bytes) -> bytes:
        if self._audit_key is None:
            raise HsmUnavailable(f"the file of keys names no {AUDIT_LABEL}")
        [tag] = _core.keyed_hashes(self._core, {AUDIT_LABEL: self._audit_key}, [(AUDIT_LABEL, line)])
        if isinstance(tag, Exception):
            raise tag
        return tag

    # --- loading ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if read_key_file(self._path) is None:
            self._begin()
        else:
            self._reload()
        self._ring.destroy_retired()
        remove_old_keys(self._core, self.token.directory, self._ring.entries.keys())

    def _reload(self) -> None:
        stamp = self._stat()
        file = self._read()
        self._ring.load(file)
        self._file, self._stamp = file, stamp
        audit = self._ring.named(AUDIT_LABEL)
        if audit is None:
            raise HsmUnavailable(f"the file of keys names no {AUDIT_LABEL}")
        self._audit_key = self._ring.loaded(audit)
        if not self._trail.recover(file.audit_line):
            raise HsmUnavailable(f"{self._path} is older than {self._trail.path}: restore both from one backup")

    def _read(self) -> KeyFile:
        file = read_key_file(self._path)
        if file is None:
            raise HsmUnavailable(f"{self._path} is missing: restore it from the backup")
        return file

    def _begin(self) -> None:
        """The first file: of a new token, or with the keys of the old layout."""
        if self._trail.path.exists():
            raise HsmUnavailable(f"{self._path} is missing: restore it from the backup")
        updates, action = [], "start"
        if holds_old_keys(self._core, self.token.directory):
            action = "upgrade"
            for each in load_old_keys(self._core, self.token.directory, STORAGE_LABEL, self._clock_ms()):
                updates.append(Update(each.info, each.identifier or secrets.token_hex(16), None, each.new))
        elif any(not label.startswith(OWN_LABELS.encode()) for _, label, _ in self._core.objects()):
            raise HsmUnavailable(f"the token holds keys, but {self._path} is missing: restore it from the backup")
        by_label = {each.info.label: each for each in updates}
        for label, usage in ((STORAGE_LABEL, KeyUsage.KEY_STORAGE), (AUDIT_LABEL, KeyUsage.HASHING)):
            if label not in by_label:
                by_label[label] = self._own_key(label, usage)
                updates.append(by_label[label])
        fresh = {each.identifier: (each.new.key, each.new.handle) for each in updates if each.new is not None}
        storage_key, self._audit_key = (fresh[by_label[each].identifier][0] for each in (STORAGE_LABEL, AUDIT_LABEL))
        assert isinstance(storage_key, _core.TokenKey)
        storage = Storage(self._core, storage_key)
        entries = [storage.entry(each.info, each.identifier, fresh[each.identifier][0]) for each in updates]
        event = AuditEvent(action, STORAGE_LABEL, KeyUsage.KEY_STORAGE, [each.change for each in updates])
        self._write(entries, Phase.DONE, event, storage, fresh)

    def _own_key(self, label: str, usage: KeyUsage) -> Update:
        """A key of the store itself; that of a first start which a crash cut short is used again."""
        spec = specify(label, usage)
        for handle, found, identifier in self._core.objects():
            if found == label.encode():
                kept = token_key(self._core, spec, self._core.load(handle))
                return dataclasses.replace(self._new_version(spec, kept, KeyState.CURRENT), identifier=identifier.hex())
        made = self._new_version(spec, random_key(self._core, spec), KeyState.CURRENT)
        assert made.new is not None
        self._core.store(made.new.handle, label.encode(), bytes.fromhex(made.identifier))
        return made

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
