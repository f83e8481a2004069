"""Cuts everything a plan's conditions ask about into the few cases that they tell apart.

A plan that asks only whether an amount is above 1,000 yuan knows two kinds of amounts; one that names three merchants
knows four kinds of merchants. Each such question is a `Dimension`: its cases, which of them each rule takes, and the
case of a payment. So a rule is a box of cases, matching is a look-up in a table of cases met before, and whether a rule
can ever be reached is a subtraction of boxes.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from switch.domain.authorization import AuthorizationRequest, CardCredential
from switch.domain.money import LARGEST_AMOUNT_MINOR
from switch.domain.payment_codes import CODE_SCHEMES
from switch.routing.bins import Bin, BinTable
from switch.routing.hours import WEEK_MINUTES, minute_of_week, read_hours
from switch.routing.plan import ENTRIES, OPERATIONS, When, category_range

CaseOf = Callable[[AuthorizationRequest, int], Hashable]
Cases = frozenset[Hashable]
CARD = "card"
OTHER = ""

_AMOUNTS = range(LARGEST_AMOUNT_MINOR + 1)
_CATEGORIES = range(-1, 10_000)  # -1: what is no number
_MINUTES = range(WEEK_MINUTES)


@dataclass(frozen=True, slots=True)
class Dimension:
    """name: of the conditions, for an operator. chosen: for each rule the cases it takes, all of them if it asks not.

    case_of: (request, Unix ms) -> one of `cases`.
    """

    name: str
    cases: Cases
    chosen: tuple[Cases, ...]
    case_of: CaseOf


def dimensions_of(rules: Sequence[When], tables: Sequence[BinTable]) -> list[Dimension]:
    """Those in which any rule asks for anything."""
    every = (
        _credential(rules),
        _prefix(rules),
        _bin(rules, tables),
        # As plain integers: an enumeration's members are hashed in Python.
        _listed(
            "entry",
            [_numbers(ENTRIES, each.entry) for each in rules],
            lambda asked, _: int(asked.entry),
            frozenset(map(int, ENTRIES.values())),
        ),
        _listed(
            "operation",
            [_numbers(OPERATIONS, each.operation) for each in rules],
            lambda asked, _: int(asked.operation),
            frozenset(map(int, OPERATIONS.values())),
        ),
        _listed("currency", [each.currency for each in rules], lambda asked, _: asked.money.currency),
        _banded("amount", [_amounts(each) for each in rules], lambda asked, _: asked.money.amount_minor, _AMOUNTS),
        _listed("merchant", [each.merchant for each in rules], lambda asked, _: asked.merchant.id),
        _banded("category", [_categories(each) for each in rules], lambda asked, _: _category_of(asked), _CATEGORIES),
        _listed("acquirer", [each.acquirer for each in rules], lambda asked, _: asked.acquirer_id),
        _banded("hours", [_spans(each) for each in rules], lambda _, time_ms: minute_of_week(time_ms), _MINUTES),
    )
    return [each for each in every if any(chosen != each.cases for chosen in each.chosen)]


# --- what the payer presented ---------------------------------------------------------------------------------------


def _credential(rules: Sequence[When]) -> Dimension:
    cases: Cases = frozenset({CARD, *CODE_SCHEMES})

    def taken(when: When) -> Cases:
        codes: Cases = frozenset(when.code_scheme) if when.code_scheme else cases
        return codes & {CARD} if when.of_cards else codes

    def case_of(asked: AuthorizationRequest, _: int) -> Hashable:
        credential = asked.credential
        return CARD if isinstance(credential, CardCredential) else credential.scheme

    return Dimension("card, code_scheme", cases, tuple(map(taken, rules)), case_of)


def _prefix(rules: Sequence[When]) -> Dimension:
    """The longest prefix of the plan that a PAN begins with tells which others it begins with."""
    prefixes = {prefix for when in rules for prefix in when.pan_prefix}
    cases: Cases = frozenset({OTHER, *prefixes})
    lengths = sorted({len(prefix) for prefix in prefixes}, reverse=True)

    def taken(when: When) -> Cases:
        if not when.pan_prefix:
            return cases
        return frozenset(prefix for prefix in prefixes if prefix.startswith(when.pan_prefix))

    def case_of(asked: AuthorizationRequest, _: int) -> Hashable:
        credential = asked.credential
        if not isinstance(credential, CardCredential):
            return OTHER
        pan = credential.pan.reveal()
        for length in lengths:
            if pan[:length] in prefixes:
                return pan[:length]
        return OTHER

    return Dimension("pan_prefix", cases, tuple(map(taken, rules)), case_of)


def _bin(rules: Sequence[When], tables: Sequence[BinTable]) -> Dimension:
    """All that BIN tables say is one dimension: (scheme, issuer, type, country), as far as any rule names them."""
    schemes = {each for when in rules for each in when.card_scheme}
    issuers = {each for when in rules for each in when.issuer}
    types = {each for when in rules for each in when.card_type}
    countries = {each for when in rules for each in when.country}

    def case_of_bin(found: Bin) -> tuple[str, str, str, str]:
        return (
            found.scheme if found.scheme in schemes else OTHER,
            found.issuer if found.issuer in issuers else OTHER,
            found.type if found.type in types else OTHER,
            found.country if found.country in countries else OTHER,
        )

    nothing = (OTHER, OTHER, OTHER, OTHER)
    shared = {nothing: nothing}
    known = []
    for table in tables:
        of_index = [shared.setdefault(case, case) for case in map(case_of_bin, table.bins)]
        known.append((table.index_of, of_index))

    def taken(when: When) -> Cases:
        if not when.of_bins:
            return frozenset(shared)
        asked = (when.card_scheme, when.issuer, when.card_type, when.country)
        return frozenset(
            case
            for case in shared
            if all(not names or value in names for value, names in zip(case, asked, strict=True))
        )

    def case_of(asked: AuthorizationRequest, _: int) -> Hashable:
        credential = asked.credential
        if not isinstance(credential, CardCredential):
            return nothing
        pan = credential.pan.reveal()
        for index_of, of_index in known:
            index = index_of(pan)
            if index >= 0:
                return of_index[index]
        return nothing

    return Dimension("card_scheme, issuer, card_type, country", frozenset(shared), tuple(map(taken, rules)), case_of)


# --- lists and bands ------------------------------------------------------------------------------------------------


def _listed(name: str, asked: Sequence[Iterable[Hashable]], value_of: CaseOf, every: Cases | None = None) -> Dimension:
    """Values that rules name, and all the others as one case. every: all that there are, where they can be counted."""
    named = frozenset(value for values in asked for value in values)
    cases = named if every is not None and every <= named else named | {OTHER}
    chosen = tuple(frozenset(values) or cases for values in asked)

    def case_of(request: AuthorizationRequest, time_ms: int) -> Hashable:
        value = value_of(request, time_ms)
        return value if value in named else OTHER

    return Dimension(name, cases, chosen, case_of)


def _banded(
    name: str,
    asked: Sequence[Sequence[tuple[int, int]]],
    value_of: Callable[[AuthorizationRequest, int], int],
    every: range,
) -> Dimension:
    """Numbers, cut wherever a rule begins or ends. asked: for each rule its ranges [from, to), none for all."""
    bounds = {bound for ranges in asked for each in ranges for bound in each}
    cuts = sorted(bound for bound in bounds if every.start < bound < every.stop)
    cases: Cases = frozenset(range(len(cuts) + 1))

    def taken(ranges: Sequence[tuple[int, int]]) -> Cases:
        if not ranges:
            return cases
        return frozenset(
            case for low, high in ranges for case in range(bisect_right(cuts, low), bisect_right(cuts, high - 1) + 1)
        )

    def case_of(request: AuthorizationRequest, time_ms: int) -> Hashable:
        return bisect_right(cuts, value_of(request, time_ms))

    return Dimension(name, cases, tuple(map(taken, asked)), case_of)


def _numbers(members: Mapping[str, int], names: Iterable[str]) -> list[int]:
    return [int(members[name]) for name in names]


def _amounts(when: When) -> list[tuple[int, int]]:
    if not when.of_amounts:
        return []
    low = when.amount_from_minor or 0
    high = LARGEST_AMOUNT_MINOR if when.amount_to_minor is None else when.amount_to_minor
    return [(low, max(low, high + 1))]


def _categories(when: When) -> list[tuple[int, int]]:
    return [(first, last + 1) for first, last in map(category_range, when.category)]


def _category_of(asked: AuthorizationRequest) -> int:
    """What is no number is no category that a rule can name."""
    category = asked.merchant.category_code
    return int(category) if category.isascii() and category.isdigit() else -1


def _spans(when: When) -> list[tuple[int, int]]:
    return list(read_hours(when.hours).spans)


# --- boxes ----------------------------------------------------------------------------------------------------------

Box = tuple[Cases, ...]

_MOST_STEPS = 200_000


def is_covered(box: Box, others: Sequence[Box]) -> bool:
    """Whether every case of `box` lies in one of the others. False, too, where to find out would take too long."""
    steps = 0

    def remains(piece: Box, index: int) -> bool:
        nonlocal steps
        while True:
            steps += 1
            if index == len(others) or steps > _MOST_STEPS:
                return True
            other = others[index]
            index += 1
            if not any(mine.isdisjoint(its) for mine, its in zip(piece, other, strict=True)):
                break
        for at, (mine, its) in enumerate(zip(piece, other, strict=True)):
            outside = mine - its
            if outside and remains((*piece[:at], outside, *piece[at + 1 :]), index):
                return True
            piece = (*piece[:at], mine & its, *piece[at + 1 :])
        return False

    return all(box) and not remains(box, 0)
