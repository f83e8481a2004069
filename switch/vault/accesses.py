"""The access log: a row for every PAN that is given out, durable before it is."""

from collections.abc import Callable
from uuid import UUID

from switch.ports import TokenAccess
from switch.vault.roles import Caller

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def access(
    caller: Caller, requester: str, token: str, reason: str, now_ms: int, entropy: Callable[[int], bytes]
) -> TokenAccess:
    """With an id of its own: a UUIDv7 (RFC 9562, 5.7) of this millisecond, so that the log is in order of time."""
    random = int.from_bytes(entropy(10), "big")
    low = random & ((1 << 62) - 1)
    middle = (random >> 62) & 0xFFF
    identity = UUID(int=now_ms << 80 | _VERSION | middle << 64 | _VARIANT | low)
    return TokenAccess(requester, identity, caller.name, caller.role.value, token, reason, now_ms)
