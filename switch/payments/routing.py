"""Which channels may serve a credential, in which order: pure, over gathered facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from switch.domain.authorization import CodeCredential, Credential
from switch.domain.states import Operation


@dataclass(slots=True, frozen=True)
class Rule:
    """`channels` in order of choice for a wallet code's `scheme`, or else for a `pan_prefix` (the longest wins)."""

    name: str
    channels: tuple[str, ...]
    pan_prefix: str = ""
    scheme: str = ""


@dataclass(slots=True, frozen=True)
class ChannelFacts:
    """What routing needs to know of a channel now."""

    operations: frozenset[Operation]
    takes_pin: bool
    ready: bool


@dataclass(slots=True, frozen=True)
class Route:
    """channels: to be asked in this order. explanation: one line, shown by `Get`."""

    channels: tuple[str, ...]
    explanation: str


class RoutingTable:
    """Rules indexed for look-up.

    >>> own = Rule("own", ("issuer:x",), pan_prefix="6259")
    >>> table = RoutingTable([Rule("up", ("unionpay",), pan_prefix="62"), own])
    >>> table.rule_for_pan("6259000000000000").name, table.rule_for_pan("6225000000000000").name
    ('own', 'up')
    >>> table.rule_for_pan("4111111111111111") is None
    True
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by_prefix = {rule.pan_prefix: rule for rule in rules if not rule.scheme}
        self._by_scheme = {rule.scheme: rule for rule in rules if rule.scheme}
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix}, reverse=True)

    def rule_for_pan(self, pan: str) -> Rule | None:
        for length in self._lengths:
            rule = self._by_prefix.get(pan[:length])
            if rule is not None:
                return rule
        return None

    def rule_for(self, credential: Credential) -> Rule | None:
        if isinstance(credential, CodeCredential):
            return self._by_scheme.get(credential.scheme)
        return self.rule_for_pan(credential.pan.reveal())


def choose(
    rule: Rule | None, operation: Operation, has_pin: bool, facts_of: Callable[[str], ChannelFacts | None]
) -> Route:
    """The channels of the rule that can serve, those that are ready first.

    A channel that is not ready stays in the list behind the others: by the time it is asked it may be, and if not,
    its NOT_SENT costs nothing.
    """
    if rule is None:
        return Route((), "no rule fits")
    ready: list[str] = []
    waiting: list[str] = []
    passed_over: list[str] = []
    for name in rule.channels:
        facts = facts_of(name)
        if facts is None:
            passed_over.append(f"{name} unknown")
        elif operation not in facts.operations:
            passed_over.append(f"{name} has no {operation.words}")
        elif has_pin and not facts.takes_pin:
            passed_over.append(f"{name} takes no PIN")
        elif facts.ready:
            ready.append(name)
        else:
            waiting.append(name)
            passed_over.append(f"{name} not ready")
    order = (*ready, *waiting)
    remark = f" ({', '.join(passed_over)})" if passed_over else ""
    return Route(order, f"rule {rule.name}: {' then '.join(order) or 'none can serve'}{remark}")
