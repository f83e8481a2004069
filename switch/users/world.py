"""What every part of the user service stands on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.ports import Clock
from switch.ports.signals import UNHEARD, Signals
from switch.users.seals import Seals
from switch.users.settings import UserSettings
from switch.users.store import Stores

NOBODY: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class World:
    """entropy: that many random bytes. signals: risk control, told of what happens to accounts."""

    stores: Stores
    seals: Seals
    clock: Clock
    entropy: Callable[[int], bytes]
    settings: UserSettings
    signals: Signals = UNHEARD

    def now_ms(self) -> int:
        return self.clock.time_ms()

    def new_id(self) -> UUID:
        """Nobody guesses it."""
        return UUID(bytes=self.entropy(16), version=4)

    def timed_id(self) -> UUID:
        """Ids in the order of their milliseconds (RFC 9562's version 7)."""
        rest = int.from_bytes(self.entropy(10), "big")
        return UUID(
            int=self.now_ms() << 80 | 0x7 << 76 | (rest >> 64 & 0xFFF) << 64 | 0b10 << 62 | rest & (1 << 62) - 1
        )


def change(
    user_id: UUID, act: str, subject: str = "", before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> AuditEntry:  # fmt: skip
    """What a user changed of his own. subject: the account where none is named."""
    name = f"user/{user_id}"
    return AuditEntry("", name, f"UserService.{act}", subject or name, before or {}, after or {})


def parsed_id(text: str) -> UUID | None:
    """An id as we write it, None for anything else."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None
