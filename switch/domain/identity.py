"""Identity is computed, so that a repeat computes the same identity (DESIGN 3.4)."""

import hashlib
from uuid import UUID

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_LOW_62 = (1 << 62) - 1


def computed_id(acquirer_id: str, merchant_id: str, transmission_time_ms: int, idempotency_key: str) -> UUID:
    """A UUIDv7-shaped id (RFC 9562 5.7): 48 bits of the transmission time in ms, then 74 bits of a hash.

    The hash covers every part with its length, so no two different tuples collide by concatenation.

    >>> computed_id("acq", "m1", 1_700_000_000_000, "k").version
    7
    """
    parts = (acquirer_id, merchant_id, str(transmission_time_ms), idempotency_key)
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:10], "big")
    return UUID(int=transmission_time_ms << 80 | _VERSION | (digest >> 62 & 0xFFF) << 64 | _VARIANT | digest & _LOW_62)


def transmission_time_ms_of(identity: UUID) -> int:
    """The transmission time that the id was computed from.

    >>> transmission_time_ms_of(computed_id("acq", "m1", 1_700_000_000_000, "k"))
    1700000000000
    """
    return identity.int >> 80


def lowest_id_at(time_ms: int) -> UUID:
    """The lower bound of every id of that millisecond: partitions are cut here."""
    return UUID(int=time_ms << 80)
