"""A plan made ready for look-ups: immutable but for what it remembers."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from switch.domain.authorization import AuthorizationRequest
from switch.routing.bins import BinTable
from switch.routing.cases import Dimension, dimensions_of
from switch.routing.contracts import Contracts
from switch.routing.hours import Hours, read_hours
from switch.routing.plan import Order, Plan

# Combinations of cases that are remembered; then all are forgotten, which costs each a walk through the rules.
_MOST_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class ReadyChoice:
    """hours: None for always."""

    name: str
    weight: int
    hours: Hours | None


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """title: how an explanation begins. has_hours: of any of its channels.

    is_fixed: nothing but the channels' state decides the order.
    """

    index: int
    title: str
    order: Order
    choices: tuple[ReadyChoice, ...]
    has_hours: bool
    is_fixed: bool


class RoutingTable:
    """The rules of one plan, and its BIN tables.

    version: 0 for the settings' own. dimensions: what rules ask about. ready_rules: as in the plan.
    """

    def __init__(self, plan: Plan, version: int = 0, bins: Mapping[str, BinTable] | None = None) -> None:
        """bins: by the names in `plan.bins`, all of them."""
        self.plan = plan
        self.version = version
        self.tables: Sequence[BinTable] = [(bins or {})[each.name] for each in plan.bins]
        self.contracts = Contracts(plan.contracts)
        self.dimensions: Sequence[Dimension] = dimensions_of([rule.when for rule in plan.rules], self.tables)
        self.ready_rules = tuple(self._ready(index) for index in range(len(plan.rules)))
        self._case_of = tuple(each.case_of for each in self.dimensions)
        self._remembered: dict[Hashable, ReadyRule | None] = {}

    @property
    def ranges(self) -> int:
        """PAN ranges of all tables."""
        return sum(each.ranges for each in self.tables)

    def rule_for(self, request: AuthorizationRequest, time_ms: int) -> ReadyRule | None:
        """The first rule whose conditions hold."""
        case = tuple([case_of(request, time_ms) for case_of in self._case_of])
        try:
            return self._remembered[case]
        except KeyError:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            rule = self._remembered[case] = self._first_match(case)
            return rule

    def _first_match(self, case: tuple[Hashable, ...]) -> ReadyRule | None:
        for rule in self.ready_rules:
            if all(value in each.chosen[rule.index] for value, each in zip(case, self.dimensions, strict=True)):
                return rule
        return None

    def _ready(self, index: int) -> ReadyRule:
        rule = self.plan.rules[index]
        choices = tuple(
            ReadyChoice(each.name, each.weight or 1, read_hours(each.hours) if each.hours else None)
            for each in rule.channels
        )
        how = "" if rule.order is Order.LISTED else f" by {rule.order}"
        title = f"plan {self.version}, rule {rule.name}{how}: "
        has_hours = any(each.hours for each in choices)
        is_fixed = rule.order is Order.LISTED and not self.contracts.exist and not has_hours
        return ReadyRule(index, title, rule.order, choices, has_hours, is_fixed)
