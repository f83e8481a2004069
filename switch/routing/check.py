"""Judges a plan as a whole before it goes live: what is wrong, where, and why.

Each part was checked by itself when it was read (`plan.py`). Here: channels that do not exist, conditions that
contradict each other, rules that can never be reached, contracts and costs that are missing, and expectations.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from switch.domain.states import EntryMode
from switch.routing.bins import BinTable
from switch.routing.cases import is_covered
from switch.routing.contracts import Key, keys_of
from switch.routing.document import Fault, PlanRefused
from switch.routing.examples import routes_of
from switch.routing.hours import read_hours
from switch.routing.plan import ENTRIES, Expectation, Order, Plan, Rule, When
from switch.routing.table import RoutingTable

MOST_CONTRACT_KEYS: Final = 1_000_000

_CARDS_ONLY: Final = frozenset({EntryMode.NFC, EntryMode.CHIP, EntryMode.STRIPE, EntryMode.PAYER_QR, EntryMode.KEYED})


def checked_table(plan: Plan, version: int, bins: Mapping[str, BinTable], channels: Collection[str]) -> RoutingTable:
    """The plan, ready to go live. bins: by name. channels: those that there are. Raises PlanRefused."""
    table = usable_table(plan, version, bins, channels)
    faults = list(_reachability_faults(table))
    if faults:
        raise PlanRefused("rules", faults)
    faults = list(_expectation_faults(table, channels))
    if faults:
        raise PlanRefused("expectation", faults)
    return table


def usable_table(plan: Plan, version: int, bins: Mapping[str, BinTable], channels: Collection[str]) -> RoutingTable:
    """A plan that was checked before it went live, in a process of its own channels: what could be wrong here."""
    faults = [
        *_bin_faults(plan, bins),
        *_rule_faults(plan, channels),
        *_contract_faults(plan, channels),
        *_cost_faults(plan),
    ]
    if faults:
        raise PlanRefused("rules", faults)
    return RoutingTable(plan, version, bins)


def _bin_faults(plan: Plan, bins: Mapping[str, BinTable]) -> Iterator[Fault]:
    names = [each.name for each in plan.bins]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Fault(f"bins[{index}].name", f"{name} is named twice")
        elif name not in bins:
            yield Fault(f"bins[{index}]", f"the table {name} is not at hand")


# --- rules ----------------------------------------------------------------------------------------------------------


def _rule_faults(plan: Plan, channels: Collection[str]) -> Iterator[Fault]:
    names = [each.name for each in plan.rules]
    for index, rule in enumerate(plan.rules):
        place = f"rules[{index}]"
        if rule.name in names[:index]:
            yield Fault(f"{place}.name", "another rule has this name")
        yield from _contradictions(rule.when, f"{place}.when")
        if rule.when.of_bins and not plan.bins:
            yield Fault(f"{place}.when", "asks what only a BIN table says, and the plan has none")
        yield from _choice_faults(rule, place, channels)


def _contradictions(when: When, place: str) -> Iterator[Fault]:
    entries = {ENTRIES[name] for name in when.entry}
    if when.of_cards and when.code_scheme:
        yield Fault(place, "conditions of cards and of payment codes: no payment is both")
    elif when.code_scheme and entries and entries <= _CARDS_ONLY:
        yield Fault(f"{place}.entry", "conditions of payment codes, but only cards come this way")
    if when.of_amounts and len(when.currency) != 1:
        yield Fault(place, "an amount means something in one currency only: give exactly one")
    if None not in (when.amount_from_minor, when.amount_to_minor):
        assert when.amount_from_minor is not None
        assert when.amount_to_minor is not None
        if when.amount_from_minor > when.amount_to_minor:
            yield Fault(place, "amount_from_minor is above amount_to_minor")


def _choice_faults(rule: Rule, place: str, channels: Collection[str]) -> Iterator[Fault]:
    open_minutes = _minutes(rule.when.hours)
    names = [each.name for each in rule.channels]
    for index, choice in enumerate(rule.channels):
        where = f"{place}.channels[{index}]"
        if choice.name not in channels:
            yield _unknown(where, choice.name, channels)
        if choice.name in names[:index]:
            yield Fault(where, f"{choice.name} is named twice")
        if choice.weight is None and rule.order is Order.WEIGHT:
            yield Fault(where, "the rule orders by weight, and this channel has none")
        if choice.weight is not None and rule.order is not Order.WEIGHT:
            yield Fault(where, f"a weight, but the rule orders by {rule.order}")
        if choice.hours and rule.when.hours and not open_minutes & _minutes(choice.hours):
            yield Fault(f"{where}.hours", "never within the hours of the rule")


def _unknown(place: str, name: str, channels: Collection[str]) -> Fault:
    return Fault(place, f"there is no channel {name!r}; there are {', '.join(sorted(channels)) or 'none'}")


def _minutes(hours: tuple[str, ...]) -> set[int]:
    return {minute for start, end in read_hours(hours).spans for minute in range(start, end)}


def _reachability_faults(table: RoutingTable) -> Iterator[Fault]:
    boxes = [tuple(each.chosen[index] for each in table.dimensions) for index in range(len(table.plan.rules))]
    for index, box in enumerate(boxes):
        empty = [each.name for each, cases in zip(table.dimensions, box, strict=True) if not cases]
        if empty:
            yield Fault(f"rules[{index}].when", f"no payment can meet its conditions of {empty[0]}")
        elif index and is_covered(box, [each for each in boxes[:index] if all(each)]):
            yield Fault(f"rules[{index}]", "can never be reached: rules before it take all its payments")


# --- contracts and costs --------------------------------------------------------------------------------------------


def _contract_faults(plan: Plan, channels: Collection[str]) -> Iterator[Fault]:
    count = sum(max(1, len(each.merchants)) * max(1, len(each.acquirers)) for each in plan.contracts)
    if count > MOST_CONTRACT_KEYS:
        yield Fault("contracts", f"for more than {MOST_CONTRACT_KEYS} pairs of merchants and acquirers")
        return
    of_key: dict[Key, int] = {}
    for index, contract in enumerate(plan.contracts):
        if contract.channel not in channels:
            yield _unknown(f"contracts[{index}].channel", contract.channel, channels)
        for key in keys_of(contract):
            earlier = of_key.setdefault(key, index)
            if earlier != index:
                _, currency, merchant, acquirer = key
                whom = " of ".join(filter(None, (merchant, acquirer))) or "all"
                yield Fault(
                    f"contracts[{index}]",
                    f"contracts[{earlier}] is for {whom} on {contract.channel} in {currency}, too",
                )
                break
    contracted = {each.channel for each in plan.contracts}
    for index, rule in enumerate(plan.rules):
        for at, choice in enumerate(rule.channels):
            if plan.contracts and choice.name not in contracted:
                yield Fault(f"rules[{index}].channels[{at}]", f"{choice.name} has no contract: it could never be used")


def _cost_faults(plan: Plan) -> Iterator[Fault]:
    for index, rule in enumerate(plan.rules):
        if rule.order is not Order.COST:
            continue
        if not plan.contracts:
            yield Fault(f"rules[{index}].order", "by cost, but no contract of the plan says what a channel costs")
        named = {each.name for each in rule.channels}
        for at, contract in enumerate(plan.contracts):
            if contract.channel in named and contract.fee is None:
                yield Fault(f"contracts[{at}].fee", f"is missing: rules[{index}] orders {contract.channel} by cost")


# --- expectations ---------------------------------------------------------------------------------------------------


def _expectation_faults(table: RoutingTable, channels: Collection[str]) -> Iterator[Fault]:
    if not table.plan.expect:
        yield Fault("expect", "a plan without expectations is not tested: state at least one")
    for index, expectation in enumerate(table.plan.expect):
        place = f"expect[{index}]"
        for name in (*expectation.unready, *expectation.first):
            if name not in channels:
                yield _unknown(place, name, channels)
        reason = _unmet(table, expectation, channels)
        if reason:
            yield Fault(place, f"{expectation.name}: {reason}")


def _unmet(table: RoutingTable, expectation: Expectation, channels: Collection[str]) -> str:
    wanted = " or ".join(expectation.first) or f"refused with {expectation.refused}"
    for route in routes_of(table, expectation, channels):
        if expectation.refused is not None:
            met = route.refusal == expectation.refused
        else:
            met = bool(route.channels) and route.channels[0] in expectation.first
        if not met:
            return f"should be {wanted}, but: {route.explanation}"
    return ""
