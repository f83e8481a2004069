"""The keys of one process: what the file of keys names, loaded from it and from the token, ready for the commands."""

from collections.abc import Iterator, Mapping

from hsm import _core
from hsm.errors import HsmError, HsmUnavailable
from hsm.key_file import KeyEntry, KeyFile, KeyPlace, KeyState, Storage
from hsm.new_keys import token_check_value, token_key
from hsm.usages import KeyUsage

STORAGE_LABEL = "hsm/storage"
AUDIT_LABEL = "hsm/audit"


class Keyring:
    """`keys` is what the commands look labels up in: it changes by whole entries, so a command sees the old or the new.

    The audit key is not in it: whoever could use it could write audit lines.
    """

    def __init__(self, token: _core.Token) -> None:
        self.keys: dict[str, _core.Key] = {}
        self.entries: Mapping[str, KeyEntry] = {}
        self._token = token
        self._storage: Storage | None = None
        self._loaded: dict[str, _core.Key] = {}
        self._handles: dict[str, int] = {}

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def storage(self) -> Storage:
        if self._storage is None:
            raise HsmUnavailable(f"the file of keys names no {STORAGE_LABEL}")
        return self._storage

    def named(self, name: str) -> KeyEntry | None:
        """The entry that commands reach by this name, the audit key's too."""
        return next((each for each in self.entries.values() if each.info.name == name), None)

    def versions(self, label: str) -> list[KeyEntry]:
        """All versions of a label, oldest first."""
        return sorted(
            (each for each in self.entries.values() if each.info.label == label), key=lambda each: each.info.version
        )

    def live(self, label: str) -> dict[KeyState, KeyEntry]:
        """The versions of a label that are not retired, by state."""
        return {each.info.state: each for each in self.versions(label) if each.info.state is not KeyState.RETIRED}

    def loaded(self, entry: KeyEntry) -> _core.Key:
        """The key of a live entry."""
        return self._loaded[entry.identifier]

    def handle(self, entry: KeyEntry) -> int:
        """Of the session copy of a live entry in the token."""
        return self._handles[entry.identifier]

    # --- loading ------------------------------------------------------------------------------------------------------

    def load(self, file: KeyFile, fresh: Mapping[str, tuple[_core.Key, int]] | None = None) -> None:
        """Take over a file. fresh: identifier → key and handle of what is in memory already.

        Raises MacMismatch for a file or an entry that was changed, HsmUnavailable for a key that is missing, readable,
        or not the one of its check value. Nothing is taken over then.
        """
        found = {**{each: (key, self._handles.get(each, 0)) for each, key in self._loaded.items()}, **(fresh or {})}
        objects = _Objects(self._token)
        storage = Storage(self._token, self._storage_key(file, found, objects))
        storage.check(file)
        loaded: dict[str, _core.Key] = {}
        handles: dict[str, int] = {}
        for entry in file.entries.values():
            if self.entries.get(entry.identifier) == entry and entry.info.state is not KeyState.RETIRED:
                key, handle = found[entry.identifier]
            elif (opened := storage.open(entry)) is not None:
                key, handle = opened, 0
            elif entry.info.state is KeyState.RETIRED:
                continue
            else:
                key, handle = found.get(entry.identifier) or self._from_token(entry, objects)
            loaded[entry.identifier], handles[entry.identifier] = key, handle
        self._take_over(file, storage, loaded, handles)

    def _storage_key(
        self, file: KeyFile, found: dict[str, tuple[_core.Key, int]], objects: "_Objects"
    ) -> _core.TokenKey:
        for entry in file.entries.values():
            if entry.info.name == STORAGE_LABEL and entry.info.usage is KeyUsage.KEY_STORAGE:
                key, _ = found.setdefault(
                    entry.identifier, found.get(entry.identifier) or self._from_token(entry, objects)
                )
                if isinstance(key, _core.TokenKey):
                    return key
        raise HsmUnavailable(f"the file of keys names no {STORAGE_LABEL}")

    def _from_token(self, entry: KeyEntry, objects: "_Objects") -> tuple[_core.Key, int]:
        stored = objects.handle(entry.identifier)
        if stored is None:
            raise HsmUnavailable(f"key {entry.info.label}, version {entry.info.version}, is not in the token")
        made = token_key(self._token, entry.info, self._token.load(stored))
        if made.kcv != entry.info.kcv:
            raise HsmUnavailable(f"key {entry.info.label}: its check value differs from the one stored with it")
        return made.key, made.handle

    def _take_over(
        self, file: KeyFile, storage: Storage, loaded: dict[str, _core.Key], handles: dict[str, int]
    ) -> None:
        gone = [key for identifier, key in self._loaded.items() if identifier not in loaded]
        names = {
            entry.info.name: loaded[entry.identifier]
            for entry in file.entries.values()
            if entry.info.name is not None and entry.info.label != AUDIT_LABEL
        }
        self._storage, self.entries, self._loaded, self._handles = storage, file.entries, loaded, handles
        self.keys.update(names)
        for name in self.keys.keys() - names.keys():
            del self.keys[name]
        for key in gone:
            if isinstance(key, _core.TokenKey):
                key.discard(self._token)

    # --- the token's objects ------------------------------------------------------------------------------------------

    def destroy_retired(self) -> None:
        """Destroy the token's objects of retired versions: also those whose retiring a crash cut short."""
        retired = {
            each.identifier
            for each in self.entries.values()
            if each.info.state is KeyState.RETIRED and each.info.place is KeyPlace.TOKEN
        }
        if retired:
            for handle, _, identifier in self._token.objects():
                if identifier.hex() in retired:
                    self._token.destroy(handle)

    def problems(self, file: KeyFile) -> Iterator[str]:
        """What is wrong with a file and the keys it names, each read and computed anew."""
        try:
            self.storage.check(file)
        except HsmError as error:
            yield f"keys.json as a whole: {error}"
        objects = _Objects(self._token)
        for entry in file.entries.values():
            try:
                self._check(entry, objects)
            except HsmError as error:
                yield f"{entry.info.label}, version {entry.info.version}: {error}"
        for _, label in self.strays(file):
            yield f"the token holds an object {label!r} that keys.json does not name"

    def strays(self, file: KeyFile | None = None) -> list[tuple[int, str]]:
        """Handle and label of the token's objects that are no live version's. file: other than the one loaded."""
        entries = self.entries if file is None else file.entries
        live = {each.identifier for each in entries.values() if each.info.state is not KeyState.RETIRED}
        return [
            (handle, label.decode(errors="replace"))
            for handle, label, identifier in self._token.objects()
            if identifier.hex() not in live
        ]

    def _check(self, entry: KeyEntry, objects: "_Objects") -> None:
        self.storage.open(entry)
        if entry.info.place is KeyPlace.HOST or entry.info.state is KeyState.RETIRED:
            return
        handle = objects.handle(entry.identifier)
        if handle is None:
            raise HsmUnavailable("it is not in the token")
        if not self._token.is_protected(handle):
            raise HsmUnavailable("it can be read out of the token")
        if token_check_value(self._token, entry.info, handle) != entry.info.kcv:
            raise HsmUnavailable("its check value differs from the one stored with it")


class _Objects:
    """The token's objects by identifier, looked up once and only if somebody asks."""

    def __init__(self, token: _core.Token) -> None:
        self._token = token
        self._handles: dict[str, int] | None = None

    def handle(self, identifier: str) -> int | None:
        if self._handles is None:
            self._handles = {found.hex(): handle for handle, _, found in self._token.objects()}
        return self._handles.get(identifier)
