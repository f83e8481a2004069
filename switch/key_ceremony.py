"""A key ceremony: custodians type their components one after the other, and none of them sees another's.

The screen shows check values only. Each custodian compares that of the component with the one on the sheet; all of them
confirm that of the key before it is stored. Every step is in the audit trail, by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hsm.errors import HsmError, InvalidCommand
from hsm.keys import KeyInfo, KeyStore, KeyUsage
from hsm.new_keys import components_check_value
from hsm.usages import ALGORITHMS, Exportability
from switch.hidden_input import BadComponent, wipe

ATTEMPTS: Final = 3
MAX_NAME: Final = 64


class CeremonyAborted(Exception):
    """Somebody said no, or too often typed what is no component. Nothing was stored."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where the custodians stand. ask: a question answered by visible text; read: a component, hidden."""

    show: Callable[[str], None]
    ask: Callable[[str], str]
    confirm: Callable[[str], bool]
    read: Callable[[str], bytearray]


@dataclass(slots=True)
class Ceremony:
    """Forms one key of these attributes. pending: as the next version of a label that has a current one."""

    store: KeyStore
    room: Room
    label: str
    usage: KeyUsage
    algorithm: str
    custodians: int = 2
    mode: str | None = None
    exportability: Exportability = Exportability.NEVER
    expires_time_ms: int | None = None
    pending: bool = False
    _names: list[str] = field(default_factory=list)
    _components: list[bytearray] = field(default_factory=list, repr=False)

    def run(self) -> KeyInfo:
        """Raises CeremonyAborted, HsmError; EOFError if the terminal goes away."""
        self._record(f"begun: {self.usage} {self.algorithm}, {self.custodians} custodians")
        try:
            for number in range(1, self.custodians + 1):
                self._take_component(number)
            self._agree()
            made = self.store.import_components(
                self.label,
                self.usage,
                self._components,
                ALGORITHMS[self.algorithm][0],
                mode=self.mode,
                exportability=self.exportability,
                expires_time_ms=self.expires_time_ms,
                pending=self.pending,
            )
        except BaseException as error:
            reason = str(error) if isinstance(error, CeremonyAborted | HsmError) else type(error).__name__
            self._record(f"ended without a key: {reason}", failed=True)
            raise
        finally:
            for component in self._components:
                wipe(component)
        self._record(f"ended: version {made.version}, check value {made.kcv}, by {', '.join(self._names)}")
        return made

    def _take_component(self, number: int) -> None:
        self.room.show(f"\nComponent {number} of {self.custodians}. Everybody else looks away.\n")
        name = self._name()
        for _ in range(ATTEMPTS):
            try:
                component = self.room.read(f"{name}, component {number} (hexadecimal, not shown): ")
            except BadComponent as error:
                self.room.show(f"{error}\n")
                continue
            self._components.append(component)
            try:
                kcv = components_check_value(self.usage, self.algorithm, [component])
            except InvalidCommand as error:
                self.room.show(f"{error}\n")
            else:
                if self.room.confirm(f"Check value of component {number}: {kcv}. Is it the one on your sheet?"):
                    self._record(f"component {number} by {name}, check value {kcv}")
                    self._names.append(name)
                    return
            wipe(self._components.pop())
        raise CeremonyAborted(f"component {number} was not given in {ATTEMPTS} attempts")

    def _name(self) -> str:
        for _ in range(ATTEMPTS):
            name = self.room.ask("Custodian's name").strip()
            if 0 < len(name) <= MAX_NAME and name.isprintable() and name not in self._names:
                return name
            self.room.show("Each component is another custodian's, who has a name.\n")
        raise CeremonyAborted("a custodian gave no name of their own")

    def _agree(self) -> None:
        kcv = components_check_value(self.usage, self.algorithm, self._components)
        self.room.show(f"\nCheck value of the key: {kcv}\n")
        for name in self._names:
            if not self.room.confirm(f"{name}, is {kcv} the check value of the key?"):
                raise CeremonyAborted(f"{name} did not confirm the check value {kcv}")
            self._record(f"check value {kcv} confirmed by {name}")

    def _record(self, reason: str, *, failed: bool = False) -> None:
        self.store.record("ceremony", self.label, reason, usage=self.usage, failed=failed)
