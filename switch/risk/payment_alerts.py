"""Which payments a person should look at, and what the alert is about. Pure but for reading old rule sets."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from switch.domain.refusals import NotInForce
from switch.domain.risk import Action, Outcome, Subject
from switch.domain.risk_release import ReleaseKind
from switch.ports.risk import Alert
from switch.ports.risk_cases import JudgedPayment
from switch.ports.risk_desk import Releases
from switch.risk.document import RulesRefused
from switch.risk.packing import unpack_subjects
from switch.risk.rules import CompiledRule, RuleSet
from switch.risk.watch import rules_of, whole_content

log = structlog.get_logger()

_KEPT: Final = 4
_MOST_SEVERE: Final = 1000
_LEAST: Final = {Outcome.REVIEW: 300, Outcome.DECLINE: 500}
_PREFERRED: Final = (Subject.CARD, Subject.USER, Subject.DEVICE, Subject.MERCHANT, Subject.TERMINAL, Subject.IP)
_LIST: Final = "list:"
_ALLOWED: Final = "allow:"
_DECIDES: Final = {Outcome.DECLINE: Action.DECLINE, Outcome.REVIEW: Action.REVIEW}
_WORDS: Final = {Outcome.DECLINE: "declined", Outcome.REVIEW: "to be reviewed"}


def alert_of(payment: JudgedPayment, rules: Mapping[str, CompiledRule], window_ms: int) -> Alert | None:
    """None for what declines honest payers every day: a limit above which a PIN is asked for. Pure.

    rules: of the rule set that judged, by id; empty where it cannot be read any more. What repeats within a window has
    the same id.
    """
    fired = [each for each in payment.fired if not each.startswith(_ALLOWED)]
    decider = _decider(payment.outcome, fired, rules)
    compiled = rules.get(decider)
    if compiled is not None and compiled.rule.action is Action.LIMIT and payment.outcome is Outcome.DECLINE:
        return None
    subjects = unpack_subjects(payment.subjects)
    subject = _about(compiled, subjects)
    if subject is None:
        return None
    key = subjects[subject]
    severity = min(_MOST_SEVERE, max(_LEAST[payment.outcome], payment.score, payment.model_score or 0))
    money = f"{payment.amount_minor} {payment.currency} (minor units)"
    return Alert(
        id=f"{decider}/{subject}/{key}/{payment.time_ms // window_ms}",
        kind=decider,
        subject=subject,
        key=key,
        severity=severity,
        time_ms=payment.time_ms,
        text=f"{_WORDS[payment.outcome]} by {decider}: {money}",
        facts={
            "amount_minor": payment.amount_minor,
            "authorization_id": str(payment.authorization_id),
            "currency": payment.currency,
            "fired": list(fired),
            "merchant_id": payment.merchant_id,
            "score": payment.score,
        },
    )


def _decider(outcome: Outcome, fired: Sequence[str], rules: Mapping[str, CompiledRule]) -> str:
    """As `RuleSet` weighs: a list, what declines or limits, the score's largest part; of a review what asks for it."""
    known = [rules[each].rule for each in fired if each in rules]
    if outcome is Outcome.DECLINE:
        for each in fired:
            if each.startswith(_LIST):
                return each
    hard = [each for each in known if each.action is _DECIDES[outcome] or _limits(outcome, each.action)]
    scoring = sorted((each for each in known if each.action is Action.SCORE), key=lambda each: -each.score)
    for rule in (*hard, *scoring):
        return rule.id
    return fired[0] if fired else "score"


def _limits(outcome: Outcome, action: Action) -> bool:
    return outcome is Outcome.DECLINE and action is Action.LIMIT


def _about(rule: CompiledRule | None, subjects: Mapping[Subject, str]) -> Subject | None:
    """Whom the rule counts, where the payment names him; of several, and else, whoever is nearest to the payer."""
    own = frozenset() if rule is None else rule.condition.subjects
    for each in (*(one for one in _PREFERRED if one in own), *_PREFERRED):
        if each in subjects:
            return each
    return None


class PaymentAlerts:
    """Meets `switch.ports.risk_cases.AlertsOfPayments`. starter: version 0 of the rules."""

    def __init__(self, releases: Releases, starter: RuleSet, window_ms: int) -> None:
        self._releases = releases
        self._window_ms = window_ms
        self._starter = _by_id(starter)
        self._read: dict[int, Mapping[str, CompiledRule]] = {}

    async def __call__(self, payments: Sequence[JudgedPayment]) -> list[Alert | None]:
        """Raises StoreUnavailable."""
        found: list[Alert | None] = []
        for each in payments:
            found.append(alert_of(each, await self._rules(each.rules_version), self._window_ms))
        return found

    async def _rules(self, version: int) -> Mapping[str, CompiledRule]:
        if version == 0:
            return self._starter
        if version not in self._read:
            if len(self._read) >= _KEPT:
                del self._read[next(iter(self._read))]
            self._read[version] = await self._whole(version)
        return self._read[version]

    async def _whole(self, version: int) -> Mapping[str, CompiledRule]:
        try:
            content = await whole_content(self._releases, ReleaseKind.RULES, version)
            return _by_id(await asyncio.to_thread(rules_of, content, version))
        except (NotInForce, RulesRefused) as error:
            log.warning("risk_rules_not_read", version=version, reason=str(error))
            return {}


def _by_id(rules: RuleSet) -> Mapping[str, CompiledRule]:
    return {each.rule.id: each for each in rules.compiled}
