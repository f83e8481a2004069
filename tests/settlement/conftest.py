"""Payments of yesterday in a real journal, a clock that tests set, and connections of one's own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest
from settlement_books import NOON_MS, TABLES, SetClock
from settlement_books import sell as insert_sale

from switch.store.sessions import Connection


@pytest.fixture
def clock() -> SetClock:
    """Noon of the day after DAY."""
    return SetClock(NOON_MS + 86_400_000)


@pytest.fixture
async def books(database: asyncpg.Pool) -> asyncpg.Pool:
    """The pool, every table of settlement empty."""
    for table in TABLES:
        await database.execute(f"DELETE FROM {table}")
    return database


@pytest.fixture
def connect(postgres_dsn: str) -> Callable[[], AbstractAsyncContextManager[Connection]]:
    @asynccontextmanager
    async def connection() -> AsyncIterator[Connection]:
        opened = await asyncpg.connect(postgres_dsn)
        try:
            yield opened
        finally:
            await opened.close()

    return connection


@pytest.fixture
def sell(books: asyncpg.Pool) -> Callable[..., Any]:
    """`settlement_books.sell` into `books`."""
    return partial(insert_sale, books)
