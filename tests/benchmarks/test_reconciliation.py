"""The benchmark in small: that it finds its three breaks, and says what it measured."""

import asyncpg

from benchmarks import reconciliation


async def test_a_small_run_fills_the_page(postgres_dsn: str, database: asyncpg.Pool) -> None:
    for table in ("bills", "bill_lines", "reconciliations", "breaks", "channel_fees"):
        await database.execute(f"DELETE FROM {table}")
    said = reconciliation.page(await reconciliation.measured(500, postgres_dsn, database))
    assert said.startswith("500 lines against 500 records")
    assert "AMOUNT 1, OURS_ONLY 1, THEIRS_ONLY 1, match 498" in said
    for row in ("bill kept, compared, entered", "from the kept bill", "largest resident set"):
        assert row in said
