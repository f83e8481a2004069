"""The wiring of the payments' monitor: its counters, what it judges by, and who follows that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from switch.api.issuer_frames import Process
from switch.api.issuer_processes import ProcessesWatch
from switch.config import Settings
from switch.domain.risk import WithoutFacts
from switch.ops.metrics import RISK_MALFORMED
from switch.ops.risk import RiskCounts
from switch.risk.document import RuleDocument
from switch.risk.lists_watch import ListsWatch
from switch.risk.local_velocity import LocalVelocity
from switch.risk.monitor import LiveRisk, PaymentMonitor
from switch.risk.rules import RuleSet, compile_rules
from switch.risk.starter import starter_rules
from switch.risk.watch import RiskWatch
from switch.store.leases import PostgresLeases
from switch.store.risk_listings import PostgresListings
from switch.store.risk_releases import PostgresReleases
from switch.store.velocity import RedisVelocity
from switch.wiring.foundation import Foundation

# While Redis is away a process keeps these alone: some hundred megabytes at the most that honest traffic makes of them.
_LOCAL_SUBJECTS: Final = 50_000


class LivingProcesses:
    """How many processes share the traffic, as of a moment ago."""

    def __init__(self) -> None:
        self._count = 1

    def tell(self, processes: Sequence[Process]) -> None:
        self._count = max(1, len(processes))

    def count(self) -> int:
        return self._count


@dataclass(frozen=True, slots=True)
class RiskFollowed:
    """What the road's process follows of risk control."""

    releases: RiskWatch
    lists: ListsWatch

    def state(self) -> tuple[bool, str]:
        """(whether all that is live is in force here, a line for an operator)."""
        states = self.releases.state(), self.lists.state()
        return all(in_force for in_force, _ in states), "; ".join(text for _, text in states)


async def open_monitor(foundation: Foundation, leases: PostgresLeases) -> tuple[PaymentMonitor, RiskFollowed]:
    """Raises NotInForce where the live rule set cannot be put in force here, StoreUnavailable."""
    settings, lifecycle, clock = foundation.settings, foundation.lifecycle, foundation.clock
    starter = starter_set(settings)
    live = LiveRisk(starter)
    foundation.blocks.heed(lambda: live.lists)
    watch = RiskWatch(PostgresReleases(foundation.pool), live, starter)
    await watch.begin()
    watch.start()
    lifecycle.on_close("risk rules", watch.close)
    lists = ListsWatch(PostgresListings(foundation.pool), live, clock)
    await lists.begin()
    lists.start()
    lifecycle.on_close("risk lists", lists.close)
    velocity = RedisVelocity(foundation.redis_url, malformed=RISK_MALFORMED.inc)
    lifecycle.on_close("velocity", velocity.close)
    living = LivingProcesses()
    processes = ProcessesWatch(leases.living, living.tell, settings.lease_ms / 1000)
    processes.start()
    lifecycle.on_close("risk processes", processes.close)
    local = LocalVelocity(clock.time_ms, most_subjects=_LOCAL_SUBJECTS)
    return PaymentMonitor(live, velocity, local, clock, RiskCounts(), living.count), RiskFollowed(watch, lists)


def starter_set(settings: Settings) -> RuleSet:
    """Version 0."""
    return compile_rules(starter_of(settings))


def starter_of(settings: Settings) -> RuleDocument:
    """The starter rules with the limits of the settings."""
    risk = settings.risk
    without = WithoutFacts.FIRE if risk.counters_down_policy == "decline" else WithoutFacts.LOCAL
    return starter_rules(risk.contactless_no_pin_limit_minor, risk.velocity_limit_per_minute, without)
