"""Who acts for a merchant: its people, its stores and terminals, its API credentials."""

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from switch.domain.access import Role

# Who may do more stands higher.
RANK: Final = {
    Role.MERCHANT_OWNER: 4,
    Role.MERCHANT_MANAGER: 3,
    Role.MERCHANT_CASHIER: 2,
    Role.MERCHANT_VIEWER: 1,
}
INVITATION_PREFIX: Final = "payswitch_invite_"
_MERCHANT_ID: Final = re.compile(r"[A-Za-z0-9]{1,15}")
_SECRET: Final = re.compile(r"([A-Za-z0-9]{1,15})-([0-9a-f]{12})_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Member:
    """added_by: `Caller.name` of who invited or approved."""

    user_id: UUID
    role: Role
    added_by: str
    added_time_ms: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """id: <merchant>-<12 hexadecimal digits>. Open until it is redeemed, revoked or expired."""

    id: str
    role: Role
    label: str
    code_hash: bytes = field(repr=False)
    invited_by: str
    expires_time_ms: int


@dataclass(frozen=True, slots=True)
class ApiCredential:
    """id: <merchant>-<12 hexadecimal digits>. previous_hash: of the secret before the last rotation, b"": none.

    networks: CIDR; empty: from anywhere. revoked_time_ms: 0 while it is not. rotated_by: `Caller.name` of who did last,
    "" where nobody did.
    """

    id: str
    role: Role
    label: str
    secret_hash: bytes = field(repr=False)
    previous_hash: bytes = field(repr=False)
    previous_until_ms: int
    networks: tuple[str, ...]
    created_by: str
    created_time_ms: int
    expires_time_ms: int
    revoked_time_ms: int = 0
    last_used_time_ms: int = 0
    rotated_by: str = ""

    def is_known_to(self, who: str) -> bool:
        """Whether that person was told a secret of it."""
        return who in (self.created_by, self.rotated_by)

    def works(self, now_ms: int) -> bool:
        return not self.revoked_time_ms and now_ms < self.expires_time_ms

    def proves(self, secret_hash: bytes, now_ms: int) -> bool:
        """Whether that secret is its own, or the one before the last rotation, while that still works."""
        if not self.works(now_ms):
            return False
        if hmac.compare_digest(self.secret_hash, secret_hash):
            return True
        return now_ms < self.previous_until_ms and hmac.compare_digest(self.previous_hash, secret_hash)


@dataclass(frozen=True, slots=True)
class Store:
    """id: S0001 and up."""

    id: str
    name: str
    address: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class StoreTerminal:
    """terminal_id: DE41. dials_in: it is also in the table of terminals that have keys here."""

    id: str
    store_id: str
    label: str
    active: bool = True
    dials_in: bool = False


def is_merchant_id(text: str) -> bool:
    """DE42."""
    return _MERCHANT_ID.fullmatch(text) is not None


def secret_text(prefix: str, identity: str, random_32: bytes) -> str:
    """What is told once: prefix, id, 64 hexadecimal digits.

    >>> secret_text("payswitch_key_", "M1-00112233aabb", bytes(32))[:32]
    'payswitch_key_M1-00112233aabb_00'
    """
    return f"{prefix}{identity}_{random_32.hex()}"


def hash_of(secret: str) -> bytes:
    """SHA-256. The secret holds 256 random bits, so there is nothing to guess and nothing for a slow hash to slow.

    A slow one would take tens of milliseconds of every call instead.
    """
    return hashlib.sha256(secret.encode()).digest()


def parse_secret(prefix: str, text: str) -> tuple[str, str] | None:
    """(merchant, id) of what `secret_text` made; None for anything else.

    >>> parse_secret(INVITATION_PREFIX, secret_text(INVITATION_PREFIX, "M1-00112233aabb", bytes(32)))
    ('M1', 'M1-00112233aabb')
    """
    match = _SECRET.fullmatch(text.removeprefix(prefix)) if text.startswith(prefix) else None
    return (match[1], f"{match[1]}-{match[2]}") if match else None


def within_networks(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an IP address is in one of them; in any, if there are none. What is no address is in none.

    >>> within_networks("10.1.2.3", ("10.0.0.0/8",)), within_networks("::ffff:10.1.2.3", ("10.0.0.0/8",))
    (True, True)
    >>> within_networks("11.1.2.3", ("10.0.0.0/8",)), within_networks("", ("10.0.0.0/8",)), within_networks("", ())
    (False, False, True)
    """
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(each) for each in networks)
