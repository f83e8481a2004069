"""The whole product, started once for most tests; those that break servers have one of their own."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from shop import WECHAT, Shop

from switch.demo.environment import Environment

# One card pays in most tests, many times a minute. Everything is logged, since the logs are searched for secrets.
# WeChat Pay takes no cancellation of a payment younger than 15 s; the tests have less patience. Nor do they wait for
# long where a slow machine made the first messages of a reversal come to nothing.
_OVERRIDES = {
    "PAYSWITCH_RISK__VELOCITY_LIMIT_PER_MINUTE": "0",
    "PAYSWITCH_OPERATIONS__LOG_LEVEL": "debug",
    "PAYSWITCH_FOLLOW_UPS__REVERSAL_BACKOFF_MAX_MS": "2000",
    "PAYSWITCH_WECHAT__REVERSAL_AFTER_MS": str(int(WECHAT.undoes_after_s * 1000) - 100),
}


async def _environment(overrides: dict[str, str]) -> AsyncIterator[Environment]:
    # Not under pytest's own directory: as root the database runs as another user, who could not enter it.
    with tempfile.TemporaryDirectory(prefix="payswitch-tests-", ignore_cleanup_errors=True) as directory:
        async with Environment(Path(directory) / "state", _OVERRIDES | overrides) as environment:
            yield environment


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def environment() -> AsyncIterator[Environment]:
    """Whole when a test gets it, and to be left whole."""
    async for each in _environment({}):
        yield each


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def breakable() -> AsyncIterator[Environment]:
    """The module's own: its servers may be stopped, its switch killed."""
    async for each in _environment({"PAYSWITCH_OPERATIONS__DRAIN_GRACE_MS": "300"}):
        yield each


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hsm_apart() -> AsyncIterator[Environment]:
    """The module's own: its HSM is in processes of its own, two and two."""
    processes = {"PAYSWITCH_HSM__MODE": "process", "PAYSWITCH_HSM__PROCESSES": "2"}
    async for each in _environment({**processes, "PAYSWITCH_HSM__SIGNING_PROCESSES": "2"}):
        yield each


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seldom_asking() -> AsyncIterator[Environment]:
    """The module's own: it asks again once in ten minutes, so that what is known sooner was notified."""
    names = ("INQUIRY_INTERVAL", "PAYER_TIMEOUT", "REVERSAL_BACKOFF_FIRST", "REVERSAL_BACKOFF_MAX")
    async for each in _environment({f"PAYSWITCH_FOLLOW_UPS__{name}_MS": "600000" for name in names}):
        yield each


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def road_alone() -> AsyncIterator[Environment]:
    """The module's own: its switch has the road, and nothing of the platform."""
    async for each in _environment({"PAYSWITCH_SERVICES": '["authorization", "operations"]'}):
        yield each


@pytest_asyncio.fixture(loop_scope="session")
async def shop(environment: Environment) -> AsyncIterator[Shop]:
    async with environment.client() as client:
        shop = Shop(environment, client)
        await shop.connected()
        yield shop
