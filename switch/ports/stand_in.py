"""Who may approve in the place of an issuer, and what is owed to it then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from switch.domain.authorization import Authorization
from switch.ports.channels import ChannelRequest


class StandIn(Protocol):
    """Who may approve in the place of an issuer that cannot be reached (invariant 13)."""

    async def approve(self, issuer_id: str, requests: Sequence[ChannelRequest]) -> list[str | None]:
        """The approval code (DE38) of each that is approved; durable, inside the limits, and an advice is owed.

        The same message (by its trace) is decided once. None: not approved. Raises StoreUnavailable if it cannot be
        sure: some may be durable, and advices owed.
        """


@dataclass(frozen=True, slots=True)
class OwedAdvice:
    """An advice that the issuer has not answered. message_id: of the message that was never sent to it.

    attempts: how often it was sent. fence: grows with every claim; a result counts only under its own.
    """

    issuer_id: str
    message_id: str
    authorization: Authorization
    approval_code: str
    approved_time_ms: int
    attempts: int
    fence: int


class StandInStore(Protocol):
    """The durable side of stand-in. Every method raises StoreUnavailable if it cannot be sure."""

    async def claim_advices(self, owner: UUID, issuers: Sequence[str], limit: int, lease_s: float) -> list[OwedAdvice]:
        """Advices that are due, oldest first, leased to `owner`."""

    async def finish_advices(self, results: "Sequence[tuple[OwedAdvice, str, float]]") -> None:
        """(advice, the issuer's response code, or "" to try again after so many seconds)."""
