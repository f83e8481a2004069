import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from transaction_scene import Road, Scene, StillClock

from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.token import create_token
from switch.merchants.page_tokens import TOKEN_KEY
from switch.merchants.webhooks import SEAL_KEY
from switch.store.journal import PostgresJournal

_OURS = (
    *("journal_events", "feed_cursors", "merchant_transactions", "merchant_refunds", "refund_limits", "refund_days"),
    *("webhook_endpoints", "webhook_deliveries", "webhook_attempts", "webhook_alerts"),
)


@pytest.fixture(scope="session")
def merchants_token_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_token(tmp_path_factory.mktemp("merchants") / "token")


@pytest.fixture(scope="module")
def hsm(merchants_token_directory: Path) -> Iterator[DirectHsm]:
    hsm = DirectHsm.open(merchants_token_directory)
    hsm.store.ensure(TOKEN_KEY, KeyUsage.HASHING)
    hsm.store.ensure(SEAL_KEY, KeyUsage.SEALING)
    yield hsm
    hsm.close()


@pytest.fixture
def clock() -> StillClock:
    """Stands at the database's time, by which the feed's messages are due."""
    return StillClock(int(time.time() * 1000))


@pytest.fixture
async def scene(database: asyncpg.Pool, clock: StillClock) -> Scene:
    for table in _OURS:
        await database.execute(f"DELETE FROM {table}")
    return Scene("M" + secrets.token_hex(5), database, clock, PostgresJournal(database))


@pytest.fixture
def road(scene: Scene) -> Road:
    return Road(scene.journal, scene.clock)
