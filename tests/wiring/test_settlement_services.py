"""Reconciliation and disputes opened as a process opens them: what is served, what runs, and that it ends."""

import asyncio
from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from settlement_books import TABLES

from switch.api.guarded import access_of
from switch.config import Settings
from switch.domain.bill import Bill
from switch.ops.lifecycle import EXIT_CLEAN, Lifecycle
from switch.ports import BillNotReady
from switch.wiring.disputes import open_disputes
from switch.wiring.foundation import SystemClock
from switch.wiring.platform import Platform, Served
from switch.wiring.reconciliation import open_reconciliation


@dataclass
class Billed:
    """A channel that says when it is asked."""

    name: str
    asked: asyncio.Event

    async def bill(self, day: date) -> Bill:
        self.asked.set()
        raise BillNotReady("later")


@pytest.fixture
async def books(database: asyncpg.Pool) -> asyncpg.Pool:
    for table in TABLES:
        await database.execute(f"DELETE FROM {table}")
    return database


def platform(pool: asyncpg.Pool, dsn: str, channels: dict[str, Any], **sections: Any) -> Platform:
    nothing: Any = None
    settings = Settings(postgres_url=dsn, **sections)
    lifecycle = Lifecycle(grace_s=0)
    return Platform(settings, lifecycle, pool, "", nothing, SystemClock(), nothing, nothing, channels)


async def ended(opened: Platform) -> int:
    opened.lifecycle.stop("done")
    return await opened.lifecycle.run()


def complete(served: Served) -> bool:
    return all(access_of(each).roles and hasattr(served.servicer, each.name) for each in served.service.methods)


@pytest.mark.parametrize("daily", [True, False])
async def test_bills_are_fetched_where_the_channels_are(books: asyncpg.Pool, postgres_dsn: str, daily: bool) -> None:
    billed = Billed("pay", asyncio.Event())
    channels: dict[str, Any] = {"pay": billed, "without": SimpleNamespace(name="without")}
    opened = platform(books, postgres_dsn, channels, reconciliation={"daily": daily, "first_hour": 0})
    [served] = open_reconciliation(opened)
    assert (served.service.name, complete(served)) == ("ReconciliationService", True)
    if daily:
        await billed.asked.wait()
    assert await ended(opened) == EXIT_CLEAN
    assert billed.asked.is_set() == daily


async def test_deadlines_are_kept(books: asyncpg.Pool, postgres_dsn: str) -> None:
    await books.execute(
        "INSERT INTO disputes SELECT 'm1', gen_random_uuid(), gen_random_uuid(), 'pay', 1, 1, 'C', 1, 'CNY', 'r', 1,"
        " '', '', '', 'finance/ann', 1, 2, 0, 1"
    )
    opened = platform(books, postgres_dsn, {})
    [served] = open_disputes(opened)
    assert (served.service.name, complete(served)) == ("DisputeService", True)
    while await books.fetchval("SELECT state FROM disputes") == 1:  # noqa: ASYNC110 - a row has no event
        await asyncio.sleep(0.01)
    assert await ended(opened) == EXIT_CLEAN
