"""The second factor, whichever of them is shown; and showing it again (step-up)."""

from collections.abc import Callable

from switch.domain.access import Caller
from switch.domain.account import Account, AlertKind, Purpose
from switch.domain.refusals import NotPossible, NotProved, TooMany
from switch.domain.tally import Tally
from switch.ports.signals import Signal, SignalKind, Signals
from switch.users.limits import Tries
from switch.users.messages import Alerts
from switch.users.passkeys import Passkeys
from switch.users.passwords import Passwords, normalized
from switch.users.proofs import Factor, PasskeyAnswer, RecoveryCode, TotpCode
from switch.users.recovery import Recovery
from switch.users.session_book import SessionBook
from switch.users.totp import Totp
from switch.users.world import World


class SecondFactor:
    def __init__(self, totp: Totp, passkeys: Passkeys, recovery: Recovery) -> None:
        self._totp = totp
        self._passkeys = passkeys
        self._recovery = recovery

    async def prove(self, account: Account, factor: Factor, challenge: bytes, address: str) -> None:
        """challenge: of a passkey. Raises NotProved."""
        match factor:
            case TotpCode(code):
                await self._totp.prove(account, code)
            case RecoveryCode(code):
                await self._recovery.prove(account, code, address)
            case PasskeyAnswer(json):
                await self._passkeys.prove(account, challenge, json, address)


class Guarded:
    """A try that is counted, and locks the login where it is one too many.

    locked: told of every lock, also of a login that nobody has.
    """

    def __init__(self, tries: Tries, alerts: Alerts, locked: Callable[[], None], signals: Signals) -> None:
        self._tries = tries
        self._alerts = alerts
        self._locked = locked
        self._signals = signals

    async def begin(self, login_hash: bytes) -> Tally:
        """Raises TooMany."""
        return await self._tries.begin(login_hash)

    async def wrong(self, tally: Tally, login_hash: bytes, account: Account | None, address: str) -> None:
        user_id = None if account is None else account.id
        failed = Signal(SignalKind.LOGIN_FAILED, user_id, address=address, about=login_hash.hex())
        self._signals.report(failed)
        if not self._tries.locks(tally):
            return
        self._locked()
        if account is not None:
            await self._alerts.tell(account, AlertKind.LOCKED_OUT, address)

    async def right(self, login_hash: bytes, *, wholly: bool) -> None:
        """wholly: nothing is left to be proved."""
        if wholly:
            await self._tries.forget(login_hash)
        else:
            await self._tries.take_back(login_hash)


class StepUp:
    def __init__(
        self, world: World, book: SessionBook, factor: SecondFactor, passkeys: Passkeys, passwords: Passwords,
        guarded: Guarded,
    ) -> None:  # fmt: skip
        self._world = world
        self._book = book
        self._factor = factor
        self._passkeys = passkeys
        self._passwords = passwords
        self._guarded = guarded

    async def begin(self, caller: Caller) -> tuple[str, str]:
        """(ceremony's id, options as JSON). Raises NotPossible for a user without passkeys."""
        account, session = await self._book.own(caller)
        if not account.passkeys:
            raise NotPossible("there is no passkey")
        ceremony = await self._passkeys.new_ceremony(Purpose.STEP_UP, account, session)
        return str(ceremony.id), await self._passkeys.options(account, ceremony.challenge)

    async def by_factor(self, caller: Caller, factor: Factor, address: str) -> int:
        """Until when it is good, Unix milliseconds. Raises NotProved or TooMany."""
        account, session = await self._book.own(caller)
        challenge = b""
        if isinstance(factor, PasskeyAnswer):
            challenge = (await self._passkeys.taken(Purpose.STEP_UP, factor.ceremony_id, account, session)).challenge
        tally = await self._guarded.begin(account.login_hash)
        try:
            await self._factor.prove(account, factor, challenge, address)
        except NotProved:
            await self._guarded.wrong(tally, account.login_hash, account, address)
            raise
        await self._guarded.right(account.login_hash, wholly=True)
        return await self._book.mark(session, second_factor=True)

    async def by_password(self, caller: Caller, password: str, address: str) -> int:
        """For a user without a second factor; what needs one stays shut. Raises NotPossible, NotProved or TooMany."""
        account, session = await self._book.own(caller)
        if account.has_second_factor:
            raise NotPossible("a second factor is needed")
        await self.check_password(account, password, address)
        return await self._book.mark(session, second_factor=False)

    async def check_password(self, account: Account, password: str, address: str) -> None:
        """Of somebody who is logged in. Raises NotProved or TooMany."""
        plain = normalized(password)
        tally = await self._guarded.begin(account.login_hash)
        try:
            right = await self._passwords.matches(account.password_hash, plain)
        except TooMany:
            await self._guarded.right(account.login_hash, wholly=False)
            raise
        if not right:
            await self._guarded.wrong(tally, account.login_hash, account, address)
            raise NotProved("the password is not right")
        await self._guarded.right(account.login_hash, wholly=not account.has_second_factor)
