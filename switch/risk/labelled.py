"""Labelled judgements as a file: JSON Lines, a payment each.

    {"time_ms": 1772380800123, "label": "fraud", "value_minor": 19900, "facts": {"amount_minor": 19900, "hour": 14, …}}

label: "fraud" or "legitimate". value_minor: optional, in the reference currency. facts: as the judgement stored them.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from switch.domain.risk import FactValue, Label
from switch.risk.facts import BY_NAME, FactType
from switch.risk.training import Example

LARGEST_LINE_BYTES: Final = 65_536
_LABELS: Final = {each.name.lower(): each for each in Label}
_TYPES: Final[dict[FactType, type]] = {
    FactType.INT: int, FactType.BOOL: bool, FactType.TEXT: str, FactType.TEXTS: list
}  # fmt: skip
_BITS: Final = 63


class HistoryRefused(ValueError):
    """Says in which line, and why."""


def read_history(lines: Iterable[bytes]) -> Iterator[Example]:
    """As they are read; empty lines are left out. Raises HistoryRefused."""
    for number, line in enumerate(lines, 1):
        if len(line) > LARGEST_LINE_BYTES:
            raise HistoryRefused(f"line {number}: longer than {LARGEST_LINE_BYTES} bytes")
        if line.strip():
            try:
                yield _example(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError) as refusal:
                reason = f"{refusal.args[0]} is missing" if isinstance(refusal, KeyError) else str(refusal)
                raise HistoryRefused(f"line {number}: {reason}") from refusal


def history_line(example: Example) -> bytes:
    """The line that `read_history` reads."""
    label = Label.FRAUD if example.fraud else Label.LEGITIMATE
    document = {
        "time_ms": example.time_ms,
        "label": label.name.lower(),
        "value_minor": example.value_minor,
        "facts": dict(example.facts),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _example(document: Any) -> Example:
    if not isinstance(document, dict) or not isinstance(document["facts"], dict):
        raise TypeError("no object with facts")
    if document["label"] not in _LABELS:
        raise ValueError("label is neither fraud nor legitimate")
    facts = {name: _value(name, value) for name, value in document["facts"].items()}
    return Example(
        _whole("time_ms", document["time_ms"]),
        _LABELS[document["label"]] is Label.FRAUD,
        facts,
        _whole("value_minor", document.get("value_minor", 0)),
    )


def _value(name: str, value: Any) -> FactValue:
    fact = BY_NAME.get(name)
    if fact is None:
        raise ValueError(f"{name[:80]!r} is no fact")
    if type(value) is not _TYPES[fact.type]:
        raise TypeError(f"{name} is not of type {fact.type}")
    if fact.type is FactType.INT:
        return _whole(name, value)
    return cast(FactValue, value)


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or not -(1 << _BITS) <= value < 1 << _BITS:
        raise TypeError(f"{name} is no whole number of 64 bits")
    return value
