"""The benchmark in small, on the tests' own server: it does what it measures, and the ledger holds afterwards."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from benchmarks import settlement
from benchmarks.processor import postmaster_of
from switch.store.embedded import EmbeddedPostgres


@pytest.fixture
async def dsn(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database of its own on the session's server."""
    connection = await asyncpg.connect(postgres_server.dsn("postgres"))
    await connection.execute("DROP DATABASE IF EXISTS bench_settlement")
    await connection.execute("CREATE DATABASE bench_settlement")
    yield postgres_server.dsn("bench_settlement")
    await connection.execute("DROP DATABASE bench_settlement WITH (FORCE)")
    await connection.close()


async def test_a_small_day_is_followed_closed_settled_and_checked(dsn: str) -> None:
    figures = await settlement.run(dsn, await postmaster_of(dsn), payments=1_000, merchants=20)
    assert figures.events == 1_060
    page = figures.page()
    for step in ("follow", "close", "settle", "check"):
        assert f"| {step} | " in page
    connection = await asyncpg.connect(dsn)
    sums = await connection.fetchrow("SELECT count(DISTINCT transaction_id), sum(amount_minor) FROM ledger_entries")
    states = await connection.fetch("SELECT DISTINCT state FROM settlement_payouts")
    await connection.close()
    # The day's, and two postings for each merchant that was paid out.
    assert tuple(sums or ()) == (1_060 + 40, 0)
    assert [row["state"] for row in states] == [3]
