"""`payswitch simulators` as strangers use it, without a switch: started once for all tests that leave it as it is."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from alone import Alone, Control


@pytest.fixture(scope="session")
def client_config() -> Iterator[dict[str, Any]]:
    """The content of their --client-config."""
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
