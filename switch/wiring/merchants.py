"""The wiring of the merchant service, and of what the road asks about merchants."""

from collections.abc import Callable, Sequence
from secrets import token_bytes

from payswitch.v1 import merchant_pb2
from switch.api.merchant_service import MerchantServicer
from switch.config import Settings
from switch.domain.merchant_standing import Refusal
from switch.merchants.accounts import Accounts
from switch.merchants.alerts import Alert, log_alert
from switch.merchants.contracts import Contracts
from switch.merchants.credentials import Credentials
from switch.merchants.keeping import Keeping
from switch.merchants.onboarding import Entropy, Onboarding
from switch.merchants.people import People
from switch.merchants.places import Places
from switch.merchants.settings import HOUR_MS, MerchantSettings
from switch.merchants.watch import StandingWatch
from switch.ops.lifecycle import Lifecycle
from switch.ports import Clock, Hsm
from switch.store.merchant_administration import PostgresMerchantAdministration
from switch.store.merchants import SEAL_KEY, PostgresMerchants, sealed_with
from switch.store.sessions import Pool
from switch.wiring.platform import Platform, Served


def open_merchants(platform: Platform) -> Sequence[Served]:
    servicer = merchant_servicer(
        platform.pool, platform.hsm, platform.clock, merchant_settings(platform.settings), token_bytes, log_alert
    )
    return [Served(merchant_pb2.DESCRIPTOR.services_by_name["MerchantService"], servicer)]


def merchant_servicer(
    pool: Pool, hsm: Hsm, clock: Clock, settings: MerchantSettings, entropy: Entropy, alert: Alert
) -> MerchantServicer:
    store = PostgresMerchantAdministration(pool)
    accounts = Accounts(store, hsm, SEAL_KEY, sealed_with, clock, entropy, settings, alert)
    return MerchantServicer(
        Onboarding(store, accounts, clock, entropy, settings),
        Keeping(store, clock, settings),
        accounts,
        Contracts(store, clock, settings),
        Places(store, settings),
        People(store, clock, entropy, settings, alert),
        Credentials(store, clock, entropy, settings, alert),
        clock,
    )


def merchant_settings(settings: Settings) -> MerchantSettings:
    section = settings.merchants
    return MerchantSettings(
        acquirer_id=section.acquirer_id,
        channels=tuple(settings.channel_names()),
        account_cooling_off_ms=section.account_cooling_off_h * HOUR_MS,
        invitation_ms=section.invitation_h * HOUR_MS,
        credentials=section.credentials,
    )


async def merchant_standing(
    settings: Settings, lifecycle: Lifecycle, pool: Pool
) -> Callable[[str, str], Refusal | None]:
    """What `World.standing` asks, kept up to date until the process ends. Raises StoreUnavailable."""
    watch = StandingWatch(PostgresMerchants(pool), settings.merchants.only_onboarded)
    await watch.begin()
    watch.start()
    lifecycle.on_close("merchant standings", watch.close)
    return watch.refusal
