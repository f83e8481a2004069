"""One condition of a rule, checked: what it reads, what must be known for it, and that its evaluation is bounded.

A condition is a CEL expression of type bool over the published facts. Only what is listed here may be in it: operators
and functions that take time in proportion to its length. No loops, no regular expressions, no untyped values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Final

from cel_expr_python import cel

from switch.domain.risk import Subject
from switch.risk.expression import Kind, Node, read_expression
from switch.risk.facts import BY_NAME, FACTS, FactType

LONGEST_CONDITION: Final = 2_000
_LONGEST_REASON: Final = 200

CEL_TYPES: Final = {
    FactType.INT: cel.Type.INT,
    FactType.BOOL: cel.Type.BOOL,
    FactType.TEXT: cel.Type.STRING,
    FactType.TEXTS: cel.Type.List(cel.Type.STRING),
}

_COMPARISONS: Final = ("less", "less_equals", "greater", "greater_equals")
_ALLOWED: Final = frozenset(
    {"logical_and", "logical_or", "logical_not", "conditional", "equals", "not_equals", "in_list"}
    | {f"{each}_{type_}" for each in _COMPARISONS for type_ in ("int64", "string")}
    | {f"{each}_int64" for each in ("add", "subtract", "multiply", "divide", "modulo", "negate")}
    | {"contains_string", "starts_with_string", "ends_with_string"}
    | {"size_list", "list_size", "size_string", "string_size"}
)  # fmt: skip
_DIVISIONS: Final = frozenset({"divide_int64", "modulo_int64"})
_ALLOWED_TEXT: Final = "&& || ! ?: == != < <= > >= in + - * / % contains startsWith endsWith size"

_COMPLAINT: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_LONG_NUMBER: Final = re.compile(r"\d{12}")
_TOO_DEEP: Final = "nested too deep"
# The parser takes 32 levels; a set of rules puts some around each (`switch.risk.rules`).
_SPARE_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Complaint:
    """line, column: from 1, of the condition's own text."""

    line: int
    column: int
    reason: str


class ConditionRefused(Exception):
    """complaints: all of them, at least one."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("; ".join(f"{each.line}:{each.column}: {each.reason}" for each in self.complaints))


@dataclass(frozen=True, slots=True)
class Condition:
    """names: every place where a fact is read, as (offset in code points, fact), in order of the text.

    needs: the known facts that must be true for it to be judged. sources: of what it reads, `Fact.source` without "".
    subjects: whose facts it reads.
    """

    text: str
    names: tuple[tuple[int, str], ...]
    needs: tuple[str, ...]
    sources: frozenset[str]
    subjects: frozenset[Subject]

    @property
    def reads(self) -> tuple[str, ...]:
        """The facts in its text, in order, each once."""
        return tuple(dict.fromkeys(name for _, name in self.names))


@lru_cache(maxsize=1024)  # a set is read, then compiled; and most of it is in the next one, too
def check_condition(text: str, constant: bool = False) -> Condition:
    """constant: it may do without any fact ("true"). Raises ConditionRefused.

    >>> check_condition('card_count_1h > 5 && card_travel_kmh > 900').needs
    ('card_known', 'place_known')
    >>> check_condition("hor > 5")
    Traceback (most recent call last):
    switch.risk.conditions.ConditionRefused: 1:1: there is no fact or function 'hor'; the nearest is 'hour'
    """
    if len(text) > LONGEST_CONDITION:
        raise _refused(text, 0, f"longer than {LONGEST_CONDITION:,} characters")
    strange = next((at for at, letter in enumerate(text) if not letter.isprintable() and letter not in "\n\t"), None)
    if strange is not None:
        raise _refused(text, strange, "a character that cannot be printed")
    root = _compiled(text)
    complaints = [_at(text, offset, reason) for offset, reason in sorted(_faults(text, root))]
    names = tuple(sorted((each.offset, each.name) for each in root.walk() if each.kind is Kind.NAME))
    if not names and not constant and not complaints:
        complaints.append(_at(text, 0, "reads no fact: it holds always or never"))
    if complaints:
        raise ConditionRefused(complaints)
    return _condition(text, names)


def _condition(text: str, names: tuple[tuple[int, str], ...]) -> Condition:
    facts = [BY_NAME[name] for name in dict.fromkeys(name for _, name in names)]
    known = {name for fact in facts for name in (*fact.needs, fact.name)}
    return Condition(
        text=text,
        names=names,
        needs=tuple(dict.fromkeys(need for fact in facts for need in fact.needs)),
        sources=frozenset(fact.source for fact in facts if fact.source),
        subjects=frozenset(each for each in Subject if f"{each}_known" in known),
    )


def source_of(condition: Condition, names: Mapping[str, str], also: str = "") -> str:
    """CEL that is true where all it needs is known and it holds. names: what each fact is called there.

    also: a second condition, over the same names. A comment at the end of the text ends with its line.
    """
    text = condition.text
    for offset, name in reversed(condition.names):
        text = f"{text[:offset]}{names[name]}{text[offset + len(name) :]}"
    return " && ".join([*(names[need] for need in condition.needs), f"({text}\n)", *filter(None, [also])])


# --- compiling --------------------------------------------------------------------------------------------------------


@cache
def facts_environment() -> cel.Env:
    """In which every fact is a variable by its name."""
    return cel.NewEnv(variables={each.name: CEL_TYPES[each.type] for each in FACTS})


def _compiled(text: str) -> Node:
    try:
        compiled = facts_environment().compile(text)
    except RuntimeError as error:
        raise ConditionRefused(_complaints_of(str(error))) from None
    if compiled.return_type() != cel.Type.BOOL:
        raise _refused(text, 0, f"is of type {compiled.return_type().name().lower()}, not bool")
    try:
        facts_environment().compile(f"[{'(' * _SPARE_DEPTH}{text}\n{')' * _SPARE_DEPTH}]")
    except RuntimeError:
        raise _refused(text, 0, _TOO_DEEP) from None
    return read_expression(compiled.serialize())


def _complaints_of(error: str) -> list[Complaint]:
    found = [
        Complaint(max(1, int(line)), max(1, int(column)), _plain(reason))
        for line, column, reason in _COMPLAINT.findall(error)
    ]
    return list(dict.fromkeys(found)) or [Complaint(1, 1, _plain(error))]


def _plain(reason: str) -> str:
    """The compiler's words, as an analyst reads them."""
    if "recursion" in reason:
        return _TOO_DEEP
    if undeclared := _UNDECLARED.search(reason):
        return _unknown(undeclared[1])
    return reason.partition(" expecting {")[0].removesuffix(" [INVALID_ARGUMENT]")[:_LONGEST_REASON]


def _unknown(name: str) -> str:
    near = get_close_matches(name, BY_NAME, n=1)
    return f"there is no fact or function {name[:64]!r}" + (f"; the nearest is {near[0]!r}" if near else "")


def _refused(text: str, offset: int, reason: str) -> ConditionRefused:
    return ConditionRefused([_at(text, offset, reason)])


def _at(text: str, offset: int, reason: str) -> Complaint:
    before = text[:offset]
    return Complaint(before.count("\n") + 1, offset - before.rfind("\n"), reason)


# --- what may be in it ------------------------------------------------------------------------------------------------


def _faults(text: str, root: Node) -> Iterator[tuple[int, str]]:
    for node in root.walk():
        if node.kind is Kind.CONSTANT:
            yield from _constant_faults(node)
        elif node.kind is Kind.NAME:
            yield from _name_faults(text, node)
        elif node.kind is Kind.LIST:
            yield from _list_faults(node)
        elif node.kind is Kind.CALL:
            yield from _call_faults(node)
        elif node.kind is Kind.LOOP:
            yield (
                node.offset,
                "all, exists, exists_one, map and filter are not for rules: how long they take is not bounded",
            )
        else:
            yield node.offset, "fields, maps and messages are not for rules"


def _constant_faults(node: Node) -> Iterator[tuple[int, str]]:
    if node.value is None:
        yield node.offset, "only whole numbers, texts, true and false are for rules"
    elif isinstance(node.value, str) and _LONG_NUMBER.search(node.value):
        yield node.offset, "12 digits in a row, as in a card number: name a list that has it"


def _name_faults(text: str, node: Node) -> Iterator[tuple[int, str]]:
    if node.name not in BY_NAME:
        yield node.offset, _unknown(node.name)
    elif not text.startswith(node.name, node.offset):
        yield node.offset, "a fact's name begins with a letter"


def _list_faults(node: Node) -> Iterator[tuple[int, str]]:
    if any(each.kind is not Kind.CONSTANT for each in node.parts) or len({type(each.value) for each in node.parts}) > 1:
        yield node.offset, "a list holds constants of one type"


def _call_faults(node: Node) -> Iterator[tuple[int, str]]:
    if node.overload not in _ALLOWED:
        name = node.name.strip("@_")
        yield node.offset, f"{name} is not for rules, or not for values of this type: {_ALLOWED_TEXT} are"
    elif node.overload in _DIVISIONS and _constant_of(node.parts[1]) == 0:
        yield node.offset, "divides by zero"


def _constant_of(node: Node) -> int | None:
    """What it comes to without any fact, if that is a whole number; None if it needs one, or divides by zero itself."""
    if node.kind is Kind.CONSTANT:
        return node.value if isinstance(node.value, int) else None
    values = [_constant_of(each) for each in node.parts]
    known = [each for each in values if each is not None]
    if node.kind is not Kind.CALL or len(known) < len(values):
        return None
    match node.overload, known:
        case "negate_int64", [one]:
            return -one
        case "add_int64", [one, other]:
            return one + other
        case "subtract_int64", [one, other]:
            return one - other
        case "multiply_int64", [one, other]:
            return one * other
        case "divide_int64" | "modulo_int64", [one, other] if other:
            quotient = abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)
            return quotient if node.overload == "divide_int64" else one - quotient * other
    return None
