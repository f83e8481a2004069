"""Real servers for the tests: one PostgreSQL and one Redis per session, emptied for each test that asks."""

import asyncio
import logging
import os
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis
import structlog
from hypothesis import HealthCheck, settings
from midnight import clear_of_midnight

from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis
from switch.store.migrate import migrate
from switch.store.partitions import ensure_partitions
from switch.store.pool import create_pool

__all__ = ["clear_of_midnight"]

# Tests kill servers and connections, not the machine: what fsync guards against does not happen here.
TEST_SETTINGS = {"fsync": "off", "shared_buffers": "64MB", "max_wal_size": "256MB", "min_wal_size": "80MB"}

# Everything that is dialled is on this machine: no proxy stands between, in our processes or in those that we start.
for _name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)

# How busy the machine is decides no test, and neither does luck: the same examples every time. To search for others:
# pytest --hypothesis-profile=search.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", parent=settings.get_profile("search"), derandomize=True)
settings.load_profile("same")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are numbered: some are drawn or hold the time, and each process must call a case by the same name."""
    return argname if isinstance(val, bytes) else None


def _fresh_directory() -> Iterator[Path]:
    """Not under pytest's own: as root the server runs as another user, and each pytest that starts shuts that one."""
    with tempfile.TemporaryDirectory(prefix="payswitch-tests-", ignore_cleanup_errors=True) as path:
        yield Path(path)


session_directory = pytest.fixture(_fresh_directory, scope="session", name="session_directory")
server_directory = pytest.fixture(_fresh_directory, name="server_directory")


@pytest.fixture(scope="session")
def postgres_server(session_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the session's own, with a migrated database and today's partitions."""
    server = EmbeddedPostgres(session_directory / "postgres", TEST_SETTINGS)

    async def prepare() -> None:
        dsn = await server.start()
        await migrate(dsn)
        pool = await create_pool(dsn, size=1)
        await ensure_partitions(pool, int(time.time() * 1000))
        await pool.close()

    asyncio.run(prepare())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def postgres_dsn(postgres_server: EmbeddedPostgres) -> str:
    """The DSN of the migrated database, every table empty."""
    dsn = postgres_server.dsn()
    connection = await asyncpg.connect(dsn)
    try:
        # DELETE, not TRUNCATE: for tables this small it is ten times as quick.
        await connection.execute(
            "DELETE FROM authorizations; DELETE FROM follow_ons; DELETE FROM follow_ups; DELETE FROM processes"
        )
    finally:
        await connection.close()
    return dsn


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on the migrated, empty database."""
    pool = await create_pool(postgres_dsn, size=4)
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def redis_server(session_directory: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(session_directory / "redis", memory="64mb")
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def redis_url(redis_server: EmbeddedRedis) -> str:
    """The URL of a Redis that holds nothing."""
    url = redis_server.url()
    client = redis.Redis.from_url(url)
    try:
        await client.flushall()
    finally:
        await client.aclose()
    return url


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """`logs.configure` is for a whole process; a test gives everything back."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, level, access_level, shown = root.handlers[:], root.level, access.level, warnings.showwarning
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    logging.captureWarnings(False)
    warnings.showwarning = shown
    root.handlers[:] = handlers
    root.setLevel(level)
    access.setLevel(access_level)
