"""Takes over what other processes change in a token's keys, while they are in use here."""

import asyncio
import logging
from typing import Final

from hsm.errors import HsmError
from hsm.keys import KeyStore

log = logging.getLogger("hsm")

WATCH_INTERVAL_S: Final = 0.5


class KeyWatch:
    """Reloads a store in a thread, when it is asked to and when the file of keys changed."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._reloading = asyncio.Lock()

    async def reload(self) -> None:
        """Take over what others stored. One at a time: who comes while one runs wants to see what came after it began.

        Raises HsmError; the keys in use stay.
        """
        async with self._reloading:
            await asyncio.to_thread(self._store.reload)

    async def reload_or_log(self, reason: str) -> None:
        """As `reload`; a failure is logged and tried again by the watch."""
        try:
            await self.reload()
        except (HsmError, OSError) as error:
            log.error("keys are not reloaded (%s): %s", reason, error)
        else:
            log.info("keys are reloaded: %s", reason)

    async def watch(self) -> None:
        """Reload whenever the file of keys changed. Until cancelled."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._store.changed():
                await self.reload_or_log("another process changed them")
