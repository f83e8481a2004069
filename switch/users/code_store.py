"""What payment codes need to have kept."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from switch.domain.code_device import CodeClaim, CodeDevice
from switch.domain.sensitive import Pan


class CodeStore(Protocol):
    """Every method raises StoreUnavailable."""

    async def find(self, numbers: Sequence[int]) -> dict[int, CodeDevice]: ...

    async def claim(self, claims: Sequence[CodeClaim]) -> list[UUID | None]:
        """Whose each code is now: the first that claimed it, for ever. None: nobody's, and not fresh. Durable."""

    async def count_wrong(self, wrong: Mapping[int, int], now_ms: int, window_ms: int) -> None:
        """number -> how many more; a count that began before the window begins anew."""

    async def enrol(self, device: CodeDevice, who: str, now_ms: int) -> bool:
        """In place of what the device had. False: the number is taken."""

    async def withdraw(self, user_id: UUID, device_id: UUID, who: str) -> bool:
        """False: there was none."""

    async def withdraw_all(self, user_id: UUID, who: str) -> None: ...


class CardNumbers(Protocol):
    """The vault, as the wallet uses it. Raises StoreUnavailable or the HSM's error."""

    async def token_of(self, pan: Pan) -> str: ...

    async def reveal(self, tokens: Sequence[str], reason: str) -> list[Pan | None]:
        """The numbers, each with a row of the access log. None: erased or suspended."""

    async def is_active(self, token: str) -> bool: ...

    async def suspend(self, token: str) -> None: ...

    async def reactivate(self, token: str) -> None: ...

    async def erase(self, token: str) -> None:
        """Of a suspended token; for good."""
