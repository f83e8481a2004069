"""What a replay found: stored judgements beside what a candidate says of the same facts."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

ALL_BASIS_POINTS: Final = 10_000


@dataclass(slots=True)
class Tally:
    """Payments, and their amounts in minor units by currency."""

    payments: int = 0
    amounts: dict[str, int] = field(default_factory=dict)

    def add(self, amount_minor: int, currency: str) -> None:
        self.payments += 1
        self.amounts[currency] = self.amounts.get(currency, 0) + amount_minor

    def merge(self, other: "Tally") -> None:
        self.payments += other.payments
        for currency, minor in other.amounts.items():
            self.amounts[currency] = self.amounts.get(currency, 0) + minor


@dataclass(slots=True)
class RuleTally:
    """Of one rule: how often it fired then, how often it does by the candidate (live, in shadow), how often it fails.

    fraud, legitimate: of those payments where it fires now, live or in shadow, what they are labelled.
    """

    fired_before: int = 0
    fired: int = 0
    shadow: int = 0
    failed: int = 0
    fraud: int = 0
    legitimate: int = 0

    def merge(self, other: "RuleTally") -> None:
        for each in fields(RuleTally):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class ReplayReport:
    """…_before: as it was decided then; without it: by the candidate. A step-up counts as declined.

    missing: facts that the candidate reads and stored judgements should have and do not, with how many of these.
    """

    judged: Tally = field(default_factory=Tally)
    declined_before: Tally = field(default_factory=Tally)
    declined: Tally = field(default_factory=Tally)
    newly_declined: Tally = field(default_factory=Tally)
    no_longer_declined: Tally = field(default_factory=Tally)
    reviewed_before: Tally = field(default_factory=Tally)
    reviewed: Tally = field(default_factory=Tally)
    fraud: Tally = field(default_factory=Tally)
    fraud_declined_before: Tally = field(default_factory=Tally)
    fraud_declined: Tally = field(default_factory=Tally)
    legitimate: Tally = field(default_factory=Tally)
    legitimate_declined_before: Tally = field(default_factory=Tally)
    legitimate_declined: Tally = field(default_factory=Tally)
    rules: dict[str, RuleTally] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)

    @property
    def newly_declined_basis_points(self) -> int:
        """Of what was let pass, in hundredths of a percent, rounded up. Where nothing was, all of it: 10,000.

        >>> ReplayReport(judged=Tally(300), newly_declined=Tally(1)).newly_declined_basis_points
        34
        """
        passed = self.judged.payments - self.declined_before.payments
        return -(-self.newly_declined.payments * ALL_BASIS_POINTS // passed) if passed else ALL_BASIS_POINTS

    def rule(self, identity: str) -> RuleTally:
        found = self.rules.get(identity)
        if found is None:
            found = self.rules[identity] = RuleTally()
        return found

    def merge(self, other: "ReplayReport") -> None:
        for name in TALLIES:
            getattr(self, name).merge(getattr(other, name))
        for identity, tally in other.rules.items():
            self.rule(identity).merge(tally)
        for fact, count in other.missing.items():
            self.missing[fact] = self.missing.get(fact, 0) + count


TALLIES: Final = tuple(each.name for each in fields(ReplayReport) if each.name not in ("rules", "missing"))


def merged(reports: Iterable[ReplayReport]) -> ReplayReport:
    whole = ReplayReport()
    for each in reports:
        whole.merge(each)
    return whole


def as_fields(report: ReplayReport) -> dict[str, Any]:
    """For JSON.

    >>> from_fields(as_fields(ReplayReport(Tally(1, {"CNY": 5})))).judged.amounts
    {'CNY': 5}
    """
    return asdict(report)


def from_fields(stored: Mapping[str, Any]) -> ReplayReport:
    tallies: dict[str, Any] = {name: Tally(**stored[name]) for name in TALLIES}
    rules = {identity: RuleTally(**each) for identity, each in stored["rules"].items()}
    return ReplayReport(**tallies, rules=rules, missing=dict(stored["missing"]))
