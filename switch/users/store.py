"""What the user service keeps; `switch.store.users…` meet it by shape. Every method raises StoreUnavailable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from switch.domain.account import (
    Account,
    Alert,
    Ceremony,
    Code,
    OutgoingMessage,
    Passkey,
    Purpose,
    Rescue,
    UserSession,
)
from switch.domain.audit import AuditEntry
from switch.domain.tally import Tally
from switch.domain.user import Device


class AccountStore(Protocol):
    async def by_login(self, login_hash: bytes) -> Account | None: ...

    async def get(self, user_id: UUID) -> Account | None: ...

    async def create(self, account: Account, code_id: UUID, entry: AuditEntry) -> bool:
        """False where the code is used up or the login has an account by now."""

    async def set_password(
        self, account: Account, password_hash: str, keep: UUID | None, now_ms: int, entry: AuditEntry
    ) -> bool:
        """Ends every session but `keep`. False where the password was changed since `account` was read."""

    async def rehash(self, user_id: UUID, old: str, new: str) -> None: ...

    async def close(self, account: Account, now_ms: int, entry: AuditEntry) -> bool:
        """Erase what is personal."""

    async def pend_totp(self, user_id: UUID, sealed: bytes, now_ms: int) -> None: ...

    async def activate_totp(
        self, account: Account, step: int, recovery: Sequence[bytes], entry: AuditEntry
    ) -> bool | None:
        """Whether the recovery codes are the user's now: he had none. None: another secret is pending by now."""

    async def accept_step(self, account: Account, step: int) -> bool:
        """Once for each step, and for none before it. Durable on return."""

    async def disable_totp(self, user_id: UUID, entry: AuditEntry) -> bool: ...


class CodeStore(Protocol):
    async def add(self, code: Code) -> None: ...

    async def attempt(self, code_id: UUID, purpose: Purpose, now_ms: int, tries: int) -> Code | None:
        """Count a try. None where there is none, expired or tried too often."""

    async def use(self, code_id: UUID) -> bool:
        """Once."""


class AttemptStore(Protocol):
    async def begin(
        self, subject: bytes, kind: int, now_ms: int, rule: Callable[[Tally, int], Tally | None]
    ) -> Tally | None:
        """Count a try before it is made, as the rule says. None: not now."""

    async def take_back(self, subject: bytes, kind: int) -> None: ...

    async def clear(self, subject: bytes, kind: int) -> None: ...


class FactorStore(Protocol):
    async def passkeys(self, user_id: UUID) -> list[Passkey]: ...

    async def passkey(self, user_id: UUID, credential_id: bytes) -> Passkey | None: ...

    async def add_passkey(
        self, passkey: Passkey, most: int, recovery: Sequence[bytes], entry: AuditEntry
    ) -> bool | None:
        """Whether the recovery codes are the user's now: he had none. None: it is there already, or one too many."""

    async def used(self, passkey: Passkey, sign_count: int, now_ms: int) -> bool:
        """False where the counter is not beyond the one that is kept, or the passkey is gone. Durable on return."""

    async def rename_passkey(self, user_id: UUID, passkey_id: UUID, name: str, entry: AuditEntry) -> bool: ...

    async def remove_passkey(self, user_id: UUID, passkey_id: UUID, entry: AuditEntry) -> bool: ...

    async def replace_recovery(self, user_id: UUID, hashes: Sequence[bytes], entry: AuditEntry) -> bool: ...

    async def use_recovery(self, user_id: UUID, code_hash: bytes, entry: AuditEntry) -> bool:
        """Once. Durable on return."""

    async def recovery_left(self, user_id: UUID) -> int: ...


class CeremonyStore(Protocol):
    async def add(self, ceremony: Ceremony) -> None: ...

    async def take(self, ceremony_id: UUID, purpose: Purpose, now_ms: int) -> Ceremony | None:
        """Once. None where there is none, of another purpose, or expired."""

    async def attempt(self, ceremony_id: UUID, purpose: Purpose, now_ms: int, tries: int) -> Ceremony | None:
        """Count a try and leave it there. None, also, where it was tried too often."""


class SessionStore(Protocol):
    async def get(self, user_id: UUID, session_id: UUID) -> UserSession | None: ...

    async def add(self, session: UserSession, password_version: int) -> bool:
        """False where the account is gone, its password is another by now, or the session's device is revoked."""

    async def rotate(self, before: UserSession, after: UserSession) -> bool:
        """False where it is of another generation by now, or revoked."""

    async def mark(self, user_id: UUID, session_id: UUID, stepped_up_time_ms: int, confirmed_time_ms: int) -> None: ...

    async def live(self, user_id: UUID, now_ms: int) -> list[UserSession]: ...

    async def revoke(self, user_id: UUID, session_id: UUID, now_ms: int, entry: AuditEntry) -> bool: ...

    async def revoke_all(self, user_id: UUID, now_ms: int, entry: AuditEntry) -> None: ...


class DeviceStore(Protocol):
    async def devices(self, named: Sequence[tuple[UUID, UUID]]) -> list[Device | None]: ...

    async def all(self, user_id: UUID) -> list[Device]: ...

    async def add(
        self, device: Device, attestation: bytes, session_id: UUID, most: int, entry: AuditEntry
    ) -> bool | None:
        """The session is the device's from now on. None: the session has ended. False: one device too many."""

    async def rename(self, user_id: UUID, device_id: UUID, name: str, entry: AuditEntry) -> bool: ...

    async def revoke(self, user_id: UUID, device_id: UUID, now_ms: int, entry: AuditEntry) -> bool:
        """Its sessions end with it."""


class NoticeStore(Protocol):
    async def add_alert(self, alert: Alert) -> None: ...

    async def alerts(self, user_id: UUID, now_ms: int) -> list[Alert]: ...

    async def seen(self, user_id: UUID, network_hash: bytes, now_ms: int) -> bool:
        """Keep that the account was used from there. Whether that is new, and others are known."""

    async def add_message(self, message: OutgoingMessage) -> None: ...

    async def take_messages(self, limit: int, now_ms: int, lease_ms: int) -> list[OutgoingMessage]: ...

    async def confirm_messages(self, ids: Sequence[UUID]) -> None: ...


class RescueStore(Protocol):
    async def get(self, rescue_id: UUID) -> Rescue | None: ...

    async def open_of(self, user_id: UUID, now_ms: int) -> Rescue | None: ...

    async def add(self, rescue: Rescue, entry: AuditEntry) -> bool:
        """False where one is open already, or the account is closed by now."""

    async def approve(self, rescue: Rescue, entry: AuditEntry) -> bool:
        """False where it is not requested any more."""

    async def stop(self, rescue_id: UUID, by: str, now_ms: int, entry: AuditEntry) -> bool: ...

    async def complete(self, rescue: Rescue, by: str, password_hash: str, now_ms: int, entry: AuditEntry) -> bool:
        """Password, second factors, devices and sessions are void. False where it is not approved any more, or a second
        factor was shown since it was requested."""


@dataclass(frozen=True, slots=True)
class Stores:
    accounts: AccountStore
    codes: CodeStore
    attempts: AttemptStore
    factors: FactorStore
    ceremonies: CeremonyStore
    sessions: SessionStore
    devices: DeviceStore
    notices: NoticeStore
    rescues: RescueStore
