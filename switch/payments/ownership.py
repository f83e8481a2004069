"""Who drives an authorization: this process, for as long as its lease holds (invariant 12)."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from switch.ports import ProcessLeases, StoreUnavailable

log = structlog.get_logger()


class Ownership:
    """Keeps this process's lease alive and says whether it may still send.

    A process that was paused longer than its lease, or whose database was away for so long, finds it lost: it stops
    sending and joins anew under another owner id, so that nothing it recorded before is driven by two. If its slot was
    given away meanwhile it must end, since its channels number their messages by slot (invariant 14).
    """

    def __init__(
        self,
        leases: ProcessLeases,
        name: str,
        lease_s: float,
        oldest_open_time_ms: Callable[[], int],
        slot_lost: Callable[[str], None],
    ) -> None:
        self._leases = leases
        self._name = name
        self._lease_s = lease_s
        self._oldest_open_time_ms = oldest_open_time_ms
        self._slot_lost = slot_lost
        self._valid_until_s = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._owner: UUID | None = None
        self._address = ""
        self.slot = 0

    @property
    def owner(self) -> UUID:
        if self._owner is None:
            raise StoreUnavailable("this process holds no lease")
        return self._owner

    def may_send(self) -> bool:
        """Whether the lease certainly holds. Counted from before the database was asked, so we err on the safe side."""
        return self._owner is not None and asyncio.get_running_loop().time() < self._valid_until_s

    async def join(self) -> None:
        asked_s = asyncio.get_running_loop().time()
        self._owner, self.slot = await self._leases.join(self._name)
        self._valid_until_s = asked_s + self._lease_s
        log.info("process_joined", process=self._name, slot=self.slot)

    async def announce(self, address: str) -> None:
        """Let others know where this process can be dialled, host:port; "" for nowhere (any more)."""
        self._address = address
        await self._leases.announce(self.owner, address)

    async def withdraw(self) -> None:
        """Be dialled no more: the process ends. Without a database the lease runs out by itself."""
        try:
            await self.announce("")
        except StoreUnavailable:
            log.warning("address_not_withdrawn", process=self._name)

    def start(self) -> None:
        self._beating = asyncio.create_task(self._beat_for_ever(), name="ownership")

    async def close(self) -> None:
        """Give the lease back: everything must be finished by now."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        if self._owner is not None:
            try:
                await self._leases.leave(self._owner)
            except StoreUnavailable:
                log.warning("lease_not_given_back", process=self._name)
        self._owner = None

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self._beat()
            except StoreUnavailable as error:
                log.warning("heartbeat_failed", reason=str(error))

    async def _beat(self) -> None:
        asked_s = asyncio.get_running_loop().time()
        if await self._leases.beat(self.owner, self._oldest_open_time_ms()):
            self._valid_until_s = asked_s + self._lease_s
            return
        log.error("lease_lost", process=self._name)
        self._valid_until_s = 0.0
        slot = self.slot
        await self.join()
        if self.slot != slot:
            self._valid_until_s = 0.0
            self._slot_lost(f"slot {slot} was given to another process")
        elif self._address:
            await self.announce(self._address)
