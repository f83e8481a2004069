"""The wiring of the ledger and of settlement: the ledger follows the journal, SettlementService is served."""

from collections.abc import Sequence

from payswitch.v1 import settlement_pb2
from switch.api.settlement_service import SettlementServicer
from switch.config import Settings
from switch.domain.settlement import Debtor
from switch.settlement.batches import SettlementRules, Settlements
from switch.settlement.close import DayClose
from switch.settlement.pricing import LatePricing
from switch.settlement.store import Feed
from switch.store.accounts import PostgresAccounts
from switch.store.embedded import EmbeddedPostgres
from switch.store.feed import JournalFeed
from switch.store.heavy import HeavyConnections
from switch.store.ledger_check import LedgerChecker
from switch.store.ledger_days import PostgresDays
from switch.store.ledger_follower import LedgerFollower
from switch.store.settlement import PostgresBatches
from switch.store.unpriced import PostgresUnpriced
from switch.wiring.feed import open_consumer
from switch.wiring.platform import Platform, Served

_STATEMENTS_AT_ONCE = 4


def open_settlement(platform: Platform) -> Sequence[Served]:
    return open_settlement_with(platform, JournalFeed(platform.pool))


def open_settlement_with(platform: Platform, feed: Feed) -> Sequence[Served]:
    follower = LedgerFollower(
        platform.following, platform.merchants, platform.card_types, platform.clock,
        right_of_way=platform.right_of_way,
    )  # fmt: skip
    open_consumer(platform, follower)
    pricing = LatePricing(PostgresUnpriced(platform.pool, platform.card_types), platform.merchants, platform.clock)
    pricing.start()
    platform.lifecycle.on_close("late pricing", pricing.close)
    servicer = servicer_of(platform, feed, follower, pricing)
    return [Served(settlement_pb2.DESCRIPTOR.services_by_name["SettlementService"], servicer)]


def servicer_of(platform: Platform, feed: Feed, follower: LedgerFollower, pricing: LatePricing) -> SettlementServicer:
    dsn, section = dsn_of(platform.settings), platform.settings.settlement
    heavy = HeavyConnections(dsn)
    days = PostgresDays(platform.pool, heavy)
    batches = PostgresBatches(platform.pool, heavy, platform.hsm)
    rules = SettlementRules(
        Debtor(section.debtor_name, section.debtor_account, section.debtor_bank_code),
        section.smallest_payout_minor,
        section.largest_batch,
    )
    return SettlementServicer(
        DayClose(days, batches, feed, follower, platform.clock, section.close_grace_s, early=section.early_close),
        pricing,
        Settlements(batches, platform.merchants, platform.clock, rules),
        days,
        batches,
        PostgresAccounts(platform.pool, heavy, HeavyConnections(dsn, _STATEMENTS_AT_ONCE, waits=False)),
        LedgerChecker(heavy),
    )


def dsn_of(settings: Settings) -> str:
    """For connections beside the pool: the same database."""
    return settings.postgres_url.get_secret_value() or EmbeddedPostgres(settings.state_dir / "postgres").dsn()
