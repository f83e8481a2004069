"""A rule set, compiled: what it decides of one payment. Pure and synchronous: no clock, no I/O.

All conditions are one CEL expression, a list of bools, so that the facts cross into the evaluator once
(`switch.risk.evaluation`). One element that fails, makes the list fail; then each rule is evaluated alone, and only the
failing ones are left out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

from switch.domain.risk import Action, FactValue, Judgement, Mode, Outcome, Rule, Subject, WithoutFacts
from switch.risk.conditions import Condition, ConditionRefused, check_condition
from switch.risk.document import (
    MOST_SCORE,
    PROVE_YOURSELF,
    SUSPECTED_FRAUD,
    Fault,
    RuleDocument,
    RulesRefused,
    Thresholds,
)
from switch.risk.evaluation import Alone, Guarded, Together
from switch.risk.facts import BY_NAME, COUNTERS, MODEL
from switch.risk.lists import NOT_LISTED, Standing

_ABSENCES: Final = tuple(frozenset(each) for each in ((), (COUNTERS,), (MODEL,), (COUNTERS, MODEL)))
_MOST_KINDS_OF_MISSING: Final = 8
_OF_THE_PAYER: Final = frozenset({Subject.CARD, Subject.USER})
_NO_LOCAL: Final[Mapping[str, int]] = {}
_WORDS: Final = {
    Subject.CARD: ("card", "卡片"),
    Subject.USER: ("account", "账户"),
    Subject.DEVICE: ("device", "设备"),
    Subject.MERCHANT: ("merchant", "商户"),
    Subject.TERMINAL: ("terminal", "终端"),
    Subject.IP: ("network address", "网络地址"),
}


def blocked_reason(subject: Subject) -> Mapping[str, str]:
    """
    >>> blocked_reason(Subject.CARD)["en"]
    'this card is blocked'
    """
    english, chinese = _WORDS[subject]
    return {"en": f"this {english} is blocked", "zh": f"该{chinese}已被冻结"}


def proof_reason(subject: Subject) -> Mapping[str, str]:
    """
    >>> proof_reason(Subject.USER)["en"]
    'payments of this account need a proof of identity'
    """
    english, chinese = _WORDS[subject]
    return {"en": f"payments of this {english} need a proof of identity", "zh": f"该{chinese}的支付需要验证身份"}


@dataclass(frozen=True, slots=True)
class CompiledRule:
    rule: Rule
    condition: Condition
    alone: Alone
    reads: frozenset[str]

    def spared(self, allowed: Collection[Subject]) -> bool:
        """A rule about an allowed subject; one about nobody, if the payer is allowed."""
        return not (self.condition.subjects or _OF_THE_PAYER).isdisjoint(allowed)


class _Batch:
    """What is evaluated where some facts are not there: most rules together, those that read them alone."""

    def __init__(self, rules: Iterable[CompiledRule], absent: Collection[str]) -> None:
        """absent: names of facts."""
        self.rules: list[CompiledRule] = []
        self.lacking: list[CompiledRule] = []
        for each in rules:
            (self.rules if each.reads.isdisjoint(absent) else self.lacking).append(each)
        self.together = Together([_guarded(each.rule, each.condition) for each in self.rules])


class RuleSet:
    """Nothing in it changes but what it remembers."""

    def __init__(self, rules: Sequence[Rule], thresholds: Thresholds | None = None, version: int = 0) -> None:
        """rules: those that are off are kept, and never evaluated. Raises RulesRefused."""
        self.version = version
        self.thresholds = thresholds or Thresholds()
        self.rules = tuple(rules)
        self.by_id = {each.id: each for each in rules}
        self.compiled = tuple(
            CompiledRule(rule, condition, Alone(_guarded(rule, condition)), _guarded(rule, condition).reads)
            for rule, condition in zip(rules, _conditions(rules), strict=True)
            if rule.mode is not Mode.OFF
        )
        self._order = {each.rule.id: number for number, each in enumerate(self.compiled)}
        self._batches = _batches(self.compiled)
        self._lacking: dict[frozenset[str], _Batch] = {}
        self._alone = _Batch(self.compiled, BY_NAME)

    @property
    def reads(self) -> tuple[str, ...]:
        """Every fact that a rule in force or in shadow reads, known facts included, in the published order."""
        return self._batches[_ABSENCES[0]].together.reads

    def judge(
        self,
        facts: Mapping[str, FactValue],
        standing: Standing = NOT_LISTED,
        absent: Sequence[str] = (),
        local: Mapping[str, int] = _NO_LOCAL,
        model_version: int = 0,
    ) -> Judgement:
        """facts: those known, by name: every `*_known`, what those that are true make known, and `standing.names`.

        absent: COUNTERS or MODEL, if they could not be asked; none of their facts is then among the facts.

        local: counters as this process has them alone, for all processes together estimated; read only by rules of
        WithoutFacts.LOCAL, and only while the counters are absent. Nothing that facts hold makes it raise.
        """
        fired, failed = self._evaluate(facts, frozenset(absent), local)
        if local and COUNTERS in absent:
            facts = {**local, **facts}
        if not fired and not standing.declines and not standing.allowed:
            return _quiet(facts, failed, absent, self.version, model_version)
        return self._weigh(fired, standing, facts, failed, absent, model_version)

    # --- evaluating ---------------------------------------------------------------------------------------------------

    def _evaluate(
        self, facts: Mapping[str, FactValue], absent: frozenset[str], local: Mapping[str, int]
    ) -> tuple[list[CompiledRule], list[str]]:
        """(rules that fired, ids of those that failed), in the document's order."""
        batch = self._batches[absent]
        missing = batch.together.missing(facts)
        if missing:
            batch = self._batch_without(missing | _facts_of(absent))
        held = batch.together.hold(facts)
        if held is not None and not batch.lacking:
            return list(compress(batch.rules, held)), []
        alone = batch.lacking if held is not None else [*batch.rules, *batch.lacking]
        fired = [] if held is None else list(compress(batch.rules, held))
        failed = []
        if MODEL in absent:
            facts = {**facts, "model_known": True}  # there is one, and it did not answer: each rule's policy decides
        counted = {**local, **facts} if COUNTERS in absent else facts
        for each in alone:
            holds = each.alone.holds(counted if each.rule.without_facts is WithoutFacts.LOCAL else facts)
            fired += [each] if _fires(each.rule, holds) else []
            failed += [each.rule.id] if holds is None and absent.isdisjoint(each.condition.sources) else []
        fired.sort(key=lambda each: self._order[each.rule.id])
        return fired, sorted(failed, key=self._order.__getitem__)

    def _batch_without(self, missing: frozenset[str]) -> _Batch:
        """Made when it is first needed: of a few kinds of missing facts, and else with every rule alone."""
        batch = self._lacking.get(missing)
        if batch is None:
            if len(self._lacking) >= _MOST_KINDS_OF_MISSING:
                return self._alone
            batch = self._lacking[missing] = _Batch(self.compiled, missing)
        return batch

    # --- weighing -----------------------------------------------------------------------------------------------------

    def _weigh(
        self,
        fired: Sequence[CompiledRule],
        standing: Standing,
        facts: Mapping[str, FactValue],
        failed: Sequence[str],
        absent: Sequence[str],
        model_version: int,
    ) -> Judgement:
        live = [each for each in fired if each.rule.mode is Mode.LIVE]
        counting = [each.rule for each in live if not (standing.allowed and each.spared(standing.allowed))]
        score = min(MOST_SCORE, sum(each.score for each in counting if each.action is Action.SCORE))
        outcome, code, reason = self._hardest([each.rule for each in live], counting, standing, score)
        return Judgement(
            outcome,
            code,
            reason,
            score,
            _model_score(facts),
            (*_by_lists(standing), *(each.rule.id for each in live)),
            tuple(each.rule.id for each in fired if each.rule.mode is Mode.SHADOW),
            tuple(absent),
            self.version,
            model_version,
            facts,
            tuple(failed),
        )

    def _hardest(
        self, live: Sequence[Rule], counting: Sequence[Rule], standing: Standing, score: int
    ) -> tuple[Outcome, str, str]:
        """A block, a rule that declines, the score; then the same for step-up and review. Of equals the first."""
        for each in standing.blocks:
            return Outcome.DECLINE, SUSPECTED_FRAUD, blocked_reason(each.subject)["en"]
        for rule in live:
            if rule.action in (Action.DECLINE, Action.LIMIT):
                return Outcome.DECLINE, rule.response_code, rule.reason["en"]
        scoring = [each for each in counting if each.action is Action.SCORE]
        if scoring and score >= self.thresholds.decline_at:
            hardest = max(scoring, key=lambda each: each.score)
            return Outcome.DECLINE, self.thresholds.decline_code, hardest.reason["en"]
        for each in standing.step_ups:
            return Outcome.STEP_UP, PROVE_YOURSELF, proof_reason(each.subject)["en"]
        for rule in live:
            if rule.action is Action.STEP_UP:
                return Outcome.STEP_UP, rule.response_code, rule.reason["en"]
        reviewed = any(each.action is Action.REVIEW for each in counting) or score >= self.thresholds.review_at
        return (Outcome.REVIEW if reviewed else Outcome.PASS), "", ""


def compile_rules(document: RuleDocument, version: int = 0) -> RuleSet:
    """Raises RulesRefused."""
    return RuleSet(document.all_rules(), document.thresholds, version)


def _by_lists(standing: Standing) -> Iterator[str]:
    """What lists said, as a judgement names it: enough to judge it once more."""
    for each in standing.declines:
        yield f"list:{each.name}"
    for subject in Subject:
        if subject in standing.allowed:
            yield f"allow:{subject}"


def _conditions(rules: Sequence[Rule]) -> list[Condition]:
    conditions, faults = [], []
    for index, rule in enumerate(rules):
        try:
            conditions.append(check_condition(rule.when, constant=rule.action is Action.LIMIT))
        except ConditionRefused as refused:
            faults += [
                Fault(f"rules[{index}].when:{each.line}:{each.column}", each.reason) for each in refused.complaints
            ]
    if faults:
        raise RulesRefused(faults)
    return conditions


def _model_score(facts: Mapping[str, FactValue]) -> int | None:
    value = facts.get("model_score")
    return value if isinstance(value, int) else None


def _quiet(
    facts: Mapping[str, FactValue], failed: Sequence[str], absent: Sequence[str], version: int, model_version: int
) -> Judgement:
    return Judgement(
        Outcome.PASS,
        model_score=_model_score(facts),
        absent=tuple(absent),
        rules_version=version,
        model_version=model_version,
        facts=facts,
        failed=tuple(failed),
    )


def _guarded(rule: Rule, condition: Condition) -> Guarded:
    return Guarded(condition, rule.limit_minor if rule.action is Action.LIMIT else None)


def _batches(rules: Sequence[CompiledRule]) -> dict[frozenset[str], _Batch]:
    """For each absence; where no rule reads what is absent, it is the same."""
    read = frozenset(source for each in rules for source in each.condition.sources)
    made = {each: _Batch(rules, _facts_of(each)) for each in _ABSENCES if each <= read}
    return {absent: made[absent & read] for absent in _ABSENCES}


def _facts_of(sources: Collection[str]) -> frozenset[str]:
    return frozenset(each.name for each in BY_NAME.values() if each.source in sources)


def _fires(rule: Rule, holds: bool | None) -> bool:
    """Where it cannot be told, as the rule says."""
    return rule.without_facts is WithoutFacts.FIRE if holds is None else holds
