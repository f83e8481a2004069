"""The plan in force, as the road sees it: one reference, exchanged between two batches."""

from collections.abc import Callable, Iterable
from typing import Protocol

from switch.ports import ChannelResult
from switch.routing.plan import Choice, Plan, Rule, When
from switch.routing.success import SuccessRates
from switch.routing.table import RoutingTable


class LiveRouting:
    """table: what decides now. success: what the channels' results were; it stays when the plan changes."""

    def __init__(self, table: RoutingTable, now_s: Callable[[], float]) -> None:
        """now_s: a monotonic clock, in seconds."""
        self.table = table
        self.success = SuccessRates(table.plan.success, now_s)

    def put_in_force(self, table: RoutingTable) -> None:
        self.success.follow(table.plan.success)
        self.table = table

    def observe(self, channel: str, result: ChannelResult) -> None:
        self.success.observe(channel, result)


class PlainRule(Protocol):
    """A rule of the settings: either the scheme of a payment code, or leading digits of a PAN ("" for every card)."""

    @property
    def name(self) -> str: ...
    @property
    def pan_prefix(self) -> str | None: ...
    @property
    def scheme(self) -> str | None: ...
    @property
    def channels(self) -> list[str]: ...


def plan_of_settings(rules: Iterable[PlainRule]) -> Plan:
    """Version 0: the settings' own routes, of which the longest matching prefix counts. They were checked there."""
    longest_first = sorted(rules, key=lambda each: -len(each.pan_prefix or ""))
    return Plan.model_construct(name="settings", rules=tuple(_rule_of(each) for each in longest_first))


def _rule_of(plain: PlainRule) -> Rule:
    when = When(code_scheme=(plain.scheme,)) if plain.scheme else When(card=True, pan_prefix=_prefixes(plain))
    choices = tuple(Choice.model_construct(name=name) for name in plain.channels)
    return Rule.model_construct(name=plain.name, when=when, channels=choices)


def _prefixes(plain: PlainRule) -> tuple[str, ...]:
    return (plain.pan_prefix,) if plain.pan_prefix else ()
