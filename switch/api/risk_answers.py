"""Risk control's desk on the wire."""

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from payswitch.v1 import common_pb2
from payswitch.v1 import risk_pb2 as pb
from switch.domain.refusals import Invalid
from switch.domain.risk import FactValue, Rule
from switch.domain.risk_label import PaymentLabel
from switch.domain.risk_release import Release, ReleaseKind, Replay
from switch.domain.risk_replay import TALLIES, ReplayReport, Tally
from switch.risk.explaining import Explained
from switch.risk.facts import NUMBER, Fact

_MOST_A_PAGE: Final = 100
_USUAL_PAGE: Final = 20
_NEWEST: Final = 2**31 - 1


def release(each: Release) -> pb.RiskRelease:
    return pb.RiskRelease(
        version=each.version,
        name=each.name,
        state=f"RISK_RELEASE_STATE_{each.state.name}",
        sha256=bytes.fromhex(each.sha256),
        size_bytes=each.size_bytes,
        created_by=each.created_by,
        created_time_ms=each.created_time_ms,
        approved_by=each.approved_by,
        approved_time_ms=each.approved_time_ms,
        replay_id="" if each.replay_id is None else str(each.replay_id),
        replaces=each.replaces,
        changed_by=each.changed_by,
        changed_time_ms=each.changed_time_ms,
    )


def replay(each: Replay) -> pb.Replay:
    of_model = each.kind is ReleaseKind.MODEL
    return pb.Replay(
        id=str(each.id),
        rules_version=each.live_rules if of_model else each.version,
        model_version=each.version if of_model else each.live_model,
        of_model=of_model,
        state=f"REPLAY_STATE_{each.state.name}",
        from_time_ms=each.from_time_ms,
        to_time_ms=each.to_time_ms,
        started_by=each.started_by,
        started_time_ms=each.started_time_ms,
        ended_time_ms=each.ended_time_ms,
        judged=each.judged,
        failure=each.failure,
        report=None if each.report is None else report(each.report),
    )


def report(found: ReplayReport) -> pb.ReplayReport:
    tallies = {name: _tally(getattr(found, name)) for name in TALLIES}
    rules = [
        pb.ReplayRule(
            id=identity, fired_before=each.fired_before, fired=each.fired, shadow=each.shadow, failed=each.failed,
            fraud=each.fraud, legitimate=each.legitimate,
        )
        for identity, each in sorted(found.rules.items())
    ]  # fmt: skip
    missing = [pb.MissingFact(name=name, judgements=count) for name, count in sorted(found.missing.items())]
    share = found.newly_declined_basis_points
    return pb.ReplayReport(**tallies, rules=rules, missing=missing, newly_declined_basis_points=share)


def _tally(each: Tally) -> pb.ReplayTally:
    amounts = [_money(minor, currency) for currency, minor in sorted(each.amounts.items())]
    return pb.ReplayTally(payments=each.payments, amounts=amounts)


def judgement(explained: Explained) -> pb.GetJudgementResponse:
    each = explained.judgement
    facts = sorted(explained.facts.items(), key=lambda fact: NUMBER[fact[0]])
    return pb.GetJudgementResponse(
        outcome=f"RISK_OUTCOME_{each.outcome.name}",
        response_code=each.response_code,
        score=each.score,
        model_score=-1 if each.model_score is None else each.model_score,
        rules_version=each.rules_version,
        model_version=each.model_version,
        fired=_fired(each.fired, explained.rules),
        shadow=_fired(each.shadow, explained.rules),
        absent=each.absent,
        facts=[_fact_value(name, value) for name, value in facts],
        contributions=[pb.Contribution(fact=one.fact, weight=one.weight) for one in explained.contributions],
        amount=_money(each.amount_minor, each.currency),
        time_ms=each.time_ms,
        labels=[label(one) for one in explained.labels],
    )


def label(each: PaymentLabel) -> pb.PaymentLabel:
    return pb.PaymentLabel(label=f"RISK_LABEL_{each.label.name}", source=each.source, time_ms=each.time_ms)


def _fired(identities: Iterable[str], rules: Mapping[str, Rule]) -> list[pb.FiredRule]:
    return [_rule(each, rules.get(each)) for each in identities]


def _rule(identity: str, rule: Rule | None) -> pb.FiredRule:
    if rule is None:
        return pb.FiredRule(id=identity)
    return pb.FiredRule(
        id=identity,
        action=rule.action.value,
        score=rule.score,
        owner=rule.owner,
        reason_en=rule.reason.get("en", ""),
        reason_zh=rule.reason.get("zh", ""),
    )


def _fact_value(name: str, value: FactValue) -> pb.FactValue:
    match value:
        case bool():
            return pb.FactValue(name=name, truth=value)
        case int():
            return pb.FactValue(name=name, number=value)
        case str():
            return pb.FactValue(name=name, text=value)
    return pb.FactValue(name=name, texts=pb.Texts(values=value))


def fact(each: Fact) -> pb.Fact:
    return pb.Fact(name=each.name, type=each.type.value, meaning=each.meaning, needs=each.needs, source=each.source)


def _money(amount_minor: int, currency: str) -> common_pb2.Money:
    return common_pb2.Money(amount_minor=amount_minor, currency=currency)


def page_size(given: int) -> int:
    if not 0 <= given <= _MOST_A_PAGE:
        raise Invalid("page_size", f"must be 1 to {_MOST_A_PAGE}")
    return given or _USUAL_PAGE


def before(token: str) -> int:
    if not token:
        return _NEWEST
    if not token.isascii() or not token.isdigit() or not 0 < int(token) <= _NEWEST:
        raise Invalid("page_token", "is not one of ours")
    return int(token)


def identity(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(field, "is not a UUID") from None
