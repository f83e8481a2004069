"""The benchmark in small: the feed finds all of it, and the second look finds nothing."""

import asyncpg

from benchmarks import feed
from switch.store.embedded import EmbeddedPostgres


async def test_a_small_run_fills_the_page(postgres_server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres_server.dsn("postgres"))
    await connection.execute("CREATE DATABASE bench_feed")
    await connection.close()
    figures = await feed.measure(postgres_server.dsn("bench_feed"), 300)
    assert 300 < figures.events < 340
    assert "| catching up |" in feed.page(figures)
