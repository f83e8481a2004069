"""Passkeys: the ceremonies of WebAuthn, each on a challenge that works once, for one purpose and one user."""

from switch.domain.account import Account, AlertKind, Ceremony, Passkey, Purpose, UserSession
from switch.domain.refusals import NotProved
from switch.users.messages import Alerts
from switch.users.webauthn_answers import (
    NewCredential,
    RelyingParty,
    creation_options,
    named_in,
    request_options,
    verify_assertion,
    verify_creation,
)
from switch.users.world import World, parsed_id

CHALLENGE_BYTES = 32
_NOT_RIGHT = "the passkey's answer is not right"


class Passkeys:
    def __init__(self, world: World, alerts: Alerts) -> None:
        settings = world.settings
        self._world = world
        self._alerts = alerts
        self._party = RelyingParty(settings.rp_id, settings.rp_name, settings.origins, settings.ceremony_ms)

    # --- making one ---------------------------------------------------------------------------------------------------

    async def begin_creation(self, account: Account, session: UserSession) -> tuple[Ceremony, str]:
        """(the ceremony, options as JSON)."""
        world = self._world
        ceremony = await self.new_ceremony(Purpose.ADD_PASSKEY, account, session)
        login = await world.seals.login_of(account.login_hash, account.login_kind, account.login_sealed)
        known = [each.credential_id for each in await world.stores.factors.passkeys(account.id)]
        return ceremony, creation_options(self._party, account.id, login.text, ceremony.challenge, known)

    async def created(self, account: Account, session: UserSession, ceremony_id: str, answer: str) -> NewCredential:
        """Raises NotProved."""
        ceremony = await self.taken(Purpose.ADD_PASSKEY, ceremony_id, account, session)
        return verify_creation(self._party, answer, ceremony.challenge)

    # --- showing one --------------------------------------------------------------------------------------------------

    async def options(self, account: Account | None, challenge: bytes) -> str:
        """For one of the account's passkeys, or for any that finds its user itself; "" where the account has none."""
        if account is None:
            return request_options(self._party, challenge, [])
        known = [each.credential_id for each in await self._world.stores.factors.passkeys(account.id)]
        return request_options(self._party, challenge, known) if known else ""

    async def named(self, answer: str) -> Account:
        """Whose passkey answers, if it is right: nothing is proved by it. Raises NotProved."""
        user_id, _ = named_in(answer)
        account = await self._world.stores.accounts.get(user_id) if user_id is not None else None
        if account is None:
            raise NotProved(_NOT_RIGHT)
        return account

    async def prove(self, account: Account, challenge: bytes, answer: str, address: str) -> None:
        """Raises NotProved; where the counter went back the user is told, too: there may be a copy."""
        world = self._world
        user_id, credential_id = named_in(answer)
        passkey = await world.stores.factors.passkey(account.id, credential_id)
        if passkey is None or user_id not in (None, account.id):
            raise NotProved(_NOT_RIGHT)
        sign_count = verify_assertion(self._party, answer, challenge, passkey.public_key)
        if not await world.stores.factors.used(passkey, sign_count, world.now_ms()):
            if await self._is_there(passkey):
                await self._alerts.tell(account, AlertKind.PASSKEY_COPIED, address)
            raise NotProved(_NOT_RIGHT)

    async def _is_there(self, passkey: Passkey) -> bool:
        return await self._world.stores.factors.passkey(passkey.user_id, passkey.credential_id) is not None

    # --- ceremonies ---------------------------------------------------------------------------------------------------

    async def new_ceremony(self, purpose: Purpose, account: Account | None, session: UserSession | None) -> Ceremony:
        world = self._world
        ceremony = Ceremony(
            id=world.new_id(),
            purpose=purpose,
            user_id=None if account is None else account.id,
            challenge=world.entropy(CHALLENGE_BYTES),
            expires_time_ms=world.now_ms() + world.settings.ceremony_ms,
            session_id=None if session is None else session.id,
        )
        await world.stores.ceremonies.add(ceremony)
        return ceremony

    async def taken(
        self, purpose: Purpose, ceremony_id: str, account: Account | None, session: UserSession | None
    ) -> Ceremony:
        """Used up, whatever comes of it. Raises NotProved where it is none, used, expired, or somebody else's."""
        identity = parsed_id(ceremony_id)
        now_ms = self._world.now_ms()
        ceremony = None if identity is None else await self._world.stores.ceremonies.take(identity, purpose, now_ms)
        owner = (None if account is None else account.id, None if session is None else session.id)
        if ceremony is None or (ceremony.user_id, ceremony.session_id) != owner:
            raise NotProved("the challenge is not valid")
        return ceremony
