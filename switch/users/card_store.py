"""What the cards of a wallet need to have kept."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from switch.domain.card import Card, CardLimits


class CardStore(Protocol):
    """Every method raises StoreUnavailable. who: `Caller.name`, for the audit trail, written with the change."""

    async def add(self, card: Card, limits: CardLimits, who: str) -> Card:
        """The card, or the live one of that number which the user had. Raises TooMany, by the limits."""

    async def of_user(self, user_id: UUID) -> list[Card]:
        """Live ones, oldest first."""

    async def find(self, user_id: UUID, card_id: UUID) -> Card | None:
        """In any state."""

    async def verified_by(self, card: Card, channel: str) -> None:
        """The issuer approved the verification, through that channel."""

    async def fail(self, card: Card, now_ms: int, *, counts: bool) -> None:
        """A PENDING card FAILED. counts: there was an amount to be named."""

    async def given_back(self, card: Card) -> None: ...

    async def prove(self, user_id: UUID, card_id: UUID, minor: int, limits: CardLimits, now_ms: int, who: str) -> Card:
        """The card as it is afterwards: ACTIVE, and the default if there was none; or with a try less; or FAILED.

        Raises Missing, or NotPossible for one that is not PENDING or whose time is over.
        """

    async def set_default(self, user_id: UUID, card_id: UUID, who: str) -> Card:
        """Raises Missing, NotPossible (not ACTIVE)."""

    async def remove(self, user_id: UUID, card_id: UUID, now_ms: int, who: str) -> Card:
        """As it is now. Raises Missing."""

    async def needs(self, token: str) -> bool:
        """Whether a card that is live, or FAILED and still counted, has that token."""

    async def forget_token(self, card: Card) -> None: ...

    async def open(self, now_ms: int, limits: CardLimits, limit: int) -> Sequence[Card]:
        """Cards with something to be ended: not given back for a minute, PENDING past its time, REMOVED or long FAILED
        with a token.
        """
