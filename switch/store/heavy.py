"""Connections of their own for heavy reading: planned freely, without the pool's time limits, few at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import asyncpg
from asyncpg.transaction import Transaction

from switch.domain.refusals import TooMany
from switch.ports import StoreUnavailable
from switch.store.sessions import REPLAYED, UNAVAILABLE, Connection, Retry

T = TypeVar("T")

# datestyle: a day's digest is of its text. idle_in_transaction…: a reader that stopped reading holds no snapshot.
_SETTINGS: Final = {
    "application_name": "payswitch-books",
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "work_mem": "64MB",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60000",
    "jit": "off",
}
_REPLAYS: Final = 5


class HeavyConnections:
    """most: at once. waits: whether who comes then waits, or is refused."""

    def __init__(self, dsn: str, most: int = 2, *, waits: bool = True) -> None:
        self._dsn = dsn
        self._free = asyncio.Semaphore(most)
        self._waits = waits

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Raises StoreUnavailable, also for what happens inside, and TooMany."""
        if not self._waits and self._free.locked():
            raise TooMany("too many are read at once; try again later")
        async with self._free:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=10, server_settings=_SETTINGS)
                try:
                    yield connection
                finally:
                    await _closed(connection)
            except (*UNAVAILABLE, asyncpg.IdleInTransactionSessionTimeoutError) as error:
                if isinstance(error, ValueError):  # asyncpg refused an argument: a bug, not an outage
                    raise
                raise StoreUnavailable(f"{type(error).__name__}: {error}") from error

    async def transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Replayed where the database asks for it. Raises StoreUnavailable."""
        for last in (*[False] * _REPLAYS, True):
            try:
                async with self.open() as connection, connection.transaction():
                    return await work(connection)
            except (*REPLAYED, Retry) as error:
                if last:
                    raise StoreUnavailable(f"gave up after {_REPLAYS} replays: {error}") from error
        raise AssertionError("the last one raised or returned")


def snapshot(connection: Connection) -> Transaction:
    """Reads as of one moment, and nothing else."""
    return connection.transaction(isolation="repeatable_read", readonly=True)


async def _closed(connection: Connection) -> None:
    """A statement that is still running is not waited for."""
    try:
        await connection.close(timeout=2)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
