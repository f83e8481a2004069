"""Who may do what: one table. PAYMENTS and DISPUTES alone ever get a PAN."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from switch.domain.payment_token import TokenState


class Role(StrEnum):
    """The names are stored with every access: they are never reused."""

    REQUESTER = "requester"  # a merchant or wallet; for itself alone
    PAYMENTS = "payments"  # the road
    DISPUTES = "disputes"
    OPERATOR = "operator"


class Action(StrEnum):
    TOKENIZE = "tokenize"
    LOOK_UP = "look up"
    SHOW = "show"
    DETOKENIZE = "detokenize"
    SET_STATE = "set state"
    ISSUE_PAYMENT = "issue payment"
    REDEEM = "redeem"
    ROTATE_WRAPPING = "rotate wrapping"


PERMITTED: Final[dict[Action, frozenset[Role]]] = {
    Action.TOKENIZE: frozenset({Role.REQUESTER, Role.PAYMENTS}),
    Action.LOOK_UP: frozenset({Role.REQUESTER, Role.PAYMENTS, Role.DISPUTES}),
    Action.SHOW: frozenset(Role),
    Action.DETOKENIZE: frozenset({Role.PAYMENTS, Role.DISPUTES}),
    Action.SET_STATE: frozenset({Role.OPERATOR}),
    Action.ISSUE_PAYMENT: frozenset({Role.REQUESTER}),
    Action.REDEEM: frozenset({Role.PAYMENTS}),
    Action.ROTATE_WRAPPING: frozenset({Role.OPERATOR}),
}

READABLE: Final[dict[Role, frozenset[TokenState]]] = {
    Role.PAYMENTS: frozenset({TokenState.ACTIVE}),
    Role.DISPUTES: frozenset({TokenState.ACTIVE, TokenState.SUSPENDED}),
}
"""The states in which a token is turned back for a role: a suspended one pays nothing, and may be disputed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Forbidden(Exception):
    """The caller's role does not permit this. Nothing was done."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever authenticated the caller vouches for both. name: of a REQUESTER, the requester itself."""

    name: str
    role: Role


def permit(caller: Caller, action: Action, requester: str | None) -> None:
    """requester: None for what concerns all. Raises Forbidden; ValueError for a requester's name that can be none."""
    if caller.role not in PERMITTED[action]:
        raise Forbidden(f"a caller in the role {caller.role} may not {action}")
    if caller.role is Role.REQUESTER and caller.name != requester:
        raise Forbidden("a requester acts for itself alone")
    if requester is not None and _NAME.fullmatch(requester) is None:
        raise ValueError("a requester's name is 1 to 64 of A-Z a-z 0-9 . _ -, the first no sign")
