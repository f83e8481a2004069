"""Payouts' account numbers: sealed wherever they are kept, opened for the payout file."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from switch.domain.refusals import NotPossible
from switch.ports import Hsm, hsm_is_away
from switch.store.merchants import SEAL_KEY
from switch.store.sessions import Sessions

_SEALED: Final = "SELECT merchant_id, sealed_number FROM settlement_payouts WHERE batch_id = $1"


class PayoutNumbers:
    """Raises the HSM's error while it is away. Asks it outside of every transaction."""

    def __init__(self, sessions: Sessions, hsm: Hsm) -> None:
        self._sessions = sessions
        self._hsm = hsm

    async def sealed(self, batch_id: UUID, numbers: Mapping[str, str]) -> dict[str, bytes]:
        """numbers: by merchant."""
        items = [(SEAL_KEY, number.encode(), bound_to(each, batch_id)) for each, number in numbers.items()]
        return _whole(list(numbers), await self._hsm.seal(items), "be sealed")

    async def opened(self, batch_id: UUID) -> dict[str, str]:
        """Of the batch's payouts, by merchant. Raises NotPossible where one is not what was sealed for its payout."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_SEALED, batch_id))
        items = [(SEAL_KEY, row["sealed_number"], bound_to(row["merchant_id"], batch_id)) for row in rows]
        clear = _whole([row["merchant_id"] for row in rows], await self._hsm.unseal(items), "be opened")
        return {merchant_id: number.decode() for merchant_id, number in clear.items()}


def bound_to(merchant_id: str, batch_id: UUID) -> bytes:
    """The associated data: it opens in no other payout, and not as a merchant's account (`merchants.sealed_with`)."""
    return f"payout/{merchant_id}/{batch_id}".encode()


def _whole(merchant_ids: list[str], results: list[bytes | Exception], what: str) -> dict[str, bytes]:
    values = {}
    for merchant_id, result in zip(merchant_ids, results, strict=True):
        if isinstance(result, Exception):
            if hsm_is_away(result):
                raise result
            name = type(result).__name__
            raise NotPossible(f"the account number of {merchant_id} cannot {what} ({name}): ask an engineer")
        values[merchant_id] = result
    return values
