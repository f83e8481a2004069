"""The user service, put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from switch.ports import Counters
from switch.ports.platform import Belongings
from switch.users.account_desk import AccountDesk, PasswordReset
from switch.users.device_desk import DeviceDesk
from switch.users.factor_desk import FactorDesk
from switch.users.limits import AddressLimit, Tries
from switch.users.messages import Alerts, Messenger, OutboxMessenger
from switch.users.passkeys import Passkeys
from switch.users.passwords import Passwords
from switch.users.recovery import Recovery
from switch.users.registration import Codes, Registration
from switch.users.rescue import RescueDesk
from switch.users.second_factor import Guarded, SecondFactor, StepUp
from switch.users.session_book import SessionBook
from switch.users.sign_in import SignIn
from switch.users.totp import Totp
from switch.users.world import World


@dataclass(frozen=True, slots=True)
class Users:
    registration: Registration
    sign_in: SignIn
    book: SessionBook
    step_up: StepUp
    account: AccountDesk
    reset: PasswordReset
    factors: FactorDesk
    devices: DeviceDesk
    outbox: OutboxMessenger
    rescue: RescueDesk


def build_users(
    world: World, passwords: Passwords, counters: Counters, messenger: Messenger | None = None,
    belongings: Sequence[Belongings] = (), locked: Callable[[], None] = lambda: None,
) -> Users:  # fmt: skip
    """messenger: in place of the outbox. belongings: what other services keep of a user. locked: told of each lock."""
    outbox = OutboxMessenger(world)
    teller = messenger or outbox
    alerts = Alerts(world, teller)
    limit = AddressLimit(counters, world.settings.per_address, world.clock.monotonic_s)
    guarded = Guarded(Tries(world), alerts, locked, world.signals)
    codes = Codes(world)
    book = SessionBook(world, alerts)
    totp, passkeys, recovery = Totp(world), Passkeys(world, alerts), Recovery(world, alerts)
    factor = SecondFactor(totp, passkeys, recovery)
    step_up = StepUp(world, book, factor, passkeys, passwords, guarded)
    return Users(
        registration=Registration(world, limit, codes, passwords, teller),
        sign_in=SignIn(world, limit, passwords, factor, passkeys, book, guarded),
        book=book,
        step_up=step_up,
        account=AccountDesk(world, book, passwords, step_up, alerts, belongings),
        reset=PasswordReset(world, limit, codes, passwords, factor, guarded, alerts, teller),
        factors=FactorDesk(world, book, totp, passkeys, recovery, alerts),
        devices=DeviceDesk(world, book, passkeys, alerts),
        outbox=outbox,
        rescue=RescueDesk(world, book, alerts, passwords),
    )
