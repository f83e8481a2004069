"""The wiring of the wallet: cards in the vault, payment codes and handovers on the road, and their services."""

from collections.abc import Sequence
from typing import Final

from switch.domain.payment_token import PaymentToken, Refusal, TokenState
from switch.domain.sensitive import Pan
from switch.vault.roles import Caller, Role
from switch.vault.vault import Vault

REQUESTER: Final = "wallet"
_WALLET: Final = Caller(REQUESTER, Role.REQUESTER)
_ROAD: Final = Caller("wallet", Role.PAYMENTS)
_KEEPER: Final = Caller("wallet", Role.OPERATOR)


class WalletVault:
    """Meets `switch.users.code_store.CardNumbers`: the vault's tokens of the requester "wallet"."""

    def __init__(self, vault: Vault, max_batch: int = 256) -> None:
        self._vault = vault
        self._max_batch = max_batch

    async def token_of(self, pan: Pan) -> str:
        [token] = await self._vault.tokenize(_WALLET, REQUESTER, [pan])
        if isinstance(token, Refusal):
            raise ValueError(f"the vault refuses the card: {token}")
        return token.digits

    async def reveal(self, tokens: Sequence[str], reason: str) -> list[Pan | None]:
        found: list[Pan | None] = []
        for first in range(0, len(tokens), self._max_batch):
            part = tokens[first : first + self._max_batch]
            pans = await self._vault.detokenize(_ROAD, REQUESTER, part, reason)
            found += [pan if isinstance(pan, Pan) else None for pan in pans]
        return found

    async def is_active(self, token: str) -> bool:
        [shown] = await self._vault.show(_WALLET, REQUESTER, [token])
        return isinstance(shown, PaymentToken) and shown.state is TokenState.ACTIVE

    async def suspend(self, token: str) -> None:
        await self._vault.set_state(_KEEPER, REQUESTER, [token], TokenState.SUSPENDED)

    async def reactivate(self, token: str) -> None:
        await self._vault.set_state(_KEEPER, REQUESTER, [token], TokenState.ACTIVE)

    async def erase(self, token: str) -> None:
        await self._vault.set_state(_KEEPER, REQUESTER, [token], TokenState.DELETED)
