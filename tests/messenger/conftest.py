"""A user service on real servers, whose outbox is delivered; its clock stands."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from mail_server import MailServer, mail_server
from people_scene import Scene, open_scene

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token


@pytest.fixture(scope="session")
def messenger_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("messenger") / "token")


@pytest.fixture(scope="module")
def messenger_hsm(messenger_token: Path) -> Iterator[DirectHsm]:
    """A process has one token open at a time: not for longer than a module."""
    hsm = DirectHsm.open(messenger_token)
    hsm.store.ensure("users/hash", KeyUsage.HASHING)
    hsm.store.ensure("users/seal", KeyUsage.SEALING)
    yield hsm
    hsm.close()


@pytest.fixture
async def scene(database: asyncpg.Pool, redis_url: str, messenger_hsm: DirectHsm) -> AsyncIterator[Scene]:
    await database.execute("DELETE FROM user_messages")
    scene = await open_scene(database, redis_url, messenger_hsm)
    yield scene
    await scene.close()
    await database.execute("DELETE FROM user_messages")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    server = mail_server(tmp_path / "mail-pki")
    await server.start()
    yield server
    await server.close()
