"""What a command works with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hsm import _core
from hsm.failure_budget import FailureBudgets
from hsm.guard import Guard


@dataclass(slots=True)
class Context:
    """An open token, the keys by label (changed by whole entries only), and what bounds failed verifications: the guard
    by key and subject, the budgets by key where there is no subject."""

    token: _core.Token
    keys: dict[str, _core.Key]
    guard: Guard = field(default_factory=Guard)
    mac_failures: FailureBudgets = field(default_factory=FailureBudgets)


Command = Callable[[Context, Sequence[Any]], list[Any]]
"""A command: a list of items, each a plain tuple, to a list of results in the same order. An item that fails yields an
`HsmError` in its place; a bug of the caller (a tuple of the wrong shape) raises."""

Commands = Mapping[str, Command]
