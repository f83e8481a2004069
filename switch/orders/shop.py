"""Printed codes of shops: the payer enters the amount, and an order is made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from switch.domain.authorization import Merchant
from switch.domain.merchant import MerchantState
from switch.domain.order import ShopCode
from switch.domain.refusals import Missing, NotPossible
from switch.orders.store import ShopCodeStore
from switch.ports import Clock
from switch.ports.platform import Merchants

# Where a merchant's profile names nobody, the platform acquires for it.
PLATFORM_ACQUIRER = "platform"


@dataclass(frozen=True, slots=True)
class Payee:
    """as_paid: as a payment names him."""

    as_paid: Merchant
    acquirer_id: str
    state: MerchantState


async def profile_of(merchants: Merchants, merchant_id: str) -> Payee:
    """Raises Missing."""
    profile = await merchants.profile(merchant_id)
    if profile is None:
        raise Missing("there is no such merchant")
    merchant = Merchant(profile.id, profile.name, profile.city, profile.country, profile.category_code)
    return Payee(merchant, profile.acquirer_id or PLATFORM_ACQUIRER, profile.state)


def new_id(now_ms: int, entropy: Callable[[int], bytes]) -> UUID:
    """UUIDv7 (RFC 9562 5.7): the millisecond, then 74 random bits.

    >>> str(new_id(1_700_000_000_000, lambda count: bytes(count)))
    '018bcfe5-6800-7000-8000-000000000000'
    """
    random = int.from_bytes(entropy(10), "big")
    return UUID(int=now_ms << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1)


class ShopCodes:
    def __init__(
        self, store: ShopCodeStore, merchants: Merchants, clock: Clock, entropy: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._merchants = merchants
        self._clock = clock
        self._entropy = entropy

    async def create(self, merchant_id: str, place: tuple[str, str], label: str, currency: str, by: str) -> ShopCode:
        """place: (store, terminal). Those before it stay good until they are revoked."""
        await profile_of(self._merchants, merchant_id)
        now_ms = self._clock.time_ms()
        store_id, terminal_id = place
        code = ShopCode(
            new_id(now_ms, self._entropy), merchant_id, store_id, terminal_id, label, currency, 0, by, now_ms
        )
        return await self._store.add(code)

    async def find(self, merchant_id: str, code_id: UUID) -> ShopCode:
        """Raises Missing; NotPossible for one that is revoked."""
        code = await self._store.find(merchant_id, code_id)
        if code is None:
            raise Missing("there is no such shop code")
        if code.revoked_time_ms:
            raise NotPossible("the shop code is revoked")
        return code

    async def list(self, merchant_id: str, before: UUID, limit: int) -> list[ShopCode]:
        return await self._store.list(merchant_id, before, limit)

    async def revoke(self, merchant_id: str, code_id: UUID, by: str) -> ShopCode:
        return await self._store.revoke(merchant_id, code_id, by, self._clock.time_ms())

    async def payee(self, code: ShopCode) -> Payee:
        return await profile_of(self._merchants, code.merchant_id)
