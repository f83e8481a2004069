"""What a candidate must have shown before it goes live."""

from dataclasses import dataclass
from typing import Final

from switch.domain.access import Caller
from switch.domain.refusals import NotPermitted, NotPossible
from switch.domain.risk_release import Release, ReleaseState, Replay
from switch.ports.risk_desk import InForce

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class GateRules:
    """days: that a replay covers at least, or all there is. age_h: after which it is too old.

    newly_declined_basis_points: of what was let pass, in hundredths of a percent; more must be confirmed.
    """

    days: int = 7
    age_h: int = 24
    newly_declined_basis_points: int = 50

    def from_time_ms(self, now_ms: int) -> int:
        return now_ms - self.days * _DAY_MS


def check_second_person(release: Release, approver: Caller) -> None:
    """Raises NotPermitted."""
    if approver.person == Caller(release.created_by).person:
        raise NotPermitted("who wrote it does not approve it")


def check_replay(
    release: Release, replay: Replay | None, in_force: InForce, oldest_time_ms: int | None, now_ms: int,
    confirmed_basis_points: int, rules: GateRules,
) -> Replay:  # fmt: skip
    """The replay, if the candidate may go live on it. Raises NotPossible, with what is to be done.

    oldest_time_ms: of the stored judgements. confirmed_basis_points: what the approver repeats, 0 for nothing.
    """
    if release.state not in (ReleaseState.DRAFT, ReleaseState.REPLAYED):
        raise NotPossible(f"it is {release.state.name}: add it anew to have it approved")
    if replay is None or replay.report is None or replay.sha256 != release.sha256:
        raise NotPossible("it was not replayed")
    if InForce(replay.live_rules, replay.live_model) != in_force:
        raise NotPossible(
            f"it was replayed against rule set {replay.live_rules} and model {replay.live_model}; live are"
            f" {in_force.rules} and {in_force.model}: replay it again"
        )
    if now_ms - replay.started_time_ms > rules.age_h * _HOUR_MS:
        raise NotPossible(f"its replay is older than {rules.age_h} h: replay it again")
    begin_ms = rules.from_time_ms(replay.started_time_ms)
    wanted_ms = begin_ms if oldest_time_ms is None else max(begin_ms, oldest_time_ms)
    if replay.from_time_ms > wanted_ms or replay.to_time_ms < replay.started_time_ms:
        raise NotPossible(f"its replay does not cover the {rules.days} days before it, or all there is")
    _check_share(
        replay.report.newly_declined_basis_points, replay.report.judged.payments, confirmed_basis_points, rules
    )
    return replay


def _check_share(share: int, judged: int, confirmed: int, rules: GateRules) -> None:
    if share <= rules.newly_declined_basis_points:
        return
    if confirmed == share:
        return
    why = (
        f"it would decline {share / 100:.2f} % of what was let pass, more than"
        f" {rules.newly_declined_basis_points / 100:.2f} %"
        if judged
        else "there is nothing that it could be replayed over"
    )
    raise NotPossible(f"{why}: whoever wants that confirms newly_declined_basis_points {share}")
