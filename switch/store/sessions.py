"""Work on a pooled connection: replayed where the database asks for it, and otherwise sure or `StoreUnavailable`."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from switch.ports import StoreUnavailable

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    # asyncpg's classes are generic in its stubs only.
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

T = TypeVar("T")

# 40001 and 40P01: the transaction had no effect and may be run again (DESIGN 4).
REPLAYED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

# A migration changed what this connection had cached: another connection will do.
_OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)

# The database is not there, is shutting down, is full, is a standby, does not let us in, or hangs.
UNAVAILABLE = (
    asyncpg.PostgresConnectionError,  # 08
    asyncpg.ReadOnlySQLTransactionError,  # 25006
    asyncpg.InvalidAuthorizationSpecificationError,  # 28
    asyncpg.InvalidCatalogNameError,  # 3D000
    asyncpg.InsufficientResourcesError,  # 53, disk full among them
    asyncpg.LockNotAvailableError,  # 55P03
    asyncpg.OperatorInterventionError,  # 57
    asyncpg.PostgresSystemError,  # 58
    asyncpg.InternalServerError,  # XX, corrupt data among them
    asyncpg.InterfaceError,  # the connection or the pool was closed under us
    OSError,  # TimeoutError is one
)


class Retry(Exception):
    """Raised by work that met a race which a second run will see: its transaction rolls back and runs again."""


class Sessions:
    """Runs units of work on connections of `pool`.

    Work must be replayable: it does no I/O but the database's and changes nothing outside before it returns.
    """

    def __init__(self, pool: Pool, acquire_timeout_s: float = 2.0, replays: int = 8) -> None:
        self._pool = pool
        self._acquire_timeout_s = acquire_timeout_s
        self._replays = replays

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """One statement, a transaction by itself. Raises StoreUnavailable unless its effect is sure."""
        reason: BaseException | None = None
        for _ in range(self._replays):
            try:
                return await self._once(work)
            except (*REPLAYED, *_OUTDATED, Retry) as error:
                reason = error
            except UNAVAILABLE as error:
                if isinstance(error, ValueError):  # asyncpg refused an argument: a bug, not an outage
                    raise
                raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        raise StoreUnavailable(f"gave up after {self._replays} replays: {reason}") from reason

    async def transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Several statements in one transaction (read committed: rows that decide are locked, FOR UPDATE)."""

        async def within(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(within)

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.acquire(timeout=self._acquire_timeout_s) as connection:
            try:
                return await work(connection)
            except (TimeoutError, *_OUTDATED):
                # Asking a hung server to cancel would hang as well: the connection is given up.
                connection.terminate()
                raise
