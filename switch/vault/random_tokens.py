"""Random tokens: a row for each, one live token per requester and PAN."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from switch.domain.payment_token import PaymentToken, Refusal, TokenState, is_pan_shaped, is_token, random_token
from switch.domain.sensitive import Pan
from switch.ports import StoredToken, TokenStore
from switch.vault.sealing import Sealing
from switch.vault.settings import VaultSettings

TRIES: Final = 8
"""Numbers drawn for a PAN. Of 12 digits, the fewest, ten million numbers are there for a requester."""


class RandomTokens:
    def __init__(
        self, store: TokenStore, sealing: Sealing, settings: VaultSettings, entropy: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._sealing = sealing
        self._settings = settings
        self._entropy = entropy

    async def tokenize(self, requester: str, pans: Sequence[Pan], now_ms: int) -> list[PaymentToken | Refusal]:
        """The live token of each PAN, made where there is none. NOT_A_PAN, BROKEN, EXHAUSTED."""
        by_hash, hashes = await self._by_hash(requester, pans)
        done = await self._live(requester, by_hash)
        for _ in range(TRIES):
            missing = {each: pan for each, pan in by_hash.items() if each not in done}
            if not missing:
                break
            done |= await self._insert(requester, missing, now_ms)
            # Where another was faster its token stands; where the number was taken the next round draws anew.
            lost = {each: pan for each, pan in missing.items() if each not in done}
            done |= await self._live(requester, lost)
        return [Refusal.NOT_A_PAN if each is None else done.get(each, Refusal.EXHAUSTED) for each in hashes]

    async def look_up(self, requester: str, pans: Sequence[Pan]) -> list[PaymentToken | Refusal]:
        """The live token of each PAN. NOT_A_PAN, BROKEN, UNKNOWN."""
        by_hash, hashes = await self._by_hash(requester, pans)
        done = await self._live(requester, by_hash)
        return [Refusal.NOT_A_PAN if each is None else done.get(each, Refusal.UNKNOWN) for each in hashes]

    async def _by_hash(self, requester: str, pans: Sequence[Pan]) -> tuple[dict[bytes, Pan], list[bytes | None]]:
        """Each PAN once, and for every item its hash, or None if it is no PAN."""
        good = [is_pan(pan) for pan in pans]
        hashes = iter(
            await self._sealing.hashes(requester, [pan for pan, fits in zip(pans, good, strict=True) if fits])
        )
        of_item = [next(hashes) if fits else None for fits in good]
        return {each: pan for each, pan in zip(of_item, pans, strict=True) if each is not None}, of_item

    async def _live(self, requester: str, by_hash: Mapping[bytes, Pan]) -> dict[bytes, PaymentToken | Refusal]:
        """Rows are opened before they are believed: whoever writes to the table cannot give a PAN another's token."""
        if not by_hash:
            return {}
        found = [each for each in await self._store.find_live(requester, list(by_hash)) if each is not None]
        return {
            stored.pan_hash: stored.token if opened == by_hash[stored.pan_hash] else Refusal.BROKEN
            for stored, opened in zip(found, await self._sealing.open(found), strict=True)
        }

    async def _insert(
        self, requester: str, missing: Mapping[bytes, Pan], now_ms: int
    ) -> dict[bytes, PaymentToken | Refusal]:
        data_key = await self._sealing.data_key(requester, now_ms)
        drafts = [(self._draft(requester, pan.reveal(), now_ms), each, pan) for each, pan in missing.items()]
        sealed: list[StoredToken] = await self._sealing.seal(data_key, drafts)
        inserted = await self._store.insert(sealed)
        return {each.pan_hash: each.token for each, is_new in zip(sealed, inserted, strict=True) if is_new}

    def _draft(self, requester: str, pan: str, now_ms: int) -> PaymentToken:
        digits = random_token(len(pan), self._settings.random_prefix, self._entropy)
        return PaymentToken(requester, digits, TokenState.ACTIVE, pan[-4:], now_ms)


def is_pan(pan: Pan) -> bool:
    """A token is none: it is not tokenized again."""
    return is_pan_shaped(pan.reveal()) and not is_token(pan.reveal())
