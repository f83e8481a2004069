"""The benchmark in small: that the roll-ups say what the events say, and that it says what it measured."""

import asyncpg

from benchmarks import analytics
from switch.store.embedded import EmbeddedPostgres


async def test_a_small_run_fills_the_page(postgres_server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres_server.dsn("postgres"))
    await connection.execute("CREATE DATABASE bench_analytics")
    await connection.close()
    figures = await analytics.measure(postgres_server.dsn("bench_analytics"), 4_000, 2)
    said = analytics.page(figures)
    assert said.startswith("4,000 events")
    for question in ("sums, month", "by terminal (300), year", "payers, year", "peak hours, month"):
        assert f"| {question} |" in said
