"""What a payer presents that the road asks others about: closed, a one-time code or a sealed handover that becomes a
credential; or a merchant's order, that the payment is to pay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from switch.domain.authorization import AuthorizationRequest, Credential


@dataclass(frozen=True, slots=True)
class NotOpened:
    """It buys nothing, and the payment is declined. response_code: DE39. reason: for the caller, free of the code."""

    response_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class HandoverClaim:
    """One sealed handover for one authorization. nonce: the terminal's, 16 bytes. time_ms: the phone's clock.

    fresh: it is good now, and is claimed; else its holder is asked for only.
    """

    merchant_id: str
    terminal_id: str
    nonce: bytes
    time_ms: int
    authorization_id: UUID
    fresh: bool = True


class HandoverClaims(Protocol):
    """Which authorization opened a handover. Raises StoreUnavailable."""

    async def claim(self, claims: "Sequence[HandoverClaim]") -> list[UUID | None]:
        """Whose each is now: the first that claimed it, for ever. None: nobody's, and not fresh. Durable."""


class Opener(Protocol):
    """Opens one kind of what is presented closed, once."""

    async def open(self, presented: "Sequence[tuple[UUID, AuthorizationRequest]]") -> list[Credential | NotOpened]:
        """(authorization id, request) -> the credential, in order; one batch, and nothing of it is asked one by one.

        What is opened is spent, durably on return, and belongs to that authorization: a repeat of it opens it again,
        any other authorization never. Raises StoreUnavailable or the HSM's error: nothing was given out then, though
        some of it may be spent, on the authorizations that asked for it.
        """


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The order takes no such payment, which is declined. response_code: DE39. reason: for the caller."""

    response_code: str
    reason: str


class ScannedOrders(Protocol):
    """Orders that are to be paid by what an acquirer's payer scanned."""

    async def begin(
        self, presented: "Sequence[tuple[UUID, AuthorizationRequest]]", now_ms: int
    ) -> list[OrderRefused | None]:
        """(authorization id, request) -> None where that authorization is now a payment of its order, in order.

        Durable on return, and before anything is sent: whatever becomes of the authorization is learnt by the order,
        and given back by itself where the order cannot take it any more. Raises StoreUnavailable.
        """
