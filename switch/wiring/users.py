"""The wiring of the user service: from the settings to a servicer, and what sweeps its tables."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

import structlog

from payswitch.v1 import user_pb2
from switch.api.user_service import UserServicer
from switch.domain.tally import BackOff, Pace
from switch.ops.metrics import USER_LOCK_OUTS
from switch.ports import Clock, StoreUnavailable
from switch.ports.platform import Belongings
from switch.settings_sections import Users as Section
from switch.store.counters import RedisCounters
from switch.store.sessions import Pool
from switch.store.users import PostgresAccounts
from switch.store.users_codes import PostgresAttempts, PostgresCodes
from switch.store.users_devices import PostgresDevices
from switch.store.users_factors import PostgresCeremonies, PostgresFactors
from switch.store.users_notices import PostgresNotices
from switch.store.users_rescues import PostgresRescues
from switch.store.users_sessions import PostgresUserSessions
from switch.users.passwords import Passwords
from switch.users.seals import Seals
from switch.users.settings import Argon2, UserSettings
from switch.users.store import Stores
from switch.users.users import build_users
from switch.users.world import World
from switch.wiring.platform import Platform, Served

log = structlog.get_logger()

_SWEEP_S: Final = 600.0
_SWEEP_ON_S: Final = 0.1
_COUNTERS_TIMEOUT_S: Final = 0.05


def open_users(platform: Platform, belongings: Sequence[Belongings] = ()) -> Sequence[Served]:
    """Closed with the lifecycle. belongings: what other services keep of a user, in the order in which it goes."""
    section = platform.settings.users
    settings = settings_of(section)
    stores = stores_on(platform.pool, platform.clock)
    world = World(stores, Seals(platform.hsm), platform.clock, secrets.token_bytes, settings, platform.signals)
    passwords = Passwords(settings.argon2, secrets.token_bytes)
    counters = RedisCounters(platform.redis_url, timeout_s=_COUNTERS_TIMEOUT_S)
    sweeping = asyncio.create_task(_sweep(PostgresNotices(platform.pool), platform.clock), name="users' old rows")

    async def close() -> None:
        sweeping.cancel()
        await asyncio.wait([sweeping])
        passwords.close()
        await counters.close()

    platform.lifecycle.on_close("users", close)
    servicer = UserServicer(build_users(world, passwords, counters, belongings=belongings, locked=USER_LOCK_OUTS.inc))
    return [Served(user_pb2.DESCRIPTOR.services_by_name["UserService"], servicer)]


def settings_of(section: Section) -> UserSettings:
    return UserSettings(
        access_ms=section.access_token_ms,
        refresh_ms=section.refresh_token_ms,
        session_ms=section.session_ms,
        grace_ms=section.refresh_grace_ms,
        rp_id=section.rp_id,
        rp_name=section.rp_name,
        origins=tuple(section.origins),
        argon2=Argon2(
            section.argon2_memory_kib, section.argon2_passes, section.argon2_lanes, section.password_threads,
            section.password_queue,
        ),
        back_off=BackOff(
            section.free_tries, section.first_lock_ms, section.longest_lock_ms, forget_ms=86_400_000
        ),
        codes_of_hour=Pace(section.codes_per_hour, 3_600_000),
        codes_of_day=Pace(section.codes_per_day, 86_400_000),
        per_address=section.calls_per_address,
        rescue_wait_ms=section.rescue_wait_h * 3_600_000,
    )  # fmt: skip


def stores_on(pool: Pool, clock: Clock) -> Stores:
    return Stores(
        accounts=PostgresAccounts(pool),
        codes=PostgresCodes(pool),
        attempts=PostgresAttempts(pool),
        factors=PostgresFactors(pool),
        ceremonies=PostgresCeremonies(pool),
        sessions=PostgresUserSessions(pool, clock),
        devices=PostgresDevices(pool),
        notices=PostgresNotices(pool),
        rescues=PostgresRescues(pool),
    )


async def _sweep(notices: PostgresNotices, clock: Clock) -> None:
    while True:
        removed = 0
        try:
            removed = await notices.sweep(clock.time_ms())
        except StoreUnavailable as error:
            log.warning("users_not_swept", reason=str(error))
        await asyncio.sleep(_SWEEP_ON_S if removed else _SWEEP_S)
