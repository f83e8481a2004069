"""What other services need to know of a user's devices."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Device:
    """A device bound to a user by its key. public_key: P-256, SubjectPublicKeyInfo DER. active: not revoked."""

    id: UUID
    user_id: UUID
    name: str
    public_key: bytes
    active: bool
    created_time_ms: int
