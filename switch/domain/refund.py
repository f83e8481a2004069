"""A refund that a merchant's people asked for: its states, and who may refund how much by himself."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final
from uuid import UUID

from switch.domain.access import Caller, Role
from switch.domain.identity import computed_id
from switch.domain.money import LARGEST_AMOUNT_MINOR, Money


class RefundState(IntEnum):
    """The numbers are stored: they are never reused."""

    WAITING = 1  # for another person's approval
    SENDING = 2  # may go to the channel, and will
    PENDING = 3  # the channel has not said how it ended; the resolver repeats it until it does
    DONE = 4
    FAILED = 5  # refused by the channel or the journal; no money moved
    DECLINED = 6  # by a person
    EXPIRED = 7  # nobody approved it in time


TRANSITIONS: Final[dict[RefundState, frozenset[RefundState]]] = {
    RefundState.WAITING: frozenset({RefundState.SENDING, RefundState.DECLINED, RefundState.EXPIRED}),
    RefundState.SENDING: frozenset({RefundState.PENDING, RefundState.DONE, RefundState.FAILED}),
    RefundState.PENDING: frozenset({RefundState.DONE, RefundState.FAILED}),
    RefundState.DONE: frozenset(),
    RefundState.FAILED: frozenset(),
    RefundState.DECLINED: frozenset(),
    RefundState.EXPIRED: frozenset(),
}

_NIL: Final = UUID(int=0)
STEP_UP_MINOR: Final = 100_000

HOLDERS: Final[dict[str, Role]] = {
    "owner": Role.MERCHANT_OWNER,
    "manager": Role.MERCHANT_MANAGER,
    "cashier": Role.MERCHANT_CASHIER,
}


@dataclass(frozen=True, slots=True)
class Refund:
    """acquirer_id: the original's. transmission_time_ms, follow_on_id: of the refund on the road, 0 and nil before.

    counted: part of what requested_by refunded by himself on `day` (ISO date, Asia/Shanghai).
    """

    merchant_id: str
    id: UUID
    authorization_id: UUID
    idempotency_key: str
    money: Money
    reason: str
    state: RefundState
    requested_by: str
    requested_role: Role
    day: str
    acquirer_id: str
    created_time_ms: int
    changed_time_ms: int
    decided_by: str = ""
    decision_reason: str = ""
    counted: bool = False
    follow_on_id: UUID = _NIL
    transmission_time_ms: int = 0
    response_code: str = ""
    response_reason: str = ""

    @property
    def road_key(self) -> str:
        """The idempotency key of the refund on the road: it is sent again under the same one."""
        return f"refund-{self.id.hex}"


def sendable(refund: Refund, time_ms: int) -> Refund:
    """It may go to the channel: under this transmission time, and so under this identity, for ever."""
    identity = computed_id(refund.acquirer_id, refund.merchant_id, time_ms, refund.road_key)
    return replace(
        refund, state=RefundState.SENDING, transmission_time_ms=time_ms, follow_on_id=identity, changed_time_ms=time_ms
    )


@dataclass(frozen=True, slots=True)
class RefundLimit:
    """holder: a key of HOLDERS, or `Caller.name`. Minor units of `currency`.

    each_minor: of one refund; day_minor: of a business day and person; step_up_minor: from here on a person must have
    shown a second factor.
    """

    holder: str
    currency: str
    each_minor: int
    day_minor: int
    step_up_minor: int = STEP_UP_MINOR


def role_holder(caller: Caller) -> str:
    """The caller's highest role that may refund; "" if it has none.

    >>> role_holder(Caller("user/1", frozenset({Role.PAYER, Role.MERCHANT_CASHIER})))
    'cashier'
    """
    return next((name for name, role in HOLDERS.items() if role in caller.roles), "")


def limit_for(caller: Caller, currency: str, limits: dict[str, RefundLimit]) -> RefundLimit:
    """One's own limit, else a person's role's, else: an owner in person has none, others refund nothing by themselves.

    The limit of a role is people's: who may make credentials would multiply his own by theirs.

    >>> limit_for(Caller("user/1", frozenset({Role.MERCHANT_MANAGER})), "CNY", {}).each_minor
    0
    """
    role = role_holder(caller)
    found = limits.get(caller.name) or (limits.get(role) if caller.user_id is not None else None)
    if found is not None:
        return found
    allowed_minor = LARGEST_AMOUNT_MINOR if role == "owner" and caller.user_id is not None else 0
    return RefundLimit(role, currency, allowed_minor, allowed_minor * 1000)
