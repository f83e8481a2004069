"""What a person does with the account itself: see it, change or recover its password, end it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from switch.domain.access import Caller
from switch.domain.account import Account, Alert, AlertKind, Code, Purpose
from switch.domain.refusals import Invalid, NotPossible, NotProved
from switch.ports.platform import Belongings
from switch.users.limits import AddressLimit
from switch.users.messages import Alerts, Message, MessageKind, Messenger
from switch.users.passwords import Passwords, accepted
from switch.users.proofs import Factor
from switch.users.registration import Codes, login_from
from switch.users.second_factor import Guarded, SecondFactor, StepUp
from switch.users.session_book import SessionBook
from switch.users.world import World, change

_CHANGED: Final = "the password was changed meanwhile"


@dataclass(frozen=True, slots=True)
class Profile:
    account: Account
    login: str = field(repr=False)
    recovery_codes_left: int


class AccountDesk:
    """belongings: of other services, in the order in which they are given up; first those that may refuse."""

    def __init__(
        self, world: World, book: SessionBook, passwords: Passwords, step_up: StepUp, alerts: Alerts,
        belongings: Sequence[Belongings] = (),
    ) -> None:  # fmt: skip
        self._world = world
        self._belongings = belongings
        self._book = book
        self._passwords = passwords
        self._step_up = step_up
        self._alerts = alerts

    async def profile(self, caller: Caller) -> Profile:
        account, _ = await self._book.own(caller)
        world = self._world
        login = await world.seals.login_of(account.login_hash, account.login_kind, account.login_sealed)
        return Profile(account, login.text, await world.stores.factors.recovery_left(account.id))

    async def alerts(self, caller: Caller) -> list[Alert]:
        account, _ = await self._book.own(caller)
        return await self._world.stores.notices.alerts(account.id, self._world.now_ms())

    async def change_password(self, caller: Caller, current: str, new: str, address: str) -> None:
        """Ends the other sessions. Who has a second factor must have shown it; the current password is then needless.

        Raises Invalid, NotPermitted, NotProved, NotPossible or TooMany.
        """
        account, session = await self._book.own(caller)
        if account.has_second_factor:
            await self._book.fresh(caller)
        elif not current:
            raise Invalid("current_password", "is missing")
        world = self._world
        login = await world.seals.login_of(account.login_hash, account.login_kind, account.login_sealed)
        plain = accepted(new, login, "new_password")
        if current:
            await self._step_up.check_password(account, current, address)
        entry = change(account.id, "ChangePassword", after={"password": "changed", "other_sessions": "ended"})
        hashed = await self._passwords.hash(plain)
        if not await world.stores.accounts.set_password(account, hashed, session.id, world.now_ms(), entry):
            raise NotPossible(_CHANGED)
        await self._alerts.tell(account, AlertKind.PASSWORD_CHANGED, address)

    async def delete(self, caller: Caller) -> None:
        """What others keep of the user goes first. Raises NotPermitted, NotPossible."""
        account, _ = await self._book.fresh(caller)
        for each in self._belongings:
            await each.give_up(caller.name, account.id)
        entry = change(account.id, "DeleteAccount", before={"state": "open"}, after={"state": "closed"})
        await self._world.stores.accounts.close(account, self._world.now_ms(), entry)


class PasswordReset:
    """By a code to the login, and the second factor where there is one."""

    def __init__(
        self, world: World, limit: AddressLimit, codes: Codes, passwords: Passwords, factor: SecondFactor,
        guarded: Guarded, alerts: Alerts, messenger: Messenger,
    ) -> None:  # fmt: skip
        self._world = world
        self._limit = limit
        self._codes = codes
        self._passwords = passwords
        self._factor = factor
        self._guarded = guarded
        self._alerts = alerts
        self._messenger = messenger

    async def request(self, login_text: str, address: str) -> Code:
        """Raises Invalid or TooMany."""
        await self._limit.admit(address)
        login = login_from(login_text)
        world = self._world
        login_hash = await world.seals.login_hash(login)
        await self._codes.count(login_hash)
        account = await world.stores.accounts.by_login(login_hash)
        user_id = None if account is None else account.id
        code, digits = await self._codes.new(Purpose.RESET, login, login_hash, user_id)
        # The same work for a login that nobody has, whose message has expired before it is written.
        until_ms = code.expires_time_ms if account is not None else world.now_ms()
        await self._messenger.send(Message(login, MessageKind.RESET_CODE, until_ms, digits))
        return code

    async def reset(self, reset_id: str, digits: str, new: str, factor: Factor | None, address: str) -> None:
        """Ends every session. Raises Invalid, NotProved, NotPossible (a second factor is needed) or TooMany."""
        await self._limit.admit(address)
        code = await self._codes.proved(Purpose.RESET, reset_id, digits)
        world = self._world
        account = await world.stores.accounts.get(code.user_id) if code.user_id is not None else None
        if account is None:
            raise NotProved("the code is not right")
        login = await world.seals.login_of(account.login_hash, account.login_kind, account.login_sealed)
        plain = accepted(new, login, "new_password")
        if account.has_second_factor:
            await self._prove(account, factor, address)
        hashed = await self._passwords.hash(plain)
        if not await world.stores.codes.use(code.id):
            raise NotProved("the code is not right")
        entry = change(account.id, "ResetPassword", after={"password": "reset", "sessions": "ended"})
        if not await world.stores.accounts.set_password(account, hashed, None, world.now_ms(), entry):
            raise NotPossible(_CHANGED)
        await self._guarded.right(account.login_hash, wholly=True)
        await self._alerts.tell(account, AlertKind.PASSWORD_RESET, address)

    async def _prove(self, account: Account, factor: Factor | None, address: str) -> None:
        if factor is None:
            raise NotPossible("a second factor is needed")
        tally = await self._guarded.begin(account.login_hash)
        try:
            await self._factor.prove(account, factor, b"", address)
        except NotProved:
            await self._guarded.wrong(tally, account.login_hash, account, address)
            raise
