"""What doors and services tell risk control while it happens, and what it answers to doors: who is not to come in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from switch.domain.risk import Subject


class SignalKind(StrEnum):
    """Values are labels of a metric."""

    # of accounts
    LOGIN_FAILED = "login_failed"
    LOGIN_LOCKED = "login_locked"
    SIGNED_IN = "signed_in"
    REGISTERED = "registered"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a kind
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a kind
    FACTOR_CHANGED = "factor_changed"
    RECOVERY_CODE_USED = "recovery_code_used"
    PASSKEY_COPIED = "passkey_copied"
    TOKEN_REUSED = "token_reused"  # noqa: S105 - a kind
    DEVICE_ADDED = "device_added"
    CARD_ADDED = "card_added"
    CARD_REFUSED = "card_refused"
    WRONG_CODE = "wrong_code"
    # of doors
    BAD_SIGNATURE = "bad_signature"
    CERTIFICATE_REFUSED = "certificate_refused"
    WRONG_ROLE = "wrong_role"
    NOT_PERMITTED = "not_permitted"
    WRONG_CREDENTIAL = "wrong_credential"
    MALFORMED = "malformed"
    UNKNOWN_METHOD = "unknown_method"
    UNKNOWN_PATH = "unknown_path"
    # of payments, once the switch knows of it
    PIN_FAILED = "pin_failed"


@dataclass(frozen=True, slots=True)
class Signal:
    """Never a secret, a login or a card number.

    user_id, device_id: the switch's own. address: canonical IP address of who called, "" where there is none or it is a
    proxy's. terminal: (merchant id, terminal id). participant: whose certificate or signature it was or claimed to be:
    he is told of, and never blocked. about: opaque, what different ones are counted of: a login's keyed hash, a key's
    hash. keys: subjects that are known by their keys alone. new_network: of SIGNED_IN: the account knows others.
    """

    kind: SignalKind
    user_id: UUID | None = None
    device_id: UUID | None = None
    address: str = ""
    terminal: tuple[str, str] | None = None
    participant: str = ""
    about: str = field(default="", repr=False)
    keys: Mapping[Subject, str] = field(default_factory=dict)
    new_network: bool = False


class Signals(Protocol):
    def report(self, signal: Signal) -> None:
        """Returns at once, never waits, never raises; what is too much is dropped, and counted."""


class _Unheard:
    def report(self, signal: Signal) -> None:
        """Nobody listens."""


UNHEARD: Final[Signals] = _Unheard()


class Blocked(Protocol):
    def refuses(self, address: str) -> bool:
        """Whether who calls from that IP address ("": unknown) is to be turned away before any work. Never waits."""


class _NobodyBlocked:
    def refuses(self, address: str) -> bool:
        return False


NOBODY_BLOCKED: Final[Blocked] = _NobodyBlocked()


@dataclass(frozen=True, slots=True)
class Note:
    """One more of something. key: what is counted of whom. element: seen again within the window it is one still; ""
    looks only. window_ms: after so long it is forgotten. whole: all elements are answered, too.
    """

    key: str
    element: str
    window_ms: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """count: different elements within the window, this one included; at most 1000 are kept, the newest.

    before_ms: how long ago the element was noted last, before this; None: not within the window. ages_ms: of a whole
    note, how long ago each element was noted last, this one included.
    """

    count: int
    before_ms: int | None = None
    ages_ms: Mapping[str, int] = field(default_factory=dict)


class SignalWindows(Protocol):
    """Sliding windows over all processes, and the doors' blocks. Raises CountersUnavailable, after a bounded time."""

    async def note(self, notes: Sequence[Note]) -> list[Noted]:
        """In order, each after those before it."""

    async def block(self, source: str, block_ms: int) -> None:
        """Nobody is let in from there for so long, in any process. A longer block stays."""

    async def blocks(self) -> Mapping[str, int]:
        """Those that hold, at most 10,000: source -> for how many more milliseconds."""
