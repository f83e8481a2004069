"""What a rule set finds, beside a plain Python evaluation of the same generated conditions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from switch.domain.risk import Action, FactValue, Rule, WithoutFacts
from switch.risk.conditions import ConditionRefused, check_condition
from switch.risk.facts import BY_NAME
from switch.risk.rules import RuleSet

Facts = Mapping[str, FactValue]
LARGEST = 2**63 - 1


class Failed(Exception):
    pass


@dataclass(frozen=True)
class Term:
    """text: in CEL. value: what it comes to; raises Failed. reads: facts."""

    text: str
    value: Callable[[Facts], Any]
    reads: frozenset[str] = frozenset()


def fact(name: str) -> Term:
    def value(facts: Facts) -> Any:
        if name not in facts:
            raise AssertionError(f"{name} was compared, and is not known")
        return facts[name]

    return Term(name, value, frozenset({name}))


def constant(value: int | bool | str) -> Term:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower()
    return Term(text, lambda _: value)


def bounded(value: int) -> int:
    if not -LARGEST - 1 <= value <= LARGEST:
        raise Failed
    return value


def divided(one: int, other: int) -> int:
    if other == 0:
        raise Failed
    return bounded(abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1))


def rest(one: int, other: int) -> int:
    if other == 0 or (one, other) == (-LARGEST - 1, -1):
        raise Failed
    return one - divided(one, other) * other


ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda one, other: bounded(one + other),
    "-": lambda one, other: bounded(one - other),
    "*": lambda one, other: bounded(one * other),
    "/": divided,
    "%": rest,
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def both(operator: str, function: Callable[[Any, Any], Any], one: Term, other: Term) -> Term:
    return Term(
        f"({one.text} {operator} {other.text})",
        lambda facts: function(one.value(facts), other.value(facts)),
        one.reads | other.reads,
    )


def decided(operator: str, deciding: bool, one: Term, other: Term) -> Term:
    """&& and ||: the side that decides, whatever the other one fails by."""

    def value(facts: Facts) -> bool:
        results = []
        for each in (one, other):
            try:
                results.append(each.value(facts))
            except Failed:
                results.append(None)
        if deciding in results:
            return deciding
        if None in results:
            raise Failed
        return not deciding

    return Term(f"({one.text} {operator} {other.text})", value, one.reads | other.reads)


def chosen(condition: Term, one: Term, other: Term) -> Term:
    return Term(
        f"({condition.text} ? {one.text} : {other.text})",
        lambda facts: one.value(facts) if condition.value(facts) else other.value(facts),
        condition.reads | one.reads | other.reads,
    )


INTS = ("amount_minor", "hour", "card_count_1h", "user_count_1h", "user_device_age_minutes", "card_travel_km")
BOOLS = ("pin_given", "card_known", "user_known", "device_emulator", "posture_known")
TEXTS = ("entry", "currency")
LISTS = ("card_lists", "user_lists")
KNOWN = ("card_known", "user_known", "device_known", "posture_known", "place_known")
WORDS = ("nfc", "chip", "CNY", "stolen", "watched", "n")

numbers = st.integers(-LARGEST, LARGEST) | st.integers(-3, 3)
ints = st.recursive(
    st.sampled_from(INTS).map(fact) | numbers.map(constant),
    lambda inner: st.builds(
        lambda operator, one, other: both(operator, ARITHMETIC[operator], one, other),
        st.sampled_from(sorted(ARITHMETIC)),
        inner,
        inner,
    ),
    max_leaves=4,
)
texts = st.sampled_from(TEXTS).map(fact) | st.sampled_from(WORDS).map(constant)
listed = st.builds(
    lambda word, of: both("in", lambda one, other: one in other, constant(word), fact(of)),
    st.sampled_from(WORDS),
    st.sampled_from(LISTS),
)
one_of = st.builds(
    lambda one, words: Term(
        f"({one.text} in [{', '.join(constant(each).text for each in words)}])",
        lambda facts: one.value(facts) in words,
        one.reads,
    ),
    texts,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
)
begins = st.builds(
    lambda one, word: Term(
        f'{one.text}.startsWith("{word}")', lambda facts: one.value(facts).startswith(word), one.reads
    ),
    texts,
    st.sampled_from(WORDS),
)


def compared(of: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    return st.builds(
        lambda operator, one, other: both(operator, COMPARISONS[operator], one, other),
        st.sampled_from(sorted(COMPARISONS)),
        of,
        of,
    )


conditions = st.recursive(
    st.sampled_from(BOOLS).map(fact) | compared(ints) | compared(texts) | listed | one_of | begins,
    lambda inner: (
        st.builds(lambda one, other: decided("&&", False, one, other), inner, inner)
        | st.builds(lambda one, other: decided("||", True, one, other), inner, inner)
        | st.builds(chosen, inner, inner, inner)
        | inner.map(lambda one: Term(f"!{one.text}", lambda facts: not one.value(facts), one.reads))
    ),
    max_leaves=5,
).filter(lambda term: bool(term.reads))


@st.composite
def payments(draw: st.DrawFn) -> dict[str, FactValue]:
    """Facts that are there, and no other: what needs what is not known is left out."""
    facts: dict[str, FactValue] = {name: draw(st.booleans()) for name in KNOWN}
    for names, values in (
        (INTS, st.integers(-3, 3) | st.integers(0, LARGEST)),
        (("pin_given", "device_emulator"), st.booleans()),
        (TEXTS, st.sampled_from(WORDS)),
        (LISTS, st.lists(st.sampled_from(WORDS), max_size=3)),
    ):
        for name in names:
            if all(facts[need] for need in BY_NAME[name].needs):
                facts[name] = draw(values)
    return facts


def plainly(condition: Term, facts: Facts) -> bool | None:
    """None: it fails."""
    needs = {need for name in condition.reads for need in BY_NAME[name].needs}
    if not all(facts[need] for need in needs):
        return False
    try:
        return bool(condition.value(facts))
    except Failed:
        return None


def divides_by_a_constant_zero(condition: Term) -> bool:
    try:
        check_condition(condition.text)
    except ConditionRefused as refused:
        reasons = {each.reason for each in refused.complaints}
        if reasons == {"divides by zero"}:
            return True
        raise
    return False


@settings(deadline=None, max_examples=100)
@given(st.lists(conditions, min_size=1, max_size=6), st.lists(payments(), min_size=1, max_size=5), st.booleans())
def test_rules_fire_where_plain_python_says_so(
    written: list[Term], paid: list[dict[str, FactValue]], strict: bool
) -> None:
    good = [each for each in written if not divides_by_a_constant_zero(each)]
    policy = WithoutFacts.FIRE if strict else WithoutFacts.PASS
    rules = RuleSet(
        [
            Rule(f"r{at}", 1, "risk", each.text, Action.SCORE, {"en": "x", "zh": "x"}, score=1, without_facts=policy)
            for at, each in enumerate(good)
        ]
    )
    for facts in paid:
        judged = rules.judge(facts)
        wanted = [plainly(each, facts) for each in good]
        assert judged.fired == tuple(f"r{at}" for at, each in enumerate(wanted) if each or (each is None and strict))
        assert judged.failed == tuple(f"r{at}" for at, each in enumerate(wanted) if each is None)
