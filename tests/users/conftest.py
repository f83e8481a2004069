"""The user service on a real token, a real PostgreSQL and Redis, with a clock that stands until it is moved."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from people_scene import Scene, open_scene

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token


@pytest.fixture(scope="session")
def users_token_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("users") / "token")


@pytest.fixture(scope="module")
def hsm(users_token_directory: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(users_token_directory)
    hsm.store.ensure("users/hash", KeyUsage.HASHING)
    hsm.store.ensure("users/seal", KeyUsage.SEALING)
    yield hsm
    hsm.close()


@pytest.fixture
async def scene(database: asyncpg.Pool, redis_url: str, hsm: DirectHsm) -> AsyncIterator[Scene]:
    scene = await open_scene(database, redis_url, hsm)
    yield scene
    await scene.close()
