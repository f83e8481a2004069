"""The user service on a real token, a real PostgreSQL and Redis, with a clock that stands until it is moved.

One for each module: its tests use people that no other test has. What a test leaves behind is only a later clock.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from people_scene import Scene, open_scene

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.store.embedded import EmbeddedPostgres, EmbeddedRedis
from switch.store.pool import create_pool

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests here run on the loop of their module, as the scene does."""
    for item in items:
        if item.path.is_relative_to(HERE) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres_server: EmbeddedPostgres, redis_server: EmbeddedRedis, hsm: DirectHsm) -> AsyncIterator[Scene]:
    pool = await create_pool(postgres_server.dsn(), size=4)
    scene = await open_scene(pool, redis_server.url(), hsm)
    yield scene
    await scene.close()
    await pool.close()
