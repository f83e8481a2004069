"""One-time codes by time (RFC 6238): SHA-1, six digits, steps of 30 s, one step of skew either way.

A secret lies sealed by the HSM. A step that was accepted, and all before it, are never accepted again (RFC 6238 5.2).
"""

import base64
import hmac
from typing import Final

import pyotp

from switch.domain.account import Account
from switch.domain.refusals import NotPossible, NotProved
from switch.users.world import World

STEP_MS: Final = 30_000
_SKEW_STEPS: Final = 1
_SECRET_BYTES: Final = 20  # RFC 4226 4, R6: 160 bits are recommended
_NOT_RIGHT: Final = "the code is not right"


class Totp:
    def __init__(self, world: World) -> None:
        self._world = world

    async def prove(self, account: Account, code: str) -> None:
        """Of two at once with the same code one is refused. Raises NotProved."""
        if not account.totp_sealed:
            raise NotProved(_NOT_RIGHT)
        secret = await self._world.seals.unseal("totp", account.id.bytes, account.totp_sealed)
        step = matching_step(secret.decode(), code, self._world.now_ms(), account.totp_last_step)
        if step is None or not await self._world.stores.accounts.accept_step(account, step):
            raise NotProved(_NOT_RIGHT)

    async def begin(self, account: Account) -> tuple[str, str]:
        """(secret, otpauth URI) of a secret that is pending until a code of it is shown."""
        world = self._world
        secret = base64.b32encode(world.entropy(_SECRET_BYTES)).decode()
        sealed = await world.seals.seal("totp", account.id.bytes, secret.encode())
        await world.stores.accounts.pend_totp(account.id, sealed, world.now_ms())
        login = await world.seals.login_of(account.login_hash, account.login_kind, account.login_sealed)
        uri = pyotp.TOTP(secret).provisioning_uri(name=login.text, issuer_name=world.settings.rp_name)
        return secret, uri

    async def pending_step(self, account: Account, code: str) -> int:
        """The step of a right code of the pending secret. Raises NotPossible or NotProved."""
        world = self._world
        pending_until_ms = account.totp_pending_time_ms + world.settings.totp_pending_ms
        if not account.totp_pending or world.now_ms() >= pending_until_ms:
            raise NotPossible("no secret is pending: EnrollTotp first")
        secret = await world.seals.unseal("totp", account.id.bytes, account.totp_pending)
        step = matching_step(secret.decode(), code, world.now_ms(), 0)
        if step is None:
            raise NotProved(_NOT_RIGHT)
        return step


def matching_step(secret: str, code: str, now_ms: int, last_step: int) -> int | None:
    """The first step after `last_step`, within the skew of now, whose code it is.

    >>> matching_step("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "287082", 59_000, 0)
    1
    >>> matching_step("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "287082", 59_000, 1)
    """
    plain = code.replace(" ", "")
    if len(plain) != 6 or not plain.isascii() or not plain.isdigit():
        return None
    generator = pyotp.TOTP(secret)
    now_step = now_ms // STEP_MS
    found = None
    for step in range(now_step + _SKEW_STEPS, now_step - _SKEW_STEPS - 1, -1):
        # All of them, whichever matches: the time tells nothing.
        matches = step >= 0 and hmac.compare_digest(generator.generate_otp(step), plain)
        found = step if matches and step > last_step else found
    return found
