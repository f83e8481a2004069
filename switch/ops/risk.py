"""What the payments' monitor counts: `switch.risk.monitor.Observer`, met by shape."""

from switch.domain.risk import Judgement, Outcome
from switch.ops.metrics import RISK_ABSENT, RISK_JUDGEMENTS, RISK_RULES_FAILED, RISK_RULES_FIRED


class RiskCounts:
    """One per process."""

    def __init__(self) -> None:
        self._outcomes = {each: RISK_JUDGEMENTS.of(each.name.lower()) for each in Outcome}

    def judged(self, judgement: Judgement) -> None:
        self._outcomes[judgement.outcome].count += 1
        for rule in judgement.fired:
            RISK_RULES_FIRED.of(rule, "live").count += 1
        for rule in judgement.shadow:
            RISK_RULES_FIRED.of(rule, "shadow").count += 1
        for rule in judgement.failed:
            RISK_RULES_FAILED.of(rule).count += 1

    def absent(self, source: str) -> None:
        RISK_ABSENT.of(source).count += 1
