"""The wiring of the platform's services: which of them this process serves, and how they reach the road."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from switch import pki
from switch.api.gate import Gate
from switch.api.remote_payments import RemotePayments
from switch.client.connection import ClientCredentials, open_channel
from switch.config import Settings
from switch.merchants.leaving import Leaving
from switch.payments.local import LocalPayments
from switch.ports.platform import Payments
from switch.routing.card_types import BinCardTypes
from switch.settings_sections import Followers
from switch.store.merchant_administration import PostgresMerchantAdministration
from switch.store.merchants import PostgresMerchants
from switch.store.orders import PostgresOrders
from switch.store.right_of_way import Patience, RightOfWay
from switch.store.users_devices import PostgresDevices
from switch.store.users_sessions import PostgresUserSessions
from switch.wiring.analytics import open_analytics
from switch.wiring.authorization import Engine
from switch.wiring.channel import read_file
from switch.wiring.codes import cards_of, enrolments_of, open_handovers, open_wallet
from switch.wiring.disputes import open_disputes
from switch.wiring.feed import open_feed
from switch.wiring.foundation import Foundation
from switch.wiring.merchants import open_merchants
from switch.wiring.orders import open_orders
from switch.wiring.platform import Platform, Served
from switch.wiring.reconciliation import open_reconciliation
from switch.wiring.risk import open_risk
from switch.wiring.risk_cases import open_risk_cases
from switch.wiring.routing import begin_bin_tables
from switch.wiring.settlement import open_settlement
from switch.wiring.signals import open_risk_counters
from switch.wiring.transactions import open_transactions, open_webhooks
from switch.wiring.users import open_users

Open = Callable[[Platform], Sequence[Served]]


def _open_orders(platform: Platform) -> Sequence[Served]:
    return open_orders(platform, cards_of(platform))


def _open_users(platform: Platform) -> Sequence[Served]:
    leaving = Leaving(PostgresMerchantAdministration(platform.pool), platform.clock)
    return open_users(platform, (leaving, enrolments_of(platform, PostgresDevices(platform.pool)), cards_of(platform)))


def _open_wallet(platform: Platform) -> Sequence[Served]:
    return open_wallet(platform, PostgresDevices(platform.pool))


def _open_transactions(platform: Platform) -> Sequence[Served]:
    return open_transactions(platform, payments_of_order=PostgresOrders(platform.pool).payments_of_number)


# By the name that --services takes. Every process of any of them follows the journal; one at a time works.
_SERVICES: Final[dict[str, Sequence[Open]]] = {
    "order": (_open_orders,),
    "user": (_open_users, _open_wallet, open_handovers),
    "merchant": (open_merchants, _open_transactions, open_webhooks, open_analytics),
    "settlement": (open_settlement, open_reconciliation, open_disputes),
    "risk": (open_risk, open_risk_cases),
}


async def open_services(foundation: Foundation, engine: Engine | None) -> list[Served]:
    """The platform's services that the settings name, opened."""
    openers = [each for name in foundation.settings.services for each in _SERVICES.get(name, ())]
    if not openers:
        return []
    platform = Platform(
        foundation.settings, foundation.lifecycle, foundation.pool, foundation.redis_url, foundation.hsm.hsm,
        foundation.clock, _payments(foundation, engine), _merchants(foundation),
        engine.world.channels if engine is not None else {}, await _card_types(foundation, engine),
        _right_of_way(foundation.settings.followers, engine), foundation.followers,
        foundation.watch, foundation.blocks,
    )  # fmt: skip
    if "risk" in foundation.settings.services:
        open_risk_counters(platform, foundation.watch)
    return [served for each in (open_feed, *openers) for served in each(platform)]


def _right_of_way(section: Followers, engine: Engine | None) -> RightOfWay:
    """The road's of this process; that of another one's is not seen from here."""
    if engine is None:
        return RightOfWay()
    road, patience = engine.road, Patience(section.insist_after_ms / 1000, section.no_rest_after_ms / 1000)
    return RightOfWay(lambda: road.in_flight > section.give_way_above, patience)


async def _card_types(foundation: Foundation, engine: Engine | None) -> BinCardTypes:
    """By the BIN tables that route here, or by the live plan's, which a process without the road loads for itself."""
    if engine is not None:
        routing = engine.world.routing
        return BinCardTypes(lambda: routing.table.tables)
    watch = await begin_bin_tables(foundation.pool, foundation.lifecycle)
    return BinCardTypes(lambda: watch.tables)


def open_gate(foundation: Foundation) -> Gate:
    sessions = PostgresUserSessions(foundation.pool, foundation.clock)
    return Gate(pki.participant_of, sessions, _merchants(foundation), foundation.watch, foundation.blocks)


def _merchants(foundation: Foundation) -> PostgresMerchants:
    return PostgresMerchants(foundation.pool, foundation.hsm.hsm, foundation.clock.time_ms)


def _payments(foundation: Foundation, engine: Engine | None) -> Payments:
    if engine is not None:
        return LocalPayments(engine.road, engine.follow_ons, engine.journal)
    settings = foundation.settings
    channel = open_channel(settings.platform.authorizations, _credentials(settings), None)
    foundation.lifecycle.on_close("payments", lambda: channel.close(None))
    return RemotePayments(channel)


def _credentials(settings: Settings) -> ClientCredentials:
    """A platform participant's: the files that were named, or one that the development authority issues."""
    section = settings.platform
    if section.certificate:
        certificate, private_key = read_file(Path(section.certificate)), read_file(Path(section.private_key))
        return ClientCredentials(read_file(settings.ca_path), certificate, private_key)
    authority = pki.Authority(settings.state_dir / "pki")
    pair = authority.participant("platform", "services")
    root = authority.ensure().read_bytes()
    return ClientCredentials(root, pair.certificate.read_bytes(), pair.private_key.read_bytes())
