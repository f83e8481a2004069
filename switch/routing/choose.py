"""Which channels may serve a payment, in which order, and why: pure, over gathered facts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest
from switch.domain.states import Operation
from switch.routing.hours import minute_of_week
from switch.routing.plan import Order
from switch.routing.table import ReadyChoice, ReadyRule, RoutingTable

# What `Get` returns is bounded, whatever a plan says and however many channels were asked in vain.
LONGEST_EXPLANATION: Final = 400

NO_RULE: Final = "15"
NONE_CAN_SERVE: Final = "40"

_LOW_62 = (1 << 62) - 1

# Rule, operation, PIN: by what the payments of a batch differ for a channel's state.
Kind = tuple[int, int, bool]


@dataclass(slots=True, frozen=True)
class ChannelFacts:
    """What routing needs to know of a channel now.

    failing_percent: None while it does well; else how many of its results of late were successes.
    """

    operations: frozenset[Operation]
    takes_pin: bool
    ready: bool
    failing_percent: int | None = None


@dataclass(slots=True, frozen=True)
class Standing:
    """How a rule's channels stand for one kind of payment. remarks: why the others cannot serve it.

    is_well: all of `able` are ready and none fails.
    """

    able: tuple[ReadyChoice, ...]
    remarks: tuple[str, ...]
    is_well: bool


class Picture:
    """The channels as they are at one moment, for a whole batch: each is looked at once at most."""

    __slots__ = ("_facts", "_look", "_standings", "decided")

    def __init__(self, look: Callable[[str], ChannelFacts | None]) -> None:
        """look: None if there is no such channel in this process."""
        self._look = look
        self._facts: dict[str, ChannelFacts | None] = {}
        self._standings: dict[Kind, Standing] = {}
        self.decided: dict[Kind, Route] = {}
        """Decisions for every such payment, as long as the channels stay as they are."""

    def of(self, channel: str) -> ChannelFacts | None:
        if channel not in self._facts:
            self._facts[channel] = self._look(channel)
        return self._facts[channel]

    def standing_of(self, rule: ReadyRule, kind: Kind, request: AuthorizationRequest) -> Standing:
        standing = self._standings.get(kind)
        if standing is None:
            standing = self._standings[kind] = self._stand(rule, request)
        return standing

    def _stand(self, rule: ReadyRule, request: AuthorizationRequest) -> Standing:
        reasons = {each: _unable(self.of(each.name), request) for each in rule.choices}
        able = tuple(each for each, reason in reasons.items() if not reason)
        remarks = tuple(f"{each.name} {reason}" for each, reason in reasons.items() if reason)
        facts = [self.of(each.name) for each in able]
        is_well = all(each is not None and each.ready and each.failing_percent is None for each in facts)
        return Standing(able, remarks, is_well)


@dataclass(slots=True, frozen=True)
class Route:
    """channels: to be asked in this order. explanation: one line, shown by `Get`. refusal: DE39 if there are none."""

    channels: tuple[str, ...]
    explanation: str
    refusal: str = ""


def choose(
    table: RoutingTable, request: AuthorizationRequest, authorization_id: UUID, time_ms: int, picture: Picture
) -> Route:
    """The channels that may serve: those that are ready and do well first.

    A channel that is not ready stays in the list behind the others: by the time it is asked it may be, and if not,
    its NOT_SENT costs nothing. What is drawn is drawn by the id, so that a repeat and a replay decide the same.
    time_ms: Unix time of the admission, for hours.
    """
    rule = table.rule_for(request, time_ms)
    if rule is None:
        return Route((), f"plan {table.version}: no rule fits", NO_RULE)
    kind = rule.index, request.operation._value_, request.pin is not None
    decided = picture.decided.get(kind)
    if decided is not None:
        return decided
    standing = picture.standing_of(rule, kind, request)
    draw = authorization_id.int & _LOW_62
    able, remarks = _permitted(table, rule, standing, request, time_ms)
    names = _in_order(table, rule, able, request, draw, remarks)
    if not standing.is_well:
        names = _by_state(table, names, draw, picture, remarks)
    order = " then ".join(names) or "none can serve"
    remark = f" ({', '.join(remarks)})" if remarks else ""
    route = Route(tuple(names), bounded(f"{rule.title}{order}{remark}"), "" if names else NONE_CAN_SERVE)
    if rule.is_fixed and not any(_is_failing(picture, name) for name in names):
        picture.decided[kind] = route
    return route


def and_then(explanation: str, remark: str) -> str:
    """What became of the route later, on the same line and within its bound.

    >>> and_then("rule x: a then b", "a could not serve")
    'rule x: a then b; a could not serve'
    """
    return bounded(f"{explanation}; {remark}")


def bounded(explanation: str) -> str:
    if len(explanation) <= LONGEST_EXPLANATION:
        return explanation
    return explanation[: LONGEST_EXPLANATION - 1] + "…"


def _is_failing(picture: Picture, channel: str) -> bool:
    facts = picture.of(channel)
    return facts is not None and facts.failing_percent is not None


def _unable(facts: ChannelFacts | None, request: AuthorizationRequest) -> str:
    """Why the channel cannot serve such a payment now; "" if it can."""
    if facts is None:
        return "unknown"
    if request.operation not in facts.operations:
        return f"has no {request.operation.words}"
    if request.pin is not None and not facts.takes_pin:
        return "takes no PIN"
    return ""


def _permitted(
    table: RoutingTable, rule: ReadyRule, standing: Standing, request: AuthorizationRequest, time_ms: int
) -> tuple[Sequence[ReadyChoice], list[str]]:
    """Those of the able that may serve this payment: within their hours, under a contract. And the remarks so far."""
    able: Sequence[ReadyChoice] = standing.able
    remarks = list(standing.remarks)
    if rule.has_hours:
        minute = minute_of_week(time_ms)
        closed = {each.name for each in able if each.hours is not None and not each.hours.hold(minute)}
        remarks += [f"{each.name} outside its hours" for each in able if each.name in closed]
        able = [each for each in able if each.name not in closed]
    if table.contracts.exist:
        terms = table.contracts.terms(request)
        remarks += [f"{each.name} no contract" for each in able if each.name not in terms]
        able = [each for each in able if each.name in terms]
    return able, remarks


def _in_order(
    table: RoutingTable,
    rule: ReadyRule,
    able: Sequence[ReadyChoice],
    request: AuthorizationRequest,
    draw: int,
    remarks: list[str],
) -> list[str]:
    """As the rule orders them, the channels' state aside."""
    if rule.order is Order.WEIGHT:
        return list(_drawn(able, draw))
    if rule.order is Order.LISTED:
        return [each.name for each in able]
    terms, amount_minor = table.contracts.terms(request), request.money.amount_minor
    # That every channel of such a rule has a fee was checked with the plan. What costs the same stays as listed.
    costs = [(0 if (fee := terms[each.name].fee) is None else fee.of(amount_minor), each.name) for each in able]
    costs.sort(key=itemgetter(0))
    remarks += [f"{name} costs {cost} against {costs[0][0]}" for cost, name in costs[1:]]
    return [name for _, name in costs]


def _drawn(choices: Sequence[ReadyChoice], draw: int) -> Iterable[str]:
    """One after the other, each with the chance of its weight among those that are left."""
    left = list(choices)
    while left:
        at = draw % sum(each.weight for each in left)
        chosen = 0
        while at >= left[chosen].weight:
            at -= left[chosen].weight
            chosen += 1
        yield left.pop(chosen).name
        # Knuth's multiplicative hashing: the next draw is another one.
        draw = (draw * 0x9E3779B97F4A7C15 >> 2) & _LOW_62


def _by_state(table: RoutingTable, names: list[str], draw: int, picture: Picture, remarks: list[str]) -> list[str]:
    """Those that are ready and do well, then those that fail of late, then those that are not ready."""
    well: list[str] = []
    failing: list[str] = []
    waiting: list[str] = []
    for name in names:
        facts = picture.of(name)
        assert facts is not None  # the unknown were passed over
        if not facts.ready:
            waiting.append(name)
            remarks.append(f"{name} not ready")
        elif facts.failing_percent is None:
            well.append(name)
        elif (draw >> 44) % 100 < table.plan.success.probe_percent:  # other bits than weights are drawn by
            well.append(name)
            remarks.append(f"{name} probed at {facts.failing_percent} % success")
        else:
            failing.append(name)
            remarks.append(f"{name} at {facts.failing_percent} % success")
    return well + failing + waiting
