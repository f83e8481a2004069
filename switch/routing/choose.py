"""Which channels may serve a payment, in which order, and why: pure, over gathered facts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
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


@dataclass(slots=True, frozen=True)
class ChannelFacts:
    """What routing needs to know of a channel now.

    failing_percent: None while it does well; else how many of its results of late were successes.
    """

    operations: frozenset[Operation]
    takes_pin: bool
    ready: bool
    failing_percent: int | None = None


class Picture:
    """The channels as they are at one moment, for a whole batch: each is looked at once at most."""

    __slots__ = ("_facts", "_look", "decided")

    def __init__(self, look: Callable[[str], ChannelFacts | None]) -> None:
        self._look = look
        self._facts: dict[str, ChannelFacts | None] = {}
        self.decided: dict[tuple[int, int, bool], Route] = {}
        """By rule, operation and PIN: decisions for every such payment, as long as the channels stay as they are."""

    def of(self, channel: str) -> ChannelFacts | None:
        """None if there is no such channel in this process."""
        if channel not in self._facts:
            self._facts[channel] = self._look(channel)
        return self._facts[channel]


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
    draw = authorization_id.int & _LOW_62
    if not rule.is_fixed:
        return _route(table, rule, request, draw, time_ms, picture)
    key = rule.index, request.operation._value_, request.pin is not None
    route = picture.decided.get(key)
    if route is None:
        route = _route(table, rule, request, draw, time_ms, picture)
        if not any(_is_failing(picture, each.name) for each in rule.choices):
            picture.decided[key] = route
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


def _route(
    table: RoutingTable, rule: ReadyRule, request: AuthorizationRequest, draw: int, time_ms: int, picture: Picture
) -> Route:
    remarks: list[str] = []
    able: list[ReadyChoice] = []
    for choice in rule.choices:
        reason = _unable(table, choice, request, time_ms, picture.of(choice.name))
        if reason:
            remarks.append(f"{choice.name} {reason}")
        else:
            able.append(choice)
    names = _in_order(table, rule, able, request, draw, remarks)
    names.sort(key=lambda name: _place(table, name, draw, picture, remarks))
    order = " then ".join(names) or "none can serve"
    remark = f" ({', '.join(remarks)})" if remarks else ""
    return Route(tuple(names), bounded(f"{rule.title}{order}{remark}"), "" if names else NONE_CAN_SERVE)


def _unable(
    table: RoutingTable, choice: ReadyChoice, request: AuthorizationRequest, time_ms: int, facts: ChannelFacts | None
) -> str:
    """Why it cannot serve this payment at all; "" if it can."""
    if facts is None:
        return "unknown"
    if request.operation not in facts.operations:
        return f"lacks {request.operation.name.lower()}"
    if request.pin is not None and not facts.takes_pin:
        return "takes no PIN"
    if choice.hours is not None and not choice.hours.hold(minute_of_week(time_ms)):
        return "outside its hours"
    if table.contracts.exist and table.contracts.find(choice.name, request) is None:
        return "no contract"
    return ""


def _in_order(
    table: RoutingTable,
    rule: ReadyRule,
    able: list[ReadyChoice],
    request: AuthorizationRequest,
    draw: int,
    remarks: list[str],
) -> list[str]:
    """As the rule orders them, the channels' state aside."""
    if rule.order is Order.WEIGHT:
        return list(_drawn(able, draw))
    names = [each.name for each in able]
    if rule.order is Order.COST:
        costs = {name: _cost(table, name, request) for name in names}
        names.sort(key=costs.__getitem__)  # stable: what costs the same stays as listed
        remarks += [f"{name} costs {costs[name]} against {costs[names[0]]}" for name in names[1:]]
    return names


def _cost(table: RoutingTable, channel: str, request: AuthorizationRequest) -> int:
    """In minor units of the payment. That every channel of such a rule has a fee was checked with the plan."""
    contract = table.contracts.find(channel, request)
    if contract is None or contract.fee is None:
        return 0
    return contract.fee.of(request.money.amount_minor)


def _drawn(choices: list[ReadyChoice], draw: int) -> Iterable[str]:
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


def _place(table: RoutingTable, channel: str, draw: int, picture: Picture, remarks: list[str]) -> int:
    """0: as it is ordered; 1: behind those, since it fails of late; 2: behind all, since it is not ready."""
    facts = picture.of(channel)
    assert facts is not None  # the unknown were passed over
    if not facts.ready:
        remarks.append(f"{channel} not ready")
        return 2
    if facts.failing_percent is None:
        return 0
    # Other bits of the id than those that weights are drawn by.
    if (draw >> 44) % 100 < table.plan.success.probe_percent:
        remarks.append(f"{channel} probed at {facts.failing_percent} % success")
        return 0
    remarks.append(f"{channel} at {facts.failing_percent} % success")
    return 1
