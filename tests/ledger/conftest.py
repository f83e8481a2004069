from collections.abc import AsyncIterator

import asyncpg
import pytest
from books import Books


@pytest.fixture
async def books(database: asyncpg.Pool, postgres_dsn: str) -> AsyncIterator[Books]:
    """Every table of the ledger and of settlement empty, before and after."""
    made = Books(database, postgres_dsn)
    await made.empty()
    yield made
    await made.empty()
