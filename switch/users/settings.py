"""What an installation chooses. Times are milliseconds."""

from dataclasses import dataclass, field

from switch.domain.tally import BackOff, Pace


@dataclass(frozen=True, slots=True)
class Argon2:
    """memory_kib, passes, lanes: RFC 9106's m, t and p. threads: hashes at once; queue: waiting for a thread."""

    memory_kib: int = 47_104
    passes: int = 1
    lanes: int = 1
    threads: int = 2
    queue: int = 32


@dataclass(frozen=True, slots=True)
class UserSettings:
    """access_ms, refresh_ms: how long a token is good. session_ms: how long refreshing may go on.

    grace_ms: within it a refresh may be repeated, and the access token before it is still good. ceremony_ms: of a
    challenge or ticket. rp_id, rp_name, origins: of WebAuthn. back_off: wrong tries to prove who one is, per login.
    rescue_wait_ms: from approval to completion. codes_of_…: sent to a login. per_address: calls in a minute of one
    address that prove something or have a code sent.
    """

    access_ms: int = 10 * 60_000
    refresh_ms: int = 30 * 86_400_000
    session_ms: int = 90 * 86_400_000
    grace_ms: int = 10_000
    code_ms: int = 10 * 60_000
    code_tries: int = 5
    ceremony_ms: int = 5 * 60_000
    ticket_tries: int = 5
    totp_pending_ms: int = 15 * 60_000
    rp_id: str = "localhost"
    rp_name: str = "payswitch"
    origins: tuple[str, ...] = ("https://localhost",)
    argon2: Argon2 = field(default_factory=Argon2)
    back_off: BackOff = field(default_factory=lambda: BackOff(5, 30_000, 900_000, 86_400_000))
    codes_of_hour: Pace = field(default_factory=lambda: Pace(5, 3_600_000))
    codes_of_day: Pace = field(default_factory=lambda: Pace(10, 86_400_000))
    per_address: int = 60
    most_passkeys: int = 10
    most_devices: int = 10
    rescue_wait_ms: int = 72 * 3_600_000
