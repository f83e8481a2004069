"""The HSM in the caller's own process: the commands of `ports.Hsm` by shape, over lists.

The symmetric commands take microseconds and run inline: an executor's hop would cost ten times as much. RSA takes half
a millisecond and runs in two threads. `run` reaches every command of `hsm.commands`.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from hsm.commands import COMMANDS, SLOW, Context
from hsm.errors import HsmUnavailable, InvalidCommand
from hsm.failure_budget import FailureBudgets
from hsm.guard import DEFAULT_LIMITS, Guard, GuardLimits
from hsm.keys import KeyStore, KeyUsage
from hsm.token import open_token

SIGNING_THREADS: Final = 2
"""SoftHSM does not scale over threads; the second one covers for the first while that waits for a processor."""


class DirectHsm:
    """Commands over the keys of a store. Items that fail yield an `HsmError` in their place; a bug raises."""

    def __init__(self, store: KeyStore, limits: GuardLimits = DEFAULT_LIMITS) -> None:
        self.store = store
        self.context = Context(store.token.core, store.keys, Guard(limits), FailureBudgets(limits))
        self._closed = False
        self._threads = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="hsm-sign")

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike[str],
        module_path: str | os.PathLike[str] | None = None,
        limits: GuardLimits = DEFAULT_LIMITS,
    ) -> "DirectHsm":
        """Open the token of a directory and load its keys; `close` ends both. Raises HsmUnavailable."""
        token = open_token(directory, module_path)
        try:
            return cls(KeyStore(token), limits)
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

    async def public_key(self, label: str) -> bytes:
        """PEM of a signing key's public half. Raises KeyNotFound, KeyUsageError."""
        return self.store.public_key(label)

    # --- commands -----------------------------------------------------------------------------------------------------

    def run_now(self, command: str, items: Sequence[Any]) -> list[Any]:
        """Run a command of `hsm.commands.COMMANDS` in this thread. Raises InvalidCommand if it has none."""
        function = COMMANDS.get(command)
        if function is None:
            raise InvalidCommand(f"there is no command {command[:32]}")
        return function(self.context, items)

    async def run(self, command: str, items: Sequence[Any]) -> list[Any]:
        """As `run_now`; what is slow runs in threads, the list shared out among them."""
        if command not in SLOW:
            return self.run_now(command, items)
        if self._closed:
            raise HsmUnavailable("the HSM is closed")
        loop = asyncio.get_running_loop()
        shares = [items[start::SIGNING_THREADS] for start in range(min(SIGNING_THREADS, len(items)))]
        done = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self.run_now, command, each) for each in shares)
        )
        results: list[Any] = [None] * len(items)
        for start, share in enumerate(done):
            results[start::SIGNING_THREADS] = share
        return results

    # --- those of the road, typed: `hsm.commands` says what they take and give ---

    async def translate_pins(self, items: Sequence[tuple[str, int, str, int, bytes, str]]) -> list[bytes | Exception]:
        return self.run_now("translate_pins", items)

    async def macs(self, items: Sequence[tuple[str, str, bytes]]) -> list[bytes | Exception]:
        return self.run_now("macs", items)

    async def verify_macs(self, items: Sequence[tuple[str, str, bytes, bytes]]) -> list[Exception | None]:
        return self.run_now("verify_macs", items)

    async def sign(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        return await self.run("sign", items)

    async def seal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return self.run_now("seal", items)

    async def unseal(self, items: Sequence[tuple[str, bytes, bytes]]) -> list[bytes | Exception]:
        return self.run_now("unseal", items)

    async def keyed_hashes(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | Exception]:
        return self.run_now("keyed_hashes", items)

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
