"""Recovery codes: ten, each once, in place of a second factor that is lost."""

from collections.abc import Callable
from typing import Final

from switch.domain.account import Account, AlertKind
from switch.domain.refusals import NotProved
from switch.users.messages import Alerts
from switch.users.world import World, change

_COUNT: Final = 10
_LENGTH: Final = 10
# Crockford's base 32: no I, L, O, U. Ten of them are 50 bits, and tries are few.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans("ILO", "110", " -")


class Recovery:
    def __init__(self, world: World, alerts: Alerts) -> None:
        self._world = world
        self._alerts = alerts

    async def new_codes(self, account: Account) -> tuple[list[str], list[bytes]]:
        """(as they are shown, once; as they are kept)."""
        codes = [_new_code(self._world.entropy) for _ in range(_COUNT)]
        owner = account.id.bytes
        hashes = await self._world.seals.hashes("recovery", [owner + each.encode() for each in codes])
        return [f"{each[:5]}-{each[5:]}" for each in codes], hashes

    async def prove(self, account: Account, code: str, address: str) -> None:
        """Uses the code up, and tells the user. Raises NotProved."""
        plain = code.upper().translate(_READ_AS)
        if not account.has_second_factor or len(plain) != _LENGTH or not set(plain) <= set(_ALPHABET):
            raise NotProved("the recovery code is not right")
        code_hash = await self._world.seals.hash("recovery", account.id.bytes + plain.encode())
        entry = change(account.id, "UseRecoveryCode", before={"code": "unused"}, after={"code": "used"})
        if not await self._world.stores.factors.use_recovery(account.id, code_hash, entry):
            raise NotProved("the recovery code is not right")
        await self._alerts.tell(account, AlertKind.RECOVERY_CODE_USED, address)


def _new_code(entropy: Callable[[int], bytes]) -> str:
    bits = int.from_bytes(entropy(7), "big")
    return "".join(_ALPHABET[bits >> 5 * place & 31] for place in range(_LENGTH))
