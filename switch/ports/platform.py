"""What the platform's services need of each other. Who meets them: the store beside its tables, or a client by gRPC."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from switch.domain.access import Credential, Role, Session
from switch.domain.authorization import (
    Authorization,
    AuthorizationRequest,
    CardCredential,
    FollowOn,
    FollowOnRequest,
)
from switch.domain.contract import Contract
from switch.domain.merchant import MerchantProfile
from switch.domain.user import Device


class Sessions(Protocol):
    """The user service's: who an access token is. Raises StoreUnavailable."""

    async def session(self, token: str) -> Session | None:
        """None for a token that is none, expired or revoked: which of them is not told."""


class MerchantAccess(Protocol):
    """The merchant service's: who may act for a merchant. Raises StoreUnavailable."""

    async def role_of(self, merchant_id: str, user_id: UUID) -> Role | None: ...

    async def credential(self, secret: str) -> Credential | None:
        """None for an API credential that is none, expired or revoked."""


class Merchants(Protocol):
    """The merchant service's: what others need to know of a merchant. Raises StoreUnavailable."""

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        """None where it was never onboarded."""

    async def contracts(self, merchant_ids: Sequence[str], day: str) -> dict[str, Contract]:
        """The contract in force on that business day (ISO date), of those that have one."""

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        """terminal_id -> store_id."""


class CardTypes(Protocol):
    """What BIN tables say of cards."""

    def of(self, card_prefix: str) -> str:
        """debit, credit, prepaid or charge, if every card that begins with these digits is; else "". Of "": ""."""


class Payments(Protocol):
    """The authorization service: in this process, or in another one by gRPC.

    Raises what the road raises (`switch.payments.errors`), or StoreUnavailable.
    """

    async def authorize(self, request: AuthorizationRequest, budget_s: float) -> Authorization: ...

    async def follow_on(self, request: FollowOnRequest) -> FollowOn:
        """Capture, void, refund, reverse: `request.acquirer_id` is the original's."""

    async def find(self, merchant_id: str, authorization_id: UUID) -> Authorization | None: ...


class Devices(Protocol):
    """The user service's. Raises StoreUnavailable."""

    async def devices(self, named: Sequence[tuple[UUID, UUID]]) -> list[Device | None]:
        """Of each (user_id, device_id), in order; one round trip. None: there is none."""


class Belongings(Protocol):
    """What another service keeps of a user. Raises StoreUnavailable."""

    async def give_up(self, who: str, user_id: UUID) -> None:
        """He closes his account: what is his goes first. A repeat finds nothing left. who: `Caller.name`.

        Raises NotPossible, having changed nothing, where something must not go yet.
        """


class Cards(Protocol):
    """The wallet's: what a user pays with. Raises StoreUnavailable, or the HSM's error."""

    async def credential(self, user_id: UUID, card_id: UUID) -> CardCredential | None:
        """In the clear, for one payment. None: there is no such card of that user's, or it was removed."""
