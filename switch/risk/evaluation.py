"""Conditions over facts: all together in one expression, or each alone. Pure.

Together, the facts cross into the evaluator as four lists, one for each type, and a condition reads `i[7]` where the
analyst wrote a name: a variable of its own for each fact costs as much as the evaluation itself (benchmarks/rules.py).
A fact that needs what is not known has a zero there, which no condition reads: each is guarded by what it needs. That
no other fact is missing is looked at first; conditions that read one are evaluated alone, by name, and those that come
to need it fail.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from cel_expr_python import cel

from switch.domain.risk import FactValue
from switch.risk.conditions import CEL_TYPES, Condition, facts_environment, source_of
from switch.risk.facts import BY_NAME, NUMBER, FactType

# CEL takes 100,000 code points in one expression.
_LONGEST_EXPRESSION: Final = 80_000
_COLUMNS: Final = {FactType.INT: "i", FactType.BOOL: "b", FactType.TEXT: "t", FactType.TEXTS: "l"}
_COLUMN_TYPES: Final = {_COLUMNS[each]: cel.Type.List(type_) for each, type_ in CEL_TYPES.items()}
_FILLINGS: Final[Mapping[FactType, FactValue]] = {
    FactType.INT: 0, FactType.BOOL: False, FactType.TEXT: "", FactType.TEXTS: []
}  # fmt: skip


_NOTHING: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Guarded:
    """A condition, and an amount that it holds above only, or None."""

    condition: Condition
    above_minor: int | None = None

    @property
    def reads(self) -> frozenset[str]:
        """Its guard's facts included."""
        amount = () if self.above_minor is None else ("amount_minor",)
        return frozenset((*self.condition.reads, *self.condition.needs, *amount))

    def source(self, names: Mapping[str, str]) -> str:
        above = "" if self.above_minor is None else f"{names['amount_minor']} > {self.above_minor}"
        return source_of(self.condition, names, above)


class Alone:
    """One condition, by the names of the facts."""

    def __init__(self, guarded: Guarded) -> None:
        self.reads = tuple(sorted(guarded.reads, key=NUMBER.__getitem__))
        self._expression = facts_environment().compile(guarded.source({name: name for name in self.reads}))

    def holds(self, facts: Mapping[str, FactValue]) -> bool | None:
        """None: it fails, by what is missing or by what it computes. && and || take a side that is decided."""
        there = {name: facts[name] for name in self.reads if name in facts}
        result = self._expression.eval(data=there).plain_value()
        return result if isinstance(result, bool) else None


@cache
def _columns_environment() -> cel.Env:
    return cel.NewEnv(variables=_COLUMN_TYPES)


class Together:
    """Several conditions, in order."""

    def __init__(self, all_guarded: Sequence[Guarded]) -> None:
        reads = _NOTHING.union(*(each.reads for each in all_guarded))
        facts = [each for each in BY_NAME.values() if each.name in reads]
        self._columns = [
            (column, _FILLINGS[type_], tuple(each.name for each in facts if each.type is type_))
            for type_, column in _COLUMNS.items()
        ]
        places = {name: f"{column}[{at}]" for column, _, names in self._columns for at, name in enumerate(names)}
        self._known = tuple(sorted({need for each in facts for need in each.needs}))
        self._facts = facts
        self._expected: dict[tuple[Any, ...], frozenset[str]] = {}
        self._parts = [self._compile(part) for part in _parted([each.source(places) for each in all_guarded])]

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(each.name for each in self._facts)

    def missing(self, facts: Mapping[str, FactValue]) -> frozenset[str]:
        """Facts that should be there, by what is known, and are not."""
        expected = self._expects(facts)
        return _NOTHING if expected <= facts.keys() else expected.difference(facts)

    def hold(self, facts: Mapping[str, FactValue]) -> list[bool] | None:
        """One for each condition, of facts of which none is missing; None if a condition fails."""
        get: Any = facts.get
        activation = _columns_environment().Activation(
            {column: [get(name, filling) for name in names] for column, filling, names in self._columns}
        )
        held: list[bool] = []
        for part in self._parts:
            results = part.eval(activation).plain_value()
            if not isinstance(results, list):
                return None
            held += results
        return held

    def _expects(self, facts: Mapping[str, FactValue]) -> frozenset[str]:
        """What must be there, by what is known."""
        known = tuple(map(facts.get, self._known))
        found = self._expected.get(known)
        if found is None:
            true = {name for name, value in zip(self._known, known, strict=True) if value is True}
            found = frozenset(each.name for each in self._facts if true.issuperset(each.needs))
            self._expected[known] = found
        return found

    def _compile(self, sources: Iterable[str]) -> cel.Expression:
        return _columns_environment().compile(f"[{', '.join(sources)}]")


def _parted(sources: Sequence[str]) -> Iterator[list[str]]:
    """As few as fit into one expression each."""
    part: list[str] = []
    length = 0
    for each in sources:
        if part and length + len(each) > _LONGEST_EXPRESSION:
            yield part
            part, length = [], 0
        part.append(each)
        length += len(each) + 2
    if part:
        yield part
