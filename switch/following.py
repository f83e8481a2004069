"""Follows the version that the database says is in force: asks about once a second, and puts it in force here."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

from switch.domain.refusals import NotInForce
from switch.ports import StoreUnavailable

log = structlog.get_logger()


class VersionWatch:
    """A version that cannot be put in force here changes nothing: the one before goes on, and `refused` tells.

    live: the version that is to be in force. put_in_force: loads it and exchanges one reference; raises NotInForce or
    StoreUnavailable. name: of what is followed, in logs ("routing_plan"). refusals: by cause.
    """

    def __init__(
        self,
        name: str,
        live: Callable[[], Awaitable[int]],
        put_in_force: Callable[[int], Awaitable[None]],
        refusals: Counter,
        interval_s: float = 1.0,
    ) -> None:
        self.name = name
        self.version = 0
        self.refused: tuple[int, str] | None = None
        self._live = live
        self._put_in_force = put_in_force
        self._refusals = refusals
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Put the live version in force before anything is decided. Raises NotInForce, StoreUnavailable."""
        await self._exchange(await self._live())

    def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name=self.name)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()

    async def look(self) -> None:
        """Once: if another version is live, put it in force. Never raises; what was refused is not tried again."""
        version = self.version
        try:
            version = await self._live()
            if version == self.version:
                self.refused = None
            elif self.refused is None or self.refused[0] != version:
                await self._exchange(version)
        except StoreUnavailable as error:
            self._refusals.labels("store").inc()
            log.warning(f"{self.name}_not_read", reason=str(error))
        except NotInForce as error:
            self.refused = version, str(error).partition("\n")[0]
            self._refusals.labels(error.cause).inc()
            log.error(f"{self.name}_refused", version=version, cause=error.cause, reason=str(error))
        except Exception as error:  # a fault of ours: what decides now goes on deciding
            self.refused = version, type(error).__name__
            self._refusals.labels("fault").inc()
            log.exception(f"{self.name}_refused", version=version)

    async def _exchange(self, version: int) -> None:
        await self._put_in_force(version)
        self.version, self.refused = version, None
