"""The HSM in the caller's own process: the commands of `ports.Hsm` by shape, over lists.

The symmetric commands take microseconds and run inline: an executor's hop would cost ten times as much. RSA takes half
a millisecond and runs in two threads. Each command also exists synchronously (`…_now`) for code that is not async.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from hsm import _core
from hsm.errors import HsmUnavailable, InvalidCommand
from hsm.keys import KeyStore, KeyUsage
from hsm.token import open_token

SIGNING_THREADS: Final = 2
"""SoftHSM does not scale over threads; the second one covers for the first while that waits for a processor."""


class DirectHsm:
    """Commands over the keys of a store. Items that fail yield an `HsmError` in their place; a bug raises."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self._token = store.token.core
        self._keys = store.keys
        self._closed = False
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="hsm-sign")

    @classmethod
    def open(cls, directory: str | os.PathLike[str], module_path: str | os.PathLike[str] | None = None) -> "DirectHsm":
        """Open the token of a directory and load its keys; `close` ends both. Raises HsmUnavailable."""
        token = open_token(directory, module_path)
        try:
            return cls(KeyStore(token))
        except BaseException:
            token.close()
            raise

    def __repr__(self) -> str:
        return f"<DirectHsm {self.store!r}>"

    def close(self) -> None:
        """Finish what is running, then close the token. Safe to call twice."""
        self._closed = True
        self._threads.shutdown()
        self.store.token.close()

    def key_check_value(self, label: str) -> str:
        """KCV of a key, upper-case hex. Raises KeyNotFound."""
        return self.store.find(label).kcv

    def public_key(self, label: str) -> bytes:
        """PEM of a signing key's public half. Raises KeyNotFound, KeyUsageError."""
        return self.store.public_key(label)

    # --- commands -----------------------------------------------------------------------------------------------------

    def translate_pins_now(self, items: Sequence[tuple[str, int, str, int, bytes, str]]) -> list[bytes | Exception]:
        """(source key, source format, target key, target format, block, PAN digits) -> block under the target key.

        Formats: see `commands.PIN_FORMATS`. PAN: 12 to 19 digits; "" only from format 1 to format 1.
        """
        return _core.translate_pins(self._token, self._keys, items)

    async def translate_pins(self, items: Sequence[tuple[str, int, str, int, bytes, str]]) -> list[bytes | Exception]:
        return self.translate_pins_now(items)

    def macs_now(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
        """(key, algorithm, data) -> MAC of 8 bytes; algorithms: see `hsm.commands`."""
        return _core.macs(self._keys, items)

    async def macs(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
        return self.macs_now(items)

    def verify_macs_now(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
        """(key, algorithm, data, mac) -> None, or MacMismatch. The current key is tried, then the previous one."""
        return _core.verify_macs(self._keys, items)

    async def verify_macs(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
        return self.verify_macs_now(items)

    def sign_now(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        """(key, data) -> RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), 256 bytes. Half a millisecond an item."""
        return _core.sign(self._token, self._keys, items)

    async def sign(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        """As `sign_now`, in threads: the list is shared out among them."""
        if self._closed:
            raise HsmUnavailable("the HSM is closed")
        loop = asyncio.get_running_loop()
        shares = [items[start::SIGNING_THREADS] for start in range(min(SIGNING_THREADS, len(items)))]
        signed = await asyncio.gather(*(loop.run_in_executor(self._threads, self.sign_now, each) for each in shares))
        results: list[bytes | Exception] = [b""] * len(items)
        for start, share in enumerate(signed):
            results[start::SIGNING_THREADS] = share
        return results

    def seal_now(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        """(key, bytes, associated data) -> nonce (12) ‖ ciphertext ‖ tag (16), AES-256-GCM."""
        return _core.seal(self._token, self._keys, items)

    async def seal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return self.seal_now(items)

    def unseal_now(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        """(key, sealed, associated data) -> bytes, or MacMismatch."""
        return _core.unseal(self._token, self._keys, items)

    async def unseal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return self.unseal_now(items)

    def keyed_hashes_now(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        """(key, data) -> HMAC-SHA-256 (FIPS 198-1), 32 bytes."""
        return _core.keyed_hashes(self._token, self._keys, items)

    async def keyed_hashes(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        return self.keyed_hashes_now(items)

    # --- working keys -------------------------------------------------------------------------------------------------

    async def import_working_key(self, label: str, usage: str, under: str, wrapped: bytes) -> str:
        """Unwrap a DES key (ECB under `under`) and keep it as pending; returns its KCV. usage: a `KeyUsage`'s name.

        Writes and syncs a file (milliseconds), so it runs in a thread. Until `activate_working_key` the new key is
        `label?pending` to `macs` and `verify_macs`. Raises KeyNotFound, KeyUsageError, InvalidCommand.
        """
        try:
            wanted = KeyUsage(usage)
        except ValueError:
            raise InvalidCommand(f"no key usage is called {usage[:32]}") from None
        return await asyncio.to_thread(self.store.import_working_key, label, wanted, under, wrapped)

    async def activate_working_key(self, label: str) -> None:
        """The pending key becomes current, the current one previous. Raises KeyNotFound if nothing is pending."""
        await asyncio.to_thread(self.store.activate_working_key, label)
