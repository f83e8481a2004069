"""The key store: every key by its label, in versions, through their whole life.

A version has one usage, an algorithm, a mode of use, an exportability, a check value and a state. States only move
forward: pending, current, previous, retired. Commands reach the current version by the label, the others by
`label?pending` and `label?previous`; a retired one by nothing: its value is destroyed, the last of them stay listed.

Where a key lives follows from its attributes (`hsm.usages.lives_in_token`):

- in the token, not extractable: what is not exportable and the token can work with;
- on the host, in locked and wiped memory, and in `keys.json` under the token's key `hsm/storage`: exportable keys, keys
  of commands that SoftHSM cannot run, and working keys that arrive under a KEY_TRANSPORT key (UnionPay's PIK and MAK).

`hsm.key_file` is the file, the one truth about states; `hsm.keyring` loads it; `hsm.audit` records who did what;
`hsm.key_register` changes the three together.
"""

from collections.abc import Sequence
from typing import Final

from hsm import _core
from hsm.algorithms import PENDING, PREVIOUS
from hsm.audit import AuditEvent, AuditLine, Change, Phase
from hsm.errors import HsmError, InvalidCommand, KeyExists, KeyNotFound, KeyUsageError
from hsm.key_block import export_key, import_key
from hsm.key_file import KeyEntry, KeyInfo, KeyPlace, KeyState, Storage
from hsm.key_register import OWN_LABELS, KeyRegister, Update
from hsm.keyring import AUDIT_LABEL, STORAGE_LABEL
from hsm.new_keys import (
    KEY_PAIRS,
    KeySpec,
    NewKey,
    check_label,
    component_algorithm,
    placed,
    public_key,
    random_key,
    specify,
)
from hsm.usages import DATA_AT_REST, Exportability, KeyUsage, algorithm_of

__all__ = ["AUDIT_LABEL", "STORAGE_LABEL", "KeyInfo", "KeyPlace", "KeyState", "KeyStore", "KeyUsage"]

WORKING_USAGES: Final = (KeyUsage.PIN_KEY, KeyUsage.MAC_KEY)


class KeyStore(KeyRegister):
    """The keys of one open token. Methods may be called from any thread; they do file I/O and take milliseconds.

    What changes keys is recorded in the audit trail in the name of `actor`, and so is what fails. Opening one loads all
    keys, see `KeyRegister`.
    """

    def __repr__(self) -> str:
        return f"<KeyStore of {len(self.keys)} keys>"

    def __contains__(self, label: str) -> bool:
        return self._ring.named(label) is not None

    # --- reading ------------------------------------------------------------------------------------------------------

    def inventory(self) -> list[KeyInfo]:
        """All versions, sorted by label, state and version."""
        return sorted(
            (each.info for each in self._ring.entries.values()),
            key=lambda each: (each.label, each.state, each.version),
        )

    def find(self, label: str) -> KeyInfo:
        """One key; the label may carry a state (`…?pending`). Raises KeyNotFound."""
        return self._entry(label).info

    def public_key(self, label: str) -> bytes:
        """PEM (SubjectPublicKeyInfo) of the public half of a key pair. Raises KeyNotFound, KeyUsageError."""
        with self._lock:
            entry = self._entry(label)
            if entry.info.family not in KEY_PAIRS:
                raise KeyUsageError(f"key {label} is a {entry.info.usage}, it has no public key")
            return public_key(self._core, entry.info.family, self._ring.loaded(entry), self._ring.handle(entry))

    # --- creating -----------------------------------------------------------------------------------------------------

    def generate(
        self,
        label: str,
        usage: KeyUsage,
        algorithm: str | None = None,
        *,
        mode: str | None = None,
        exportability: Exportability = Exportability.NEVER,
        expires_time_ms: int | None = None,
    ) -> KeyInfo:
        """A new random key, current at once.

        algorithm: of `ALGORITHMS`, None: `GENERATED`; mode: None: the first of the usage's `USAGE_MODES`.
        Raises KeyExists, InvalidCommand.
        """
        with self._managed("create", label, usage):
            spec = specify(
                label, usage, algorithm, mode=mode, exportability=exportability, expires_time_ms=expires_time_ms
            )
            self._refuse_taken(spec, KeyState.CURRENT)
            return self._add("create", spec, random_key(self._core, spec), KeyState.CURRENT)

    def ensure(self, label: str, usage: KeyUsage) -> KeyInfo:
        """The key of this label, generated if it is missing: for a first start. Raises KeyUsageError."""
        if label not in self:
            with self._managed("create", label, usage):
                if label not in self:  # no other process was faster
                    spec = specify(label, usage)
                    self._refuse_taken(spec, KeyState.CURRENT)
                    self._add("create", spec, random_key(self._core, spec), KeyState.CURRENT)
        found = self.find(label)
        if found.usage is not usage:
            raise KeyUsageError(f"key {label} is a {found.usage}, not a {usage}")
        return found

    def generate_rsa(self, label: str) -> bytes:
        """A new RSA-2048 signing key; returns its public key as PEM. Raises KeyExists."""
        self.generate(label, KeyUsage.SIGNING)
        return self.public_key(label)

    def import_components(
        self,
        label: str,
        usage: KeyUsage,
        components: Sequence[bytes | bytearray],
        family: str | None = None,
        *,
        mode: str | None = None,
        exportability: Exportability = Exportability.NEVER,
        expires_time_ms: int | None = None,
        pending: bool = False,
    ) -> KeyInfo:
        """A key formed as the exclusive or of two or more components of equal length (8–64 bytes), in the C core.

        family: "DES", "AES", "SM4" or "HMAC", where the usage leaves a choice. pending: a new version of a label that
        has a current one. The caller wipes the components. Raises KeyExists, InvalidCommand.
        """
        with self._managed("import", label, usage):
            algorithm = component_algorithm(usage, components, family)
            spec = specify(
                label, usage, algorithm, mode=mode, exportability=exportability, expires_time_ms=expires_time_ms
            )
            state = KeyState.PENDING if pending else KeyState.CURRENT
            self._refuse_taken(spec, state)
            key = _core.combine_host_key(label, usage, components, spec.family, mode=spec.mode)
            reason = f"from {len(components)} components"
            return self._add("import", spec, placed(self._core, spec, key), state, reason)

    # --- key blocks ---------------------------------------------------------------------------------------------------

    def import_key_block(
        self, label: str, protection: str, block: str, *, expires_time_ms: int | None = None, pending: bool = False
    ) -> KeyInfo:
        """The key of a key block (ANSI X9.143) under the KEY_BLOCK key `protection`, with the header's attributes.

        pending: as with `import_components`.
        Raises KeyBlockError, KeyExists, KeyNotFound, KeyUsageError, InvalidCommand.
        """
        with self._managed("import", label):
            check_label(label)
            key, header = import_key(self.keys, protection, block, label)
            spec = specify(
                label,
                KeyUsage(key.usage),
                algorithm_of(key.kind, key.length),
                mode=key.mode,
                exportability=Exportability(header.exportability),
                expires_time_ms=expires_time_ms,
            )
            state = KeyState.PENDING if pending else KeyState.CURRENT
            self._refuse_taken(spec, state)
            return self._add("import", spec, placed(self._core, spec, key), state, f"key block under {protection}")

    def export_key_block(self, label: str, protection: str, *, sensitive: bool = False) -> str:
        """An exportable key as a key block under the KEY_BLOCK key `protection`. The label may carry a state.

        sensitive: lets a key of exportability S leave as well. Recorded before it is handed out.
        Raises KeyUsageError for a key that may not leave, KeyNotFound, KeyBlockError.
        """
        with self._managed("export", label):
            entry = self._entry(label)
            key = self._ring.loaded(entry)
            if entry.info.exportability is Exportability.NEVER or not isinstance(key, _core.HostKey):
                raise KeyUsageError(f"key {label} is not exportable")
            block = export_key(self.keys, protection, key, entry.info.exportability, sensitive=sensitive)
            change = Change(entry.info.label, entry.info.version, entry.info.kcv, entry.info.state, entry.info.state)
            reason = f"key block under {protection}"
            self._record(Phase.DONE, AuditEvent("export", label, entry.info.usage, (change,), reason))
            return block

    # --- through the states -------------------------------------------------------------------------------------------

    def rotate(self, label: str, *, activate: bool = False, reason: str = "") -> KeyInfo:
        """A new random version with the attributes of the current one, pending until `activate`; or both in one step.

        A new storage key takes effect at once: all host keys are sealed anew in the same step. A HASHING key is not
        rotated. Raises KeyNotFound, KeyExists if a version is pending, KeyUsageError.
        """
        with self._managed("rotate", label):
            current = self._live(label, KeyState.CURRENT).info
            if current.usage is KeyUsage.HASHING:
                raise KeyUsageError(f"key {label} is not rotated: what was hashed under it would not be found any more")
            spec = KeySpec(
                label, current.usage, current.algorithm, current.mode, current.exportability, self._next_expiry(current)
            )
            if label == STORAGE_LABEL:
                return self._rotate_storage(spec, reason)
            self._refuse_taken(spec, KeyState.PENDING)
            others = self._succession(label) if activate else []
            state = KeyState.CURRENT if activate else KeyState.PENDING
            return self._add("rotate", spec, random_key(self._core, spec), state, reason, others)

    def activate(self, label: str, *, reason: str = "") -> KeyInfo:
        """Pending becomes current, current becomes previous, previous is retired. Durable on return.

        A pending key that is the current one already is retired, and nothing else changes. A key whose previous version
        may be needed to read stored data is activated only once that version was retired by name.
        Raises KeyNotFound if nothing is pending, KeyUsageError.
        """
        with self._managed("activate", label):
            pending = self._live(label, KeyState.PENDING)
            current = self._ring.live(label).get(KeyState.CURRENT)
            if current is not None and self._same_value(pending, current):
                # Another process of this token was given the same key: the previous one is still wanted.
                dropped = self._moved(pending, KeyState.RETIRED)
                self._commit("activate", [dropped], reason or "the current key already")
                return current.info
            activated = self._moved(pending, KeyState.CURRENT)
            self._commit("activate", [activated, *self._succession(label)], reason)
            return activated.info

    def retire(self, label: str, *, reason: str = "") -> None:
        """Destroy the value of `label?previous` or `label?pending`; of a plain label all versions, which ends its use.

        Raises KeyNotFound, KeyUsageError for the store's own keys.
        """
        with self._managed("retire", label):
            if label.startswith(OWN_LABELS):
                raise KeyUsageError(f"key {label} is the store's own and cannot be retired")
            name, _, state = label.partition("?")
            live = self._ring.live(name)
            chosen = [self._entry(label)] if state else list(live.values())
            if not chosen:
                raise KeyNotFound(f"no key {label}")
            self._commit("retire", [self._moved(each, KeyState.RETIRED) for each in chosen], reason)

    def _rotate_storage(self, spec: KeySpec, reason: str) -> KeyInfo:
        current = self._live(STORAGE_LABEL, KeyState.CURRENT)
        new = self._new_version(spec, random_key(self._core, spec), KeyState.CURRENT)
        assert new.new is not None
        assert isinstance(new.new.key, _core.TokenKey)
        updates = [new, self._moved(current, KeyState.RETIRED)]
        self._commit("rotate", updates, reason, Storage(self._core, new.new.key))
        return new.info

    def _succession(self, label: str) -> list[Update]:
        """What happens to the others when a version becomes current. Raises KeyUsageError."""
        live = self._ring.live(label)
        current, previous = live.get(KeyState.CURRENT), live.get(KeyState.PREVIOUS)
        if current is None:
            return []
        if previous is None:
            return [self._moved(current, KeyState.PREVIOUS)]
        if current.info.usage in DATA_AT_REST:
            raise KeyUsageError(
                f"key {label} has a previous version that stored data may need: retire {label}{PREVIOUS} by name first"
            )
        return [self._moved(current, KeyState.PREVIOUS), self._moved(previous, KeyState.RETIRED)]

    def _same_value(self, left: KeyEntry, right: KeyEntry) -> bool:
        first, second = self._ring.loaded(left), self._ring.loaded(right)
        return isinstance(first, _core.HostKey) and isinstance(second, _core.HostKey) and first.same_value(second)

    def _next_expiry(self, info: KeyInfo) -> int | None:
        """A rotated key gets a crypto-period as long as the one before."""
        if info.expires_time_ms is None:
            return None
        return self._clock_ms() + info.expires_time_ms - info.created_time_ms

    # --- working keys -------------------------------------------------------------------------------------------------

    def import_working_key(self, label: str, usage: KeyUsage, under: str, wrapped: bytes) -> str:
        """Unwrap a DES key of 8, 16 or 24 bytes (ECB under the KEY_TRANSPORT key `under`) and keep it as pending.

        It lives on the host. A pending key of the same label is replaced. Returns the KCV. Durable on return.
        Raises KeyNotFound, KeyUsageError, InvalidCommand.
        """
        with self._managed("import", label, usage):
            self._check_own(label)
            if usage not in WORKING_USAGES:
                raise KeyUsageError(f"a working key is a PIN_KEY or a MAC_KEY, not a {usage}")
            transport = self._ring.loaded(self._entry(under))
            live = self._ring.live(label)
            other_usage = any(each.info.usage is not usage for each in self._ring.versions(label))
            if other_usage or any(each.info.place is KeyPlace.TOKEN for each in live.values()):
                raise KeyUsageError(f"key {label} exists, and a {usage} that arrives wrapped may not replace it")
            key = _core.unwrap_host_key(label, usage, self._core, transport, wrapped)
            spec = KeySpec(label, usage, algorithm_of("DES", key.length), key.mode, Exportability.NEVER)
            replaced = [self._moved(live[KeyState.PENDING], KeyState.RETIRED)] if KeyState.PENDING in live else []
            new = NewKey(key, 0, key.check_value())
            return self._add("import", spec, new, KeyState.PENDING, f"under {under}", replaced).kcv

    def activate_working_key(self, label: str) -> None:
        """As `activate`."""
        self.activate(label)

    # --- verifying, reloading -----------------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """Everything read and computed anew: each entry's seal, each check value, the token's objects, the audit trail.
        Returns what is wrong. Raises HsmUnavailable if the file cannot be read at all."""
        with self._lock, self.token.locked():
            file, problems = self._read(), []
            try:
                self._reload()
            except HsmError as error:
                problems.append(f"the keys cannot be loaded: {error}")
            return [*problems, *self._ring.problems(file), *self._trail.problems(file.audit_line)]

    def verify_audit(self) -> list[str]:
        """What is wrong with the audit trail: lines changed, missing, moved or cut off."""
        with self._lock, self.token.locked():
            return self._trail.problems(self._read().audit_line)

    def remove_strays(self) -> list[str]:
        """Destroy what a crash left in the token: objects that the file of keys does not name. Returns their labels."""
        with self._managed("remove strays", STORAGE_LABEL):
            strays = self._ring.strays()
            labels = [label for _, label in strays]
            self._record(Phase.INTENT, AuditEvent("remove strays", STORAGE_LABEL, reason=", ".join(labels)))
            for handle, _ in strays:
                self._core.destroy(handle)
            self._record(Phase.DONE, AuditEvent("remove strays", STORAGE_LABEL, reason=f"{len(labels)} objects"))
            return labels

    def audit_lines(self) -> list[AuditLine]:
        """The audit trail, oldest first; whether it is genuine: `verify_audit`."""
        return self._trail.lines()

    # --- what the operations share ------------------------------------------------------------------------------------

    def _check_own(self, label: str) -> None:
        check_label(label)
        if label.startswith(OWN_LABELS):
            raise InvalidCommand(f"labels that begin with {OWN_LABELS} are the store's own")

    def _refuse_taken(self, spec: KeySpec, state: KeyState) -> None:
        """Keys are never overwritten, and a label keeps its usage. Raises KeyExists, KeyNotFound, KeyUsageError."""
        self._check_own(spec.label)
        label, live = spec.label, self._ring.live(spec.label)
        if state is KeyState.CURRENT and live:
            raise KeyExists(f"key {label} exists")
        if state is KeyState.PENDING and KeyState.CURRENT not in live:
            raise KeyNotFound(f"no key {label}")
        if KeyState.PENDING in live:
            raise KeyExists(f"key {label}{PENDING} exists: activate or retire it first")
        if any(each.info.usage is not spec.usage for each in self._ring.versions(label)):
            raise KeyUsageError(f"key {label} is or was of another usage")

    def _add(
        self,
        action: str,
        spec: KeySpec,
        new: NewKey,
        state: KeyState,
        reason: str = "",
        others: Sequence[Update] = (),
    ) -> KeyInfo:
        """Commit a new version and what it does to the others."""
        update = self._new_version(spec, new, state)
        self._commit(action, [update, *others], reason)
        return update.info
