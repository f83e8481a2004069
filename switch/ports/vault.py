"""Payment tokens, as the vault keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from switch.domain.payment_token import PaymentToken, TokenScheme, TokenState


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key of a requester and a period of time, wrapped under the HSM's key of the label `wrapping_key`."""

    requester: str
    period: int
    wrapping_key: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token with what only the vault may use. data_key: the one that `sealed_pan` is sealed with.

    pan_hash, sealed_pan: b"" of a deleted token. redeemed_counter: of the last one-time payment that was redeemed.
    """

    token: PaymentToken
    pan_hash: bytes = field(repr=False)
    sealed_pan: bytes = field(repr=False)
    data_key: DataKey
    redeemed_counter: int = 0


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """One PAN given out: to whom, in which role, for what."""

    requester: str
    id: UUID
    who: str
    role: str
    token: str
    reason: str
    time_ms: int


class TokenStore(Protocol):
    """The vault's durable truth. Every method raises StoreUnavailable if it cannot be sure. Results are in order."""

    async def scheme(self, requester: str) -> TokenScheme | None: ...

    async def keep_scheme(self, requester: str, scheme: TokenScheme) -> TokenScheme:
        """The requester's scheme: this one if it had none."""

    async def data_key(self, requester: str, period: int) -> DataKey | None: ...

    async def keep_data_key(self, fresh: DataKey, now_ms: int) -> DataKey:
        """The data key of that requester and period: this one if there was none."""

    async def find_tokens(self, requester: str, tokens: Sequence[str]) -> list[StoredToken | None]: ...

    async def find_live(self, requester: str, pan_hashes: Sequence[bytes]) -> list[StoredToken | None]:
        """Tokens by their PAN, of those that are not deleted."""

    async def insert(self, tokens: Sequence[StoredToken]) -> list[bool]:
        """False where the number was taken, or the PAN has a live token. All of one requester, no PAN twice."""

    async def move(
        self, requester: str, tokens: Sequence[str], sources: Sequence[TokenState], target: TokenState
    ) -> None:
        """To `target` those that are in one of `sources`; DELETED erases PAN, hash and last four."""

    async def next_counters(self, requester: str, tokens: Sequence[str]) -> list[int | None]:
        """A fresh counter for each, of a token named twice two; None if it is not ACTIVE or has no 65535 left."""

    async def redeem(self, redemptions: "Sequence[tuple[TokenAccess, int]]") -> list[bool]:
        """(access, counter): raise the token's redeemed counter to it and keep the access, in one transaction.

        False where the token is not ACTIVE or the counter is not above the last redeemed; of concurrent callers with
        the same counter one alone gets True. All of one requester, no token twice.
        """

    async def keep_accesses(self, accesses: Sequence[TokenAccess]) -> None: ...

    async def data_keys_not_under(self, wrapping_key: str, limit: int) -> list[DataKey]: ...

    async def rewrap(self, changes: "Sequence[tuple[DataKey, DataKey]]") -> int:
        """(before, after): replace those that still are as before; returns how many."""
