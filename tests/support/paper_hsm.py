"""Sealing as the HSM does it (AES-256-GCM over data and associated data), which can be taken away."""

import os
from collections.abc import Awaitable, Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm.errors import HsmError, HsmUnavailable, KeyNotFound, MacMismatch

Item = tuple[str, bytes, bytes]


class PaperHsm:
    """down: nobody is there. ill: it answers for each item that the token is away. asked: awaited before it works."""

    def __init__(self, label: str = "merchants/seal") -> None:
        self._keys = {label: AESGCM(AESGCM.generate_key(256))}
        self.down, self.ill = False, False
        self.asked: Callable[[], Awaitable[None]] | None = None

    async def seal(self, items: Sequence[Item]) -> list[bytes | Exception]:
        return await self._answers(items, self._sealed)

    async def unseal(self, items: Sequence[Item]) -> list[bytes | Exception]:
        return await self._answers(items, self._opened)

    async def _answers(self, items: Sequence[Item], work: Callable[[Item], bytes]) -> list[bytes | Exception]:
        if self.down:
            raise HsmUnavailable("no HSM process is connected")
        if self.asked is not None:
            await self.asked()
        return [self._answer(each, work) for each in items]

    def _answer(self, item: Item, work: Callable[[Item], bytes]) -> bytes | Exception:
        try:
            if self.ill:
                raise HsmUnavailable("the token is away")
            if item[0] not in self._keys:
                raise KeyNotFound(item[0])
            return work(item)
        except HsmError as error:
            return error

    def _sealed(self, item: Item) -> bytes:
        label, data, associated = item
        nonce = os.urandom(12)
        return nonce + self._keys[label].encrypt(nonce, data, associated)

    def _opened(self, item: Item) -> bytes:
        label, sealed, associated = item
        try:
            return self._keys[label].decrypt(sealed[:12], sealed[12:], associated)
        except (InvalidTag, ValueError):
            raise MacMismatch("the tag does not verify") from None
