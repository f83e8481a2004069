"""A PAN at rest: found by a keyed hash, sealed under a data key of its requester and period."""

from collections.abc import Sequence

from switch.domain.payment_token import PaymentToken, Refusal
from switch.domain.sensitive import Pan
from switch.ports import DataKey, Hsm, StoredToken, TokenStore
from switch.vault.answers import values_of, verdicts_of
from switch.vault.settings import VaultSettings


class Sealing:
    def __init__(self, hsm: Hsm, store: TokenStore, settings: VaultSettings) -> None:
        self._hsm = hsm
        self._store = store
        self._settings = settings

    async def hashes(self, requester: str, pans: Sequence[Pan]) -> list[bytes]:
        """HMAC-SHA-256 over requester and PAN: with two requesters a PAN has nothing in common."""
        key = self._settings.hash_key
        return values_of(await self._hsm.keyed_hashes([(key, f"{requester}|{pan.reveal()}".encode()) for pan in pans]))

    async def data_key(self, requester: str, now_ms: int) -> DataKey:
        """The data key of this requester and time; made if it is the first of its period."""
        period = now_ms // self._settings.data_key_period_ms
        found = await self._store.data_key(requester, period)
        if found is not None:
            return found
        label = self._settings.wrapping_key
        [wrapped] = values_of(await self._hsm.run("make_data_keys", [(label,)]))
        return await self._store.keep_data_key(DataKey(requester, period, label, wrapped), now_ms)

    async def seal(self, data_key: DataKey, drafts: Sequence[tuple[PaymentToken, bytes, Pan]]) -> list[StoredToken]:
        """(token, PAN's hash, PAN) -> what is stored."""
        items = [
            (data_key.wrapping_key, data_key.wrapped, pan.reveal().encode(), _bound_to(token, pan_hash))
            for token, pan_hash, pan in drafts
        ]
        boxes = values_of(await self._hsm.run("seal_with_data_keys", items))
        return [
            StoredToken(token, pan_hash, box, data_key) for (token, pan_hash, _), box in zip(drafts, boxes, strict=True)
        ]

    async def open(self, stored: Sequence[StoredToken]) -> list[Pan | Refusal]:
        """BROKEN where the row is not the one that was written: another's PAN, hash, number or last four digits."""
        items = [
            (each.data_key.wrapping_key, each.data_key.wrapped, each.sealed_pan, _bound_to(each.token, each.pan_hash))
            for each in stored
        ]
        clear = verdicts_of(await self._hsm.run("unseal_with_data_keys", items)) if items else []
        return [_opened(each, box) for each, box in zip(stored, clear, strict=True)]


def _opened(stored: StoredToken, clear: bytes | Refusal) -> Pan | Refusal:
    if isinstance(clear, Refusal):
        return clear
    pan = clear.decode()
    return Pan(pan) if pan.endswith(stored.token.last_four) and stored.token.last_four else Refusal.BROKEN


def _bound_to(token: PaymentToken, pan_hash: bytes) -> bytes:
    """Associated data. A requester's name has no `|`."""
    return f"payment token 1|{token.requester}|{token.digits}|".encode() + pan_hash
