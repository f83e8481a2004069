"""From a login and a password to an account, by a code that was sent to the login; and the codes themselves.

A login that has an account is answered like any other, does the same work, and is told so where only its owner reads.
"""

import hmac
from typing import Final
from uuid import UUID

from switch.domain.account import Account, Code, Purpose
from switch.domain.login import Login, parse_login
from switch.domain.refusals import Invalid, NotProved, TooMany
from switch.ports.signals import Signal, SignalKind
from switch.users.limits import CODES_OF_DAY, CODES_OF_HOUR, AddressLimit
from switch.users.messages import Message, MessageKind, Messenger
from switch.users.passwords import Passwords, accepted
from switch.users.world import World, change, parsed_id

_DIGITS: Final = 6
_NOT_RIGHT: Final = "the code is not right"


def login_from(text: str) -> Login:
    """Raises Invalid."""
    try:
        return parse_login(text)
    except ValueError as error:
        raise Invalid("login", str(error)) from None


class Codes:
    """Six digits, 10 minutes, five tries; so few an hour and a day that guessing them on and on leads nowhere."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def count(self, login_hash: bytes) -> None:
        """One more is to be sent. Raises TooMany."""
        world = self._world
        paces = ((CODES_OF_HOUR, world.settings.codes_of_hour), (CODES_OF_DAY, world.settings.codes_of_day))
        for kind, pace in paces:
            if await world.stores.attempts.begin(login_hash, kind, world.now_ms(), pace) is None:
                raise TooMany("too many codes for this login: later")

    async def new(
        self, purpose: Purpose, login: Login, login_hash: bytes, user_id: UUID | None = None, password_hash: str = ""
    ) -> tuple[Code, str]:
        """(as it is kept, as it is sent)."""
        world = self._world
        code_id = world.new_id()
        # 2^64 is a million times and a rest that no counting would find.
        digits = f"{int.from_bytes(world.entropy(8), 'big') % 10**_DIGITS:0{_DIGITS}d}"
        code = Code(
            id=code_id,
            purpose=purpose,
            login_hash=login_hash,
            login_kind=login.kind,
            code_hash=await world.seals.code_hash(code_id, digits),
            expires_time_ms=world.now_ms() + world.settings.code_ms,
            user_id=user_id,
            login_sealed=await world.seals.seal_login(login_hash, login),
            password_hash=password_hash,
        )
        await world.stores.codes.add(code)
        return code, digits

    async def proved(self, purpose: Purpose, code_id: str, digits: str) -> Code:
        """It stays good until it is used. Raises NotProved."""
        world = self._world
        identity = parsed_id(code_id)
        tries, now_ms = world.settings.code_tries, world.now_ms()
        code = None if identity is None else await world.stores.codes.attempt(identity, purpose, now_ms, tries)
        if identity is None or code is None:
            raise NotProved(_NOT_RIGHT)
        if not hmac.compare_digest(await world.seals.code_hash(identity, digits), code.code_hash):
            raise NotProved(_NOT_RIGHT)
        return code


class Registration:
    def __init__(
        self, world: World, limit: AddressLimit, codes: Codes, passwords: Passwords, messenger: Messenger
    ) -> None:
        self._world = world
        self._limit = limit
        self._codes = codes
        self._passwords = passwords
        self._messenger = messenger

    async def register(self, login_text: str, password: str, address: str) -> Code:
        """Raises Invalid or TooMany."""
        await self._limit.admit(address)
        login = login_from(login_text)
        plain = accepted(password, login)
        login_hash = await self._world.seals.login_hash(login)
        await self._codes.count(login_hash)
        password_hash = await self._passwords.hash(plain)
        taken = await self._world.stores.accounts.by_login(login_hash) is not None
        code, digits = await self._codes.new(Purpose.REGISTER, login, login_hash, password_hash=password_hash)
        kind = MessageKind.ALREADY_REGISTERED if taken else MessageKind.REGISTRATION_CODE
        await self._messenger.send(Message(login, kind, code.expires_time_ms, "" if taken else digits))
        return code

    async def verify(self, registration_id: str, digits: str, address: str) -> UUID:
        """The user's id. Raises NotProved or TooMany."""
        await self._limit.admit(address)
        code = await self._codes.proved(Purpose.REGISTER, registration_id, digits)
        world = self._world
        account = Account(
            world.new_id(), code.login_hash, code.login_kind, code.login_sealed, code.password_hash, world.now_ms()
        )
        entry = change(account.id, "Verify", after={"state": "open", "login": code.login_kind.name.lower()})
        if not await world.stores.accounts.create(account, code.id, entry):
            raise NotProved(_NOT_RIGHT)
        world.signals.report(Signal(SignalKind.REGISTERED, account.id, address=address))
        return account.id
