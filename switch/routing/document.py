"""Reads a plan from TOML or JSON, with the place of everything that is wrong."""

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from switch.domain.refusals import NotInForce
from switch.routing.plan import Plan

# Reading one holds the interpreter: some 50 ms for the largest.
LARGEST_BYTES: Final = 4 * 1024 * 1024
_MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """place: `rules[2].channels[0].name`, or "" for the plan as a whole."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


class PlanRefused(NotInForce):
    """A plan that does not go live. `cause` is one word for the metrics: syntax, shape, bins, rules, expectation."""

    def __init__(self, cause: str, faults: Sequence[Fault]) -> None:
        shown = [str(each) for each in faults[:_MOST_SHOWN]]
        if len(faults) > _MOST_SHOWN:
            shown.append(f"and {len(faults) - _MOST_SHOWN} more")
        super().__init__(cause, "\n".join(shown))
        self.faults = tuple(faults)


def read_plan(content: str) -> Plan:
    """JSON if it begins with a brace, else TOML. Raises PlanRefused.

    >>> read_plan('{"name": "x", "rules": [{"name": "all", "channels": ["unionpay"]}]}').rules[0].channels[0].name
    'unionpay'
    """
    if len(content) > LARGEST_BYTES:
        raise PlanRefused("syntax", [Fault("", f"larger than {LARGEST_BYTES} bytes")])
    try:
        parsed = json.loads(content) if content.lstrip().startswith("{") else tomllib.loads(content)
    except RecursionError:
        raise PlanRefused("syntax", [Fault("", "nested too deep")]) from None
    except ValueError as error:  # tomllib's and json's own errors say the line
        raise PlanRefused("syntax", [Fault("", f"neither TOML nor JSON: {error}")]) from None
    try:
        return Plan.model_validate(parsed)
    except ValidationError as error:
        faults = [
            Fault(place_of(each["loc"]), each["msg"].removeprefix("Value error, "))
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise PlanRefused("shape", faults) from None


def place_of(location: Iterable[int | str]) -> str:
    """
    >>> place_of(("rules", 2, "channels", 0, "name"))
    'rules[2].channels[0].name'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
