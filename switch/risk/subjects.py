"""The keys that counters, lists and cases know a subject by: 16 bytes as hex, from which nothing can be read.

A card's is the keyed hash that the journal has (`Authorization.payer_key`); the others are plain BLAKE2s of what names
them, since whoever may read these counters may read the journal.
"""

from functools import lru_cache
from hashlib import blake2s
from typing import Final
from uuid import UUID

from switch.domain.payer import Payer

_KEPT: Final = 65_536


def card_key(payer_key: bytes) -> str:
    return payer_key.hex()


@lru_cache(_KEPT)
def merchant_key(merchant_id: str) -> str:
    """
    >>> merchant_key("M1")
    '791fed6405c997d3edd35a4511d6c9ff'
    """
    return _key(f"merchant {merchant_id}")


@lru_cache(_KEPT)
def terminal_key(merchant_id: str, terminal_id: str) -> str:
    return _key(f"terminal {merchant_id} {terminal_id}")


def user_key(payer: Payer) -> str:
    return _key(f"user {payer.user}")


def device_key(payer: Payer) -> str:
    return _key(f"device {payer.device}")


def address_key(ip_address: str) -> str:
    """ip_address: canonical, as `ipaddress` writes it."""
    return _key(f"ip {ip_address}")


def own(identity: UUID) -> str:
    """Of a user or a device of the switch's own, as `Payer` has it. What an acquirer names begins with its participant
    id, which is never empty: it cannot name, and so not move, what is counted of one of ours.

    >>> own(UUID(int=1))
    ':00000000-0000-0000-0000-000000000001'
    """
    return f":{identity}"


def _key(text: str) -> str:
    return blake2s(text.encode(), digest_size=16).hexdigest()
