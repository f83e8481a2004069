"""The whole product, started once for most tests; those that break servers have one of their own."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from alone import Alone, Control
from shop import WECHAT, Shop

from switch.demo.environment import Environment

# One card pays in most tests, many times a minute. Everything is logged, since the logs are searched for secrets.
# WeChat Pay takes no cancellation of a payment younger than 15 s; the tests have less patience.
_OVERRIDES = {
    "PAYSWITCH_RISK__VELOCITY_LIMIT_PER_MINUTE": "0",
    "PAYSWITCH_OPERATIONS__LOG_LEVEL": "debug",
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


@pytest.fixture(scope="session")
def client_config() -> Iterator[dict[str, Any]]:
    """The content of the --client-config of simulators that run alone, for all tests that leave them as they are."""
    with tempfile.TemporaryDirectory(prefix="payswitch-alone-") as folder:
        alone = Alone(Path(folder))
        try:
            yield alone.config()
        finally:
            code, _ = alone.end()
    assert code == 0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"User-Agent": "stranger/1"}) as session:
        yield session


@pytest.fixture
def control(client_config: dict[str, Any], session: aiohttp.ClientSession) -> Control:
    return Control(client_config["control_url"], session)
