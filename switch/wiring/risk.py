"""The wiring of risk control's desk."""

from collections.abc import Sequence
from importlib.resources import files

from payswitch.v1 import risk_pb2 as pb
from switch.api.risk_service import RiskServicer
from switch.config import Settings
from switch.risk.desk import RiskDesk
from switch.risk.explaining import Explaining
from switch.risk.gate import GateRules
from switch.risk.replaying import Replaying
from switch.store.risk_releases import PostgresReleases
from switch.store.risk_replays import PostgresJudgementsRead, PostgresReplays
from switch.wiring.platform import Platform, Served
from switch.wiring.risk_replay import ProcessReplays
from switch.wiring.settlement import dsn_of


def open_risk(platform: Platform) -> Sequence[Served]:
    settings, clock = platform.settings, platform.clock
    releases, replays = PostgresReleases(platform.pool), PostgresReplays(platform.pool)
    judgements = PostgresJudgementsRead(platform.pool)
    gate, starter = gate_rules(settings), starter_text()
    rejudge = ProcessReplays(dsn_of(settings), settings.risk_desk.replay_processes)
    replaying = Replaying(replays, rejudge, clock, gate)
    platform.lifecycle.on_close("risk replay", replaying.close)
    desk = RiskDesk(releases, replays, judgements, replaying, clock, gate, starter)
    servicer = RiskServicer(desk, Explaining(releases, judgements, judgements, starter))
    return [Served(pb.DESCRIPTOR.services_by_name["RiskService"], servicer)]


def gate_rules(settings: Settings) -> GateRules:
    section = settings.risk_desk
    return GateRules(section.replay_days, section.replay_age_h, section.newly_declined_basis_points)


def starter_text() -> str:
    """Version 0 of the rules."""
    return files("switch.risk").joinpath("starter_rules.toml").read_text("utf-8")
