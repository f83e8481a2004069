"""What one attempt to deliver one message came to."""

from dataclasses import dataclass, field
from enum import Enum

from switch.domain.account import AlertKind
from switch.domain.login import Login
from switch.users.messages import MessageKind


class Fate(Enum):
    """LATER: the same may be tried again. NEVER: this recipient, or this message, was refused for good."""

    DELIVERED = "delivered"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Outcome:
    """reason: one word for what was not delivered, and the peer's status after it; never what the peer wrote, which may
    repeat the recipient."""

    fate: Fate
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """A message that was taken. expires_time_ms: not to be delivered later."""

    id: str
    to: Login
    kind: MessageKind
    created_time_ms: int
    expires_time_ms: int
    code: str = field(default="", repr=False)
    alert: AlertKind | None = None
