"""How much fraud is stopped, and at what price to the honest: rules alone, a model alone, both.

How it is counted, in full: docs/risk_evaluation.md. In short: a fraudster's purchase counts once with what it was meant
to take, however often it is tried; what went through of it was not stopped. An honest payment that was declined or
stepped up counts as declined, even if the payer then proved himself.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from switch.domain.risk import FactValue, Outcome
from switch.risk.population.events import Answer, Kind
from switch.risk.population.stream import Population
from switch.risk.rehearsal import Judge, Played, passes, play

if TYPE_CHECKING:
    from switch.risk.model import Model
    from switch.risk.model_file import Header
    from switch.risk.rules import RuleSet

LEGITIMATE_DECLINED: Final = 0.001
"""Where a model's threshold lies: at the share of legitimate payments it may decline, in the part it was judged by.

Half a percent is what rules and model may decline together. On two further training seeds, 13 and 14, the rules took
0.25 % of it, and a model with this threshold 0.07 %; the rest is room for people who try again.
"""

_CURVE_BATCH: Final = 64
_SURE: Final = 1000  # a rule's decline stands above every score


class Arm(Enum):
    NONE = "no risk control"
    RULES = "rules alone"
    MODEL = "model alone"
    BOTH = "both"


@dataclass(slots=True)
class _Purchase:
    kind: Kind
    value_minor: int
    passed_minor: int = 0
    refused_by_issuer: bool = False


@dataclass(frozen=True, slots=True)
class OfKind:
    """purchases, value_minor: what fraudsters of the kind tried. stopped: purchases of which nothing went through."""

    purchases: int
    stopped: int
    value_minor: int
    stopped_minor: int

    @property
    def value_stopped(self) -> float:
        return self.stopped_minor / self.value_minor if self.value_minor else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """Of one arm. legitimate: payments of honest people, tries counted each. declined, stepped_up: of them.
    passed_minor: fraud that went through.
    """

    arm: Arm
    legitimate: int
    declined: int
    stepped_up: int
    proved: int
    reviewed: int
    kinds: Mapping[Kind, OfKind]
    passed_minor: int

    @property
    def legitimate_declined(self) -> float:
        """With those that were stepped up."""
        return (self.declined + self.stepped_up) / max(1, self.legitimate)

    @property
    def total(self) -> OfKind:
        kinds = self.kinds.values()
        return OfKind(
            sum(each.purchases for each in kinds),
            sum(each.stopped for each in kinds),
            sum(each.value_minor for each in kinds),
            sum(each.stopped_minor for each in kinds),
        )


@dataclass(slots=True)
class Curve:
    """Of every counted payment, without risk control: whether it is fraud, its amount, and what each arm ranks it."""

    fraud: "array[int]" = field(default_factory=lambda: array("b"))
    ranks: dict[Arm, "array[int]"] = field(
        default_factory=lambda: {arm: array("i") for arm in (Arm.RULES, Arm.MODEL, Arm.BOTH)}
    )


class _Tally:
    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._purchases: dict[str, _Purchase] = {}
        self._legitimate = self._declined = self._stepped_up = self._proved = self._reviewed = 0

    def add(self, judged: Played) -> None:
        if not judged.counted:
            return
        if judged.payment.truth.kind is Kind.HONEST:
            self._legitimate += 1
            self._declined += judged.answer is Answer.DECLINED
            self._stepped_up += judged.answer is Answer.STEP_UP
            self._proved += judged.payment.proved and judged.answer is Answer.APPROVED
            self._reviewed += judged.outcome is Outcome.REVIEW
            return
        truth = judged.payment.truth
        purchase = self._purchases.setdefault(truth.purchase, _Purchase(truth.kind, truth.value_minor))
        if judged.answer is Answer.APPROVED:
            purchase.passed_minor = min(purchase.value_minor, purchase.passed_minor + judged.payment.amount_minor)
        purchase.refused_by_issuer |= truth.issuer_code != "00"

    def result(self) -> Result:
        kinds = {}
        # What the issuer refuses anyway is nobody's merit here, and no loss.
        at_risk = [each for each in self._purchases.values() if each.passed_minor or not each.refused_by_issuer]
        for kind in Kind:
            of_kind = [each for each in at_risk if each.kind is kind]
            if of_kind:
                kinds[kind] = OfKind(
                    len(of_kind),
                    sum(not each.passed_minor for each in of_kind),
                    sum(each.value_minor for each in of_kind),
                    sum(each.value_minor - each.passed_minor for each in of_kind),
                )
        passed_minor = sum(each.passed_minor for each in at_risk)
        return Result(
            self._arm, self._legitimate, self._declined, self._stepped_up, self._proved, self._reviewed, kinds,
            passed_minor,
        )  # fmt: skip


def threshold(header: "Header", share: float = LEGITIMATE_DECLINED) -> int:
    """The score from which a model declines, by what it said of the payments that were held back from it."""
    fitting = [each.score for each in header.points if each.legitimate_declined <= share]
    return min(fitting, default=_SURE)


def run(population: Population, arm: Arm, rules: "RuleSet", model: "Model | None") -> Result:
    """One arm: the population lives through it, and answers to it."""
    tally = _Tally(arm)
    for judged in play(population, _judge(arm, rules, model), _wanted(arm, rules, model)):
        tally.add(judged)
    return tally.result()


def observe(population: Population, rules: "RuleSet", model: "Model | None") -> tuple[Result, Curve]:
    """Without risk control: what would be lost, and how the arms rank every payment."""
    tally, curve = _Tally(Arm.NONE), Curve()
    waiting: list[Played] = []
    for judged in play(population, passes, _wanted(Arm.BOTH, rules, model)):
        tally.add(judged)
        if judged.counted:
            waiting.append(judged)
        if len(waiting) == _CURVE_BATCH:
            _rank(curve, waiting, rules, model)
            waiting.clear()
    _rank(curve, waiting, rules, model)
    return tally.result(), curve


def _rank(curve: Curve, batch: Sequence[Played], rules: "RuleSet", model: "Model | None") -> None:
    scores = model.score([each.facts for each in batch]) if model is not None else [0] * len(batch)
    for judged, score in zip(batch, scores, strict=True):
        judgement = rules.judge(judged.facts)
        sure = _SURE if judgement.declines else 0
        curve.fraud.append(judged.payment.truth.kind is not Kind.HONEST)
        curve.ranks[Arm.RULES].append(sure + judgement.score)
        curve.ranks[Arm.MODEL].append(score)
        curve.ranks[Arm.BOTH].append(sure + score)


def _judge(arm: Arm, rules: "RuleSet", model: "Model | None") -> Judge:
    def by_rules(facts: Mapping[str, FactValue]) -> Outcome:
        return rules.judge(facts).outcome

    if arm is Arm.NONE:
        return passes
    if arm is Arm.RULES or model is None:
        return by_rules
    score, least = model.score, threshold(model.header)

    def by_model(facts: Mapping[str, FactValue]) -> Outcome:
        return Outcome.DECLINE if score([facts])[0] >= least else Outcome.PASS

    def by_both(facts: Mapping[str, FactValue]) -> Outcome:
        found = score([facts])[0]
        if found >= least:
            return Outcome.DECLINE
        return rules.judge({**facts, "model_known": True, "model_score": found}).outcome

    return by_model if arm is Arm.MODEL else by_both


def _wanted(arm: Arm, rules: "RuleSet", model: "Model | None") -> frozenset[str]:
    wanted: set[str] = set()
    if arm in (Arm.RULES, Arm.BOTH):
        wanted |= set(rules.reads)
    if arm in (Arm.MODEL, Arm.BOTH) and model is not None:
        wanted |= set(model.header.features)
    return frozenset(wanted)


def precision_recall(curve: Curve, arm: Arm) -> list[tuple[float, float]]:
    """(recall, precision) by payments, from the highest rank to the lowest above 0; equal ranks are one point."""
    frauds = max(1, sum(curve.fraud))
    order = sorted(range(len(curve.fraud)), key=lambda each: -curve.ranks[arm][each])
    points: list[tuple[float, float]] = []
    hits, last = 0, None
    for taken, each in enumerate(order):
        rank = curve.ranks[arm][each]
        if last is not None and rank != last:
            points.append((hits / frauds, hits / taken))
        if rank == 0:
            break
        hits, last = hits + curve.fraud[each], rank
    return points
