"""The wiring of risk control's desk."""

from collections.abc import Sequence

from payswitch.v1 import risk_pb2 as pb
from switch.api.risk_service import RiskServicer
from switch.config import Settings
from switch.domain.risk_release import ReleaseKind
from switch.risk.desk import RiskDesk
from switch.risk.explaining import Explaining
from switch.risk.gate import GateRules
from switch.risk.replaying import Replaying
from switch.risk.starter import STARTER_FILE
from switch.risk.watch import whole_content
from switch.store.pool import create_pool
from switch.store.risk_releases import PostgresReleases
from switch.store.risk_replays import PostgresJudgementsRead, PostgresReplays
from switch.wiring.monitor import starter_of
from switch.wiring.platform import Platform, Served
from switch.wiring.risk_replay import ProcessReplays
from switch.wiring.settlement import dsn_of


def open_risk(platform: Platform) -> Sequence[Served]:
    settings, clock = platform.settings, platform.clock
    releases, replays = PostgresReleases(platform.pool), PostgresReplays(platform.pool)
    judgements = PostgresJudgementsRead(platform.pool)
    gate, starter = gate_rules(settings), starter_text()
    rejudge = ProcessReplays(dsn_of(settings), starter_of(settings), settings.risk_desk.replay_processes)
    replaying = Replaying(replays, rejudge, clock, gate)
    platform.lifecycle.on_close("risk replay", replaying.close)
    desk = RiskDesk(releases, replays, judgements, replaying, clock, gate, starter)
    servicer = RiskServicer(desk, Explaining(releases, judgements, judgements, starter))
    return [Served(pb.DESCRIPTOR.services_by_name["RiskService"], servicer)]


async def live_rules_text(dsn: str) -> str | None:
    """For a command, which has no pool of its own; None for version 0. Raises NotInForce, StoreUnavailable."""
    pool = await create_pool(dsn, size=1, name="payswitch risk")
    try:
        releases = PostgresReleases(pool)
        version = (await releases.in_force()).rules
        return None if version == 0 else (await whole_content(releases, ReleaseKind.RULES, version)).decode()
    finally:
        await pool.close()


def gate_rules(settings: Settings) -> GateRules:
    section = settings.risk_desk
    return GateRules(section.replay_days, section.replay_age_h, section.newly_declined_basis_points)


def starter_text() -> str:
    """Version 0 of the rules, as it is in its file."""
    return STARTER_FILE.read_text("utf-8")
