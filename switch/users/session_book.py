"""Sessions: opened by a log-in, kept alive by refresh tokens, ended by their user or by a token used twice.

A session's refresh tokens are numbered. The secrets of number n are HMACs under a key of the HSM, over the session, n
and a salt in its row: neither the database nor the HSM alone knows a token, and whether a token of any earlier number
is a true one can be told for ever without keeping it.

    number = the row's       the next one is made; the row moves on
    number = the row's - 1   within the grace: the same answer again (an honest client that asked twice, or whose
                             answer was lost); later: used twice
    older                    used twice: the session ends, and its user is told

Two who share a stolen token get the same next one within the grace; the second of them to refresh that is found out.
"""

import hmac
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from switch.domain.access import Caller, Session
from switch.domain.account import STEP_UP_MS, Account, AlertKind, UserSession
from switch.domain.refusals import Missing, NotPermitted, NotProved
from switch.domain.user_token import AccessToken, RefreshToken, parse_refresh, secret_hash
from switch.ports.signals import Signal, SignalKind
from switch.users.messages import Alerts
from switch.users.proofs import DeviceProof, check_proof
from switch.users.world import World, change

_SALT_BYTES: Final = 16
_NOT_VALID: Final = "the refresh token is not valid"
_LAST_GENERATION: Final = 2**31 - 2


@dataclass(frozen=True, slots=True)
class Tokens:
    access: AccessToken
    access_expires_time_ms: int
    refresh: RefreshToken
    refresh_expires_time_ms: int


@dataclass(frozen=True, slots=True)
class Client:
    """Who logs in from where. device_id: a bound device, its proof checked."""

    address: str
    name: str = ""
    device_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Secrets:
    access: bytes
    refresh: bytes


class SessionBook:
    def __init__(self, world: World, alerts: Alerts) -> None:
        self._world = world
        self._store = world.stores.sessions
        self._alerts = alerts

    async def open(self, account: Account, client: Client, *, password: bool, second_factor: bool) -> Tokens:
        """password, second_factor: what was shown. Raises NotProved where the account changed meanwhile."""
        world = self._world
        now_ms, settings = world.now_ms(), world.settings
        ends_ms = now_ms + settings.session_ms
        session = UserSession(
            id=world.new_id(),
            user_id=account.id,
            salt=world.entropy(_SALT_BYTES),
            generation=1,
            access_hash=b"",
            access_expires_time_ms=min(now_ms + settings.access_ms, ends_ms),
            previous_access_hash=b"",
            previous_access_expires_time_ms=0,
            refresh_expires_time_ms=min(now_ms + settings.refresh_ms, ends_ms),
            ends_time_ms=ends_ms,
            created_time_ms=now_ms,
            refreshed_time_ms=now_ms,
            stepped_up_time_ms=now_ms if second_factor else 0,
            confirmed_time_ms=now_ms if password else 0,
            address=client.address,
            client_name=client.name,
            device_id=client.device_id,
        )
        [secrets] = await self._secrets(session, 1)
        session = replace(session, access_hash=secret_hash(secrets.access))
        if not await self._store.add(session, account.password_version):
            raise NotProved("log in again")
        new = await self._alerts.used_from(account, client.address, client.device_id is not None)
        signal = Signal(SignalKind.SIGNED_IN, account.id, client.device_id, client.address, new_network=new)
        world.signals.report(signal)
        return _tokens(session, secrets)

    async def refresh(self, text: str, proof: DeviceProof | None, address: str) -> Tokens:
        """Raises NotProved."""
        token = parse_refresh(text)
        session = await self._store.get(token.user_id, token.session_id) if token is not None else None
        if token is None or session is None or not 1 <= token.generation <= _LAST_GENERATION:
            raise NotProved(_NOT_VALID)
        shown, following = await self._secrets(session, token.generation, token.generation + 1)
        if not hmac.compare_digest(shown.refresh, token.secret):
            raise NotProved(_NOT_VALID)
        # A second round where another refresh came between the reading and the writing.
        for _ in range(2):
            if session is None or not self._alive(session):
                break
            if token.generation < session.generation - 1 or self._late_repeat(token, session):
                await self._used_twice(session, address)
                break
            await self._check_device(session, proof, text)
            if token.generation == session.generation - 1:
                return _tokens(session, following)
            after = self._moved_on(session, following, address)
            if token.generation == session.generation and await self._store.rotate(session, after):
                return _tokens(after, following)
            session = await self._store.get(token.user_id, token.session_id)
        raise NotProved(_NOT_VALID)

    def _alive(self, session: UserSession) -> bool:
        return not session.revoked_time_ms and self._world.now_ms() < session.refresh_expires_time_ms

    def _late_repeat(self, token: RefreshToken, session: UserSession) -> bool:
        grace_ms = self._world.settings.grace_ms
        is_repeat = token.generation == session.generation - 1
        return is_repeat and self._world.now_ms() >= session.refreshed_time_ms + grace_ms

    def _moved_on(self, session: UserSession, secrets: _Secrets, address: str) -> UserSession:
        now_ms, settings = self._world.now_ms(), self._world.settings
        return replace(
            session,
            generation=session.generation + 1,
            access_hash=secret_hash(secrets.access),
            access_expires_time_ms=min(now_ms + settings.access_ms, session.ends_time_ms),
            previous_access_hash=session.access_hash,
            previous_access_expires_time_ms=min(session.access_expires_time_ms, now_ms + settings.grace_ms),
            refresh_expires_time_ms=min(now_ms + settings.refresh_ms, session.ends_time_ms),
            refreshed_time_ms=now_ms,
            address=address,
        )

    async def _used_twice(self, session: UserSession, address: str) -> None:
        subject = f"session/{session.id}"
        entry = change(session.user_id, "Refresh", subject, {"state": "live"}, {"state": "ended, token reused"})
        ended = await self._store.revoke(session.user_id, session.id, self._world.now_ms(), entry)
        account = await self._world.stores.accounts.get(session.user_id) if ended else None
        if account is not None:
            await self._alerts.tell(account, AlertKind.TOKEN_REUSED, address)

    async def _check_device(self, session: UserSession, proof: DeviceProof | None, text: str) -> None:
        if session.device_id is None:
            return
        [device] = await self._world.stores.devices.devices([(session.user_id, session.device_id)])
        if proof is None or proof.device_id != session.device_id or device is None or not device.active:
            raise NotProved("the session is a device's: its signature is needed")
        check_proof(proof, "refresh", text, device.public_key, self._world.now_ms())

    async def _secrets(self, session: UserSession, *generations: int) -> list[_Secrets]:
        about = [
            session.user_id.bytes + session.id.bytes + each.to_bytes(4, "big") + session.salt for each in generations
        ]
        access = await self._world.seals.hashes("access token", about)
        refresh = await self._world.seals.hashes("refresh token", about)
        return [_Secrets(*each) for each in zip(access, refresh, strict=True)]

    # --- a user's own ---------------------------------------------------------------------------------------------

    async def live(self, user_id: UUID) -> list[UserSession]:
        return await self._store.live(user_id, self._world.now_ms())

    async def end(self, user_id: UUID, session_id: UUID, act: str) -> None:
        """Raises Missing."""
        entry = change(user_id, act, f"session/{session_id}", {"state": "live"}, {"state": "ended"})
        if not await self._store.revoke(user_id, session_id, self._world.now_ms(), entry):
            raise Missing("no such session")

    async def end_all(self, user_id: UUID) -> None:
        entry = change(user_id, "LogOutEverywhere", after={"sessions": "ended"})
        await self._store.revoke_all(user_id, self._world.now_ms(), entry)

    # --- fresh proofs ---------------------------------------------------------------------------------------------

    async def own(self, caller: Caller) -> tuple[Account, UserSession]:
        """Raises NotProved where either has ended since the call was admitted."""
        user_id, session_id = _ids(caller)
        account = await self._world.stores.accounts.get(user_id)
        session = await self._store.get(user_id, session_id)
        if account is None or session is None or session.revoked_time_ms:
            raise NotProved("log in again")
        return account, session

    async def fresh(self, caller: Caller) -> tuple[Account, UserSession]:
        """A second factor was shown in the last 5 minutes, or the password by a user who has none. Else NotPermitted.

        Not the contract's step_up: who has no second factor yet could never set one up.
        """
        account, session = await self.own(caller)
        shown_ms = session.stepped_up_time_ms if account.has_second_factor else confirmed_at(session)
        if not self._world.now_ms() < shown_ms + STEP_UP_MS:
            raise NotPermitted("step-up needed")
        return account, session

    async def mark(self, session: Session | UserSession, *, second_factor: bool) -> int:
        """Returns until when it is good, Unix milliseconds."""
        now_ms = self._world.now_ms()
        stepped, confirmed = (now_ms, 0) if second_factor else (0, now_ms)
        await self._store.mark(session.user_id, session.id, stepped, confirmed)
        return now_ms + STEP_UP_MS


def confirmed_at(session: UserSession) -> int:
    return max(session.stepped_up_time_ms, session.confirmed_time_ms)


def _ids(caller: Caller) -> tuple[UUID, UUID]:
    if caller.user_id is None or caller.session_id is None:
        raise NotPermitted("only a user's session may do that")
    return caller.user_id, caller.session_id


def _tokens(session: UserSession, secrets: _Secrets) -> Tokens:
    return Tokens(
        AccessToken(session.user_id, session.id, secrets.access),
        session.access_expires_time_ms,
        RefreshToken(session.user_id, session.id, session.generation, secrets.refresh),
        session.refresh_expires_time_ms,
    )
