"""Keeps issuers informed of the living switch processes, from their leases."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from switch.api.issuer_frames import Process
from switch.ports import StoreUnavailable

log = structlog.get_logger()


def process_name(owner: UUID) -> str:
    """A process as issuers know it, by the owner of its lease: one that is started anew is another.

    By its slot it would not do: an issuer that has not noticed yet that a machine is gone would take the process that
    has the slot now for the one to which it has a stream.

    >>> process_name(UUID(int=10))
    'switch-00000000000a'
    """
    return f"switch-{owner.hex[-12:]}"


class ProcessesWatch:
    """Reads who lives every `interval_s` and tells it. While the database is away, what was last read stands."""

    def __init__(
        self,
        living: Callable[[], Awaitable[Sequence[tuple[UUID, str]]]],
        tell: Callable[[Sequence[Process]], None],
        interval_s: float,
    ) -> None:
        self._living = living
        self._tell = tell
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="processes")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Read and tell once."""
        self._tell([(process_name(owner), address) for owner, address in await self._living()])

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                log.warning("processes_not_read", reason=str(error))
            await asyncio.sleep(self._interval_s)
