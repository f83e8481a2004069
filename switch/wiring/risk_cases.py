"""The wiring of risk control's lists, alerts and cases, and of what is shared with partners."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from payswitch.v1 import risk_cases_pb2 as pb
from switch.api.risk_case_service import RiskCaseServicer
from switch.config import Settings
from switch.domain.risk import ListKind
from switch.domain.risk_listing import Marking
from switch.payments.credential import HASH_KEY
from switch.ports import Clock, Hsm, StoreUnavailable
from switch.risk.case_desk import CaseDesk
from switch.risk.listing_desk import ListingDesk
from switch.risk.payment_alerts import PaymentAlerts
from switch.risk.poisoning import PoisonRules
from switch.risk.share_signature import public_key
from switch.risk.sharing import Partner, Sharing
from switch.risk.subjects import card_key
from switch.store.feed_consumer import FeedConsumer
from switch.store.payment_alerts import CONSUMER, telling
from switch.store.risk_cases import DisputeLabels, PostgresCases
from switch.store.risk_listings import PostgresListings
from switch.store.risk_releases import PostgresReleases
from switch.store.risk_traffic import PostgresTraffic
from switch.store.sessions import Pool
from switch.wiring.codes import WalletVault, wallet_vault
from switch.wiring.feed import open_consumer
from switch.wiring.foundation import cancelled
from switch.wiring.monitor import starter_set
from switch.wiring.platform import Platform, Served

log = structlog.get_logger()
_LABELS_S: Final = 60.0
_PAYER_KEY_BYTES: Final = 16


class VaultCardKeys:
    """Meets `switch.api.risk_case_service.CardKeys`: the number behind a token is hashed as the road hashes it."""

    def __init__(self, vault: WalletVault, hsm: Hsm) -> None:
        self._vault = vault
        self._hsm = hsm

    async def of_tokens(self, tokens: Sequence[str]) -> list[str | None]:
        pans = await self._vault.reveal(tokens, "risk control: a card on a list")
        known = [(HASH_KEY, pan.reveal().encode()) for pan in pans if pan is not None]
        hashes = iter(await self._hsm.keyed_hashes(known) if known else [])
        return [None if pan is None else _key(next(hashes)) for pan in pans]


def _key(hashed: bytes | Exception) -> str:
    if isinstance(hashed, Exception):
        raise StoreUnavailable("the HSM is not available")
    return card_key(hashed[:_PAYER_KEY_BYTES])


def open_risk_cases(platform: Platform) -> Sequence[Served]:
    settings, pool, clock = platform.settings, platform.pool, platform.clock
    traffic = PostgresTraffic(pool)
    listings = listing_desk(settings, pool, clock)
    cases = CaseDesk(PostgresCases(pool), listings, traffic, clock, settings.risk_cases.freeze_days)
    _follow(platform)
    cards = VaultCardKeys(wallet_vault(pool, platform.hsm, clock), platform.hsm)
    servicer = RiskCaseServicer(listings, cases, sharing(settings, pool, clock), traffic, cards)
    return [Served(pb.DESCRIPTOR.services_by_name["RiskCaseService"], servicer)]


def _follow(platform: Platform) -> None:
    """Alerts out of the journal's feed, labels out of disputes."""
    window_ms = platform.settings.risk_cases.alert_window_min * 60_000
    alerts = PaymentAlerts(PostgresReleases(platform.pool), starter_set(platform.settings), window_ms)
    consumer = FeedConsumer(platform.following, CONSUMER, telling(alerts), right_of_way=platform.right_of_way)
    open_consumer(platform, consumer)
    labels = asyncio.create_task(_keep_labels(DisputeLabels(platform.pool)), name="dispute labels")
    platform.lifecycle.on_close("dispute labels", lambda: cancelled(labels))


async def _keep_labels(labels: DisputeLabels) -> None:
    while True:
        try:
            await labels.bring()
        except StoreUnavailable as error:
            log.warning("dispute_labels_not_brought", reason=str(error))
        await asyncio.sleep(_LABELS_S)


def listing_desk(settings: Settings, pool: Pool, clock: Clock) -> ListingDesk:
    section = settings.risk_cases
    rules = PoisonRules(section.payer_basis_points, section.merchant_basis_points, section.looked_back_days)
    return ListingDesk(PostgresListings(pool), PostgresTraffic(pool), clock, rules)


def sharing(settings: Settings, pool: Pool, clock: Clock) -> Sharing:
    listings = PostgresListings(pool)
    desk = listing_desk(settings, pool, clock)
    section = settings.risk_share
    return Sharing(partners_of(settings), section.sender, desk, listings, listings, PostgresCases(pool), clock)


def partners_of(settings: Settings) -> Mapping[str, Partner]:
    return {
        each.id: Partner(
            each.id, public_key(each.public_key), ListKind[each.trust.upper()], each.days,
            Marking[each.marking.upper()], bytes.fromhex(each.card_key.get_secret_value()),
        )
        for each in settings.risk_share.partners
    }  # fmt: skip
