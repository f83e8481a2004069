"""Stored judgements, judged once more by a candidate: pure, over rows that somebody else reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from switch.domain.risk import FactValue, Judgement, Label, Outcome, Subject
from switch.domain.risk_replay import ReplayReport
from switch.risk.document import SUSPECTED_FRAUD
from switch.risk.facts import BY_NAME, COUNTERS, MODEL
from switch.risk.lists import NOT_LISTED, Listed, Standing
from switch.risk.model import Model
from switch.risk.packing import WantedFacts
from switch.risk.rules import RuleSet

_BY_LIST: Final = "list:"
_ALLOWED: Final = "allow:"
_DECLINING: Final = frozenset({Outcome.STEP_UP, Outcome.DECLINE})
_COUNTED: Final = frozenset(each.name for each in BY_NAME.values() if each.source == COUNTERS)


class Then(NamedTuple):
    """A judgement as it was stored. facts: packed. label: of `Label`, or None."""

    outcome: int
    response_code: str
    amount_minor: int
    currency: str
    fired: Sequence[str]
    absent: Sequence[str]
    model_version: int
    facts: bytes
    label: int | None


@dataclass(slots=True)
class _Case:
    """facts: of no source, and those of the sources that could be asked. local: what this process had counted alone."""

    then: Then
    facts: dict[str, FactValue]
    local: dict[str, int]
    absent: tuple[str, ...]


class Rejudging:
    """What the candidate says of each row, summed up in `report`.

    model: its scores take the place of the stored ones; None: the stored ones are read. A payment that is newly
    declined or let pass changes nothing that came after it: counters are as they were.
    """

    def __init__(self, rules: RuleSet, model: Model | None = None) -> None:
        self.report = ReplayReport()
        self._rules = rules
        self._model = model
        features = frozenset(model.header.features) if model is not None else frozenset[str]()
        read = frozenset(rules.reads) | features
        self._facts = WantedFacts(read | {"model_score"} | {f"{each}_lists" for each in Subject})
        self._read = [each for each in BY_NAME.values() if each.name in read]
        self._known = tuple(sorted({need for each in self._read for need in each.needs}))
        self._expected: dict[tuple[object, ...], frozenset[str]] = {}

    def take(self, rows: Sequence[Then]) -> list[Judgement]:
        """In order."""
        cases = [self._case(each) for each in rows]
        if self._model is not None:
            self._score(self._model, cases)
        judgements = [self._judge(each) for each in cases]
        for case, judgement in zip(cases, judgements, strict=True):
            self._count(case, judgement)
        return judgements

    # --- judging ------------------------------------------------------------------------------------------------------

    def _case(self, then: Then) -> _Case:
        facts = self._facts.unpack(then.facts)
        local: dict[str, int] = {}
        if COUNTERS in then.absent:
            # What is stored of counters was this process's own, and only some rules read it.
            for name in _COUNTED & facts.keys():
                value = facts.pop(name)
                if isinstance(value, int):
                    local[name] = value
        return _Case(then, facts, local, tuple(then.absent))

    def _score(self, model: Model, cases: Sequence[_Case]) -> None:
        for case, score in zip(cases, model.score([each.facts for each in cases]), strict=True):
            case.facts["model_known"] = True
            case.facts["model_score"] = score
            case.absent = tuple(each for each in case.absent if each != MODEL)

    def _judge(self, case: _Case) -> Judgement:
        standing = standing_of(case.then, case.facts)
        return self._rules.judge(case.facts, standing, case.absent, case.local, case.then.model_version)

    # --- counting -----------------------------------------------------------------------------------------------------

    def _count(self, case: _Case, judgement: Judgement) -> None:
        report, then = self.report, case.then
        amount = (then.amount_minor, then.currency)
        before, after = then.outcome in _DECLINING, judgement.declines
        report.judged.add(*amount)
        if before:
            report.declined_before.add(*amount)
        if after:
            report.declined.add(*amount)
        if after and not before:
            report.newly_declined.add(*amount)
        if before and not after:
            report.no_longer_declined.add(*amount)
        if then.outcome == Outcome.REVIEW:
            report.reviewed_before.add(*amount)
        if judgement.outcome is Outcome.REVIEW:
            report.reviewed.add(*amount)
        if then.label is not None:
            self._count_labelled(then, before, after)
        self._count_rules(then, judgement)
        self._count_missing(case)

    def _count_labelled(self, then: Then, before: bool, after: bool) -> None:
        report, amount = self.report, (then.amount_minor, then.currency)
        if then.label == Label.FRAUD:
            tallies = (report.fraud, report.fraud_declined_before, report.fraud_declined)
        else:
            tallies = (report.legitimate, report.legitimate_declined_before, report.legitimate_declined)
        for tally, counts in zip(tallies, (True, before, after), strict=True):
            if counts:
                tally.add(*amount)

    def _count_rules(self, then: Then, judgement: Judgement) -> None:
        rule = self.report.rule
        for identity in then.fired:
            rule(identity).fired_before += 1
        for identity in judgement.failed:
            rule(identity).failed += 1
        for identity in judgement.fired:
            rule(identity).fired += 1
        for identity in judgement.shadow:
            rule(identity).shadow += 1
        if then.label is not None:
            for identity in (*judgement.fired, *judgement.shadow):
                tally = rule(identity)
                tally.fraud += then.label == Label.FRAUD
                tally.legitimate += then.label == Label.LEGITIMATE

    def _count_missing(self, case: _Case) -> None:
        known = tuple(map(case.facts.get, self._known))
        expected = self._expected.get(known)
        if expected is None:
            true = {name for name, value in zip(self._known, known, strict=True) if value is True}
            expected = frozenset(each.name for each in self._read if true.issuperset(each.needs))
            self._expected[known] = expected
        if not expected <= case.facts.keys():
            missing = self.report.missing
            for name in expected - case.facts.keys():
                if BY_NAME[name].source not in case.absent:
                    missing[name] = missing.get(name, 0) + 1


def standing_of(then: Then, facts: Mapping[str, FactValue]) -> Standing:
    """What lists declined then, they decline now, and they spare whom they spared.

    Which kind of list declined follows from the answer.
    """
    names = [each.removeprefix(_BY_LIST) for each in then.fired if each.startswith(_BY_LIST)]
    allowed = [each.removeprefix(_ALLOWED) for each in then.fired if each.startswith(_ALLOWED)]
    if not names and not allowed:
        return NOT_LISTED
    spared = frozenset(Subject(each) for each in allowed)
    listed = tuple(Listed(_subject_of(each, facts), each) for each in names)
    blocked = then.outcome == Outcome.DECLINE and then.response_code == SUSPECTED_FRAUD
    return Standing({}, listed, (), spared) if blocked else Standing({}, (), listed, spared)


def _subject_of(name: str, facts: Mapping[str, FactValue]) -> Subject:
    for subject in Subject:
        on = facts.get(f"{subject}_lists")
        if isinstance(on, list) and name in on:
            return subject
    return Subject.CARD
