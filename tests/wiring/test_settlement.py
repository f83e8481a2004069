"""The wiring of settlement: the ledger follows, and the service stands behind its roles."""

import asyncio
from typing import Any

import asyncpg
from books import SHOP, Books, WholeFeed
from pydantic import SecretStr

from switch.config import Settings
from switch.ops.lifecycle import Lifecycle
from switch.store.embedded import EmbeddedPostgres
from switch.wiring.platform import Platform
from switch.wiring.settlement import dsn_of, open_settlement_with


async def test_it_follows_until_it_is_closed(database: asyncpg.Pool, postgres_dsn: str) -> None:
    books = Books(database, postgres_dsn)
    await books.empty()
    books.merchants.sign()
    nothing: Any = None  # of the HSM and of the road it asks nothing
    lifecycle = Lifecycle(grace_s=0)
    settings = Settings(postgres_url=SecretStr(postgres_dsn))
    platform = Platform(settings, lifecycle, database, "", nothing, books.clock, nothing, books.merchants, {})
    [served] = open_settlement_with(platform, WholeFeed())
    assert served.service.full_name == "payswitch.v1.SettlementService"
    assert all(callable(getattr(served.servicer, each.name)) for each in served.service.methods)
    await books.feed_in(books.event(amount=10_000))
    for _ in range(200):
        if await books.balance(merchant_id=SHOP):
            break
        await asyncio.sleep(0.05)
    assert await books.balance() == -9_940
    lifecycle.stop("done")
    await lifecycle.run()
    await books.feed_in(books.event(amount=10_000))
    await asyncio.sleep(0)
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "feed ledger"]
    await books.empty()


def test_heavy_reading_finds_the_embedded_database(tmp_path: Any) -> None:
    settings = Settings(state_dir=tmp_path)
    assert dsn_of(settings) == EmbeddedPostgres(tmp_path / "postgres").dsn()
    assert dsn_of(Settings(postgres_url=SecretStr("postgresql://db/x"))) == "postgresql://db/x"
