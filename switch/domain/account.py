"""A person's account as it is kept: no secret of it is clear, and none is shown by a repr."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final
from uuid import UUID

from switch.domain.login import LoginKind

# How long a fresh proof is good.
STEP_UP_MS: Final = 5 * 60_000


class AlertKind(IntEnum):
    """The numbers are those of user.proto and are stored: they are never reused."""

    NEW_NETWORK = 1
    LOCKED_OUT = 2
    PASSWORD_CHANGED = 3
    PASSWORD_RESET = 4
    RECOVERY_CODE_USED = 5
    TOKEN_REUSED = 6
    PASSKEY_COPIED = 7
    SECOND_FACTOR_CHANGED = 8
    DEVICE_BOUND = 9
    RESCUE_REQUESTED = 10
    RESCUE_APPROVED = 11
    RESCUED = 12


class Purpose(IntEnum):
    """What a challenge, ticket or code was made for: it does for nothing else. Stored."""

    REGISTER = 1
    RESET = 2
    LOG_IN = 3
    PASSKEY_LOG_IN = 4
    STEP_UP = 5
    ADD_PASSKEY = 6
    BIND_DEVICE = 7


@dataclass(frozen=True, slots=True)
class Account:
    """login_sealed, totp_sealed, totp_pending: under the HSM; empty: none. password_hash: Argon2id, encoded.

    password_version: grows with every change of the password. totp_last_step: the newest time step a code was accepted
    of; none up to it is accepted again. passkeys: how many.
    """

    id: UUID
    login_hash: bytes = field(repr=False)
    login_kind: LoginKind
    login_sealed: bytes = field(repr=False)
    password_hash: str = field(repr=False)
    created_time_ms: int
    password_version: int = 1
    totp_sealed: bytes = field(default=b"", repr=False)
    totp_pending: bytes = field(default=b"", repr=False)
    totp_pending_time_ms: int = 0
    totp_last_step: int = 0
    passkeys: int = 0

    @property
    def has_second_factor(self) -> bool:
        return bool(self.totp_sealed) or self.passkeys > 0


@dataclass(frozen=True, slots=True)
class Code:
    """A code that was sent to a login. user_id: of a reset; None where there is no account, which nobody is told.

    password_hash, login_sealed: of a registration, for the account to be. tries: how often it was tried already.
    """

    id: UUID
    purpose: Purpose
    login_hash: bytes = field(repr=False)
    login_kind: LoginKind
    code_hash: bytes = field(repr=False)
    expires_time_ms: int
    user_id: UUID | None = None
    login_sealed: bytes = field(default=b"", repr=False)
    password_hash: str = field(default="", repr=False)
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A challenge that is out, or a log-in that waits for its second factor. Works once, for its purpose and user.

    user_id: None where a passkey will say who it is. session_id: of a step-up, an addition, a binding. secret_hash: of
    a ticket, SHA-256. client_name, device_id: of the log-in. password_version: of the password that was shown.
    """

    id: UUID
    purpose: Purpose
    user_id: UUID | None
    challenge: bytes = field(repr=False)
    expires_time_ms: int
    session_id: UUID | None = None
    secret_hash: bytes = field(default=b"", repr=False)
    client_name: str = ""
    device_id: UUID | None = None
    password_version: int = 0


@dataclass(frozen=True, slots=True)
class Passkey:
    """credential_id: the authenticator's. public_key: COSE. sign_count: as last shown; 0 where it counts nothing."""

    id: UUID
    user_id: UUID
    credential_id: bytes
    public_key: bytes
    sign_count: int
    name: str
    created_time_ms: int
    used_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class UserSession:
    """A log-in. Its refresh tokens are one family: the n-th is known by `generation` and proved with `salt`.

    access_hash: SHA-256 of the access token's secret; previous_…: of the one before, good for the calls that were
    under way when it was refreshed. stepped_up_time_ms: a second factor was shown; confirmed_time_ms: a password.
    """

    id: UUID
    user_id: UUID
    salt: bytes = field(repr=False)
    generation: int
    access_hash: bytes = field(repr=False)
    access_expires_time_ms: int
    previous_access_hash: bytes = field(repr=False)
    previous_access_expires_time_ms: int
    refresh_expires_time_ms: int
    ends_time_ms: int
    created_time_ms: int
    refreshed_time_ms: int
    stepped_up_time_ms: int = 0
    confirmed_time_ms: int = 0
    address: str = ""
    client_name: str = ""
    device_id: UUID | None = None
    revoked_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """id begins with the millisecond."""

    id: UUID
    user_id: UUID
    kind: AlertKind
    time_ms: int
    address: str


class RescueState(IntEnum):
    """Stored."""

    REQUESTED = 1
    APPROVED = 2
    COMPLETED = 3
    STOPPED = 4
    EXPIRED = 5


@dataclass(frozen=True, slots=True)
class Rescue:
    """Opening an account whose factors are all lost. requested_by, approved_by: `Caller.name`. from_time_ms: when it
    may be completed, 0 before it is approved. expires_time_ms: not to be approved, or completed, from then on.
    """

    id: UUID
    user_id: UUID
    state: RescueState
    reason: str
    requested_by: str
    requested_time_ms: int
    approved_by: str = ""
    from_time_ms: int = 0
    expires_time_ms: int = 0


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """In the outbox. sealed: to whom and what, under the HSM."""

    id: UUID
    sealed: bytes = field(repr=False)
    created_time_ms: int
    expires_time_ms: int
