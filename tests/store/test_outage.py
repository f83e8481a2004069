"""A database that goes away, hangs, is full or refuses: StoreUnavailable, soon, and back again when it is back."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from switch.domain.authorization import Authorization
from switch.ports import StoreUnavailable
from switch.store.embedded import EmbeddedPostgres
from switch.store.journal import PostgresJournal
from switch.store.leases import PostgresLeases
from switch.store.migrate import migrate
from switch.store.pool import create_pool
from switch.store.sessions import Connection, Retry, Sessions


@pytest.fixture
async def server(server_directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server of this test's own, to be mistreated."""
    server = EmbeddedPostgres(server_directory / "pg", {"fsync": "off", "shared_buffers": "16MB"})
    await migrate(await server.start())
    yield server
    await server.stop()


# Longer than any machine takes; what is refused sooner is refused since the database is not there.
PATIENCE_S = 20.0


async def patient(server: EmbeddedPostgres) -> tuple[asyncpg.Pool, PostgresJournal]:
    pool = await create_pool(server.dsn(), size=2, command_timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S)
    return pool, PostgresJournal(pool, acquire_timeout_s=PATIENCE_S)


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.directory / "data" / "postmaster.pid").read_text().splitlines()[0])


async def test_stopped_then_back(server: EmbeddedPostgres, make_intent_for: Callable[[object], Authorization]) -> None:
    pool, journal = await patient(server)
    owner, _ = await PostgresLeases(pool, lease_s=600).join("test")
    first, second = make_intent_for(owner), make_intent_for(owner)
    await journal.record_intents([first])
    await server.stop()
    started_s = time.monotonic()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await journal.record_intents([second])
    assert time.monotonic() - started_s < PATIENCE_S
    await server.start()
    assert await journal.record_intents([first, second]) == [first, None]
    await pool.close()


async def test_a_hung_server_does_not_hang_its_caller(
    server: EmbeddedPostgres, make_intent_for: Callable[[object], Authorization]
) -> None:
    pool = await create_pool(server.dsn(), size=1, command_timeout_s=1.0, connect_timeout_s=1.0)
    journal = PostgresJournal(pool, acquire_timeout_s=1.5)
    owner, _ = await PostgresLeases(pool, lease_s=600).join("test")
    stopped = [postmaster(server), await pool.fetchval("SELECT pg_backend_pid()")]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            started_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await journal.record_intents([make_intent_for(owner)])
            assert time.monotonic() - started_s < PATIENCE_S
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    patient_journal = PostgresJournal(pool, acquire_timeout_s=PATIENCE_S)
    assert await patient_journal.record_intents([make_intent_for(owner)]) == [None]
    await pool.close()


async def test_killed_in_the_middle_it_replays_its_log(
    server: EmbeddedPostgres, make_intent_for: Callable[[object], Authorization]
) -> None:
    pool, journal = await patient(server)
    owner, _ = await PostgresLeases(pool, lease_s=600).join("test")
    intent = make_intent_for(owner)
    await journal.record_intents([intent])
    os.kill(postmaster(server), signal.SIGKILL)  # its backends see it and go

    async def find_until_it_fails() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:  # a backend may answer a last time
                await journal.find(intent.merchant_id, intent.id)
                await asyncio.sleep(0.02)

    with pytest.raises(StoreUnavailable):
        await find_until_it_fails()
    await server.start()
    assert await journal.find(intent.merchant_id, intent.id) == intent
    await pool.close()


@pytest.mark.parametrize("code", ["53100", "57P01", "25006", "58030", "08006", "XX001"])
async def test_refusals_of_the_server(database: asyncpg.Pool, code: str) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")

    with pytest.raises(StoreUnavailable, match="no"):
        await Sessions(database).run(work)


async def test_a_read_only_database(make_intent: Callable[..., Authorization], postgres_dsn: str) -> None:
    pool = await create_pool(postgres_dsn, size=1)
    async with pool.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="read-only"):
        await PostgresJournal(pool).record_intents([make_intent()])
    await pool.close()


async def test_a_bug_is_not_an_outage(database: asyncpg.Pool) -> None:
    sessions = Sessions(database)
    with pytest.raises(asyncpg.UndefinedTableError):
        await sessions.run(lambda connection: connection.fetch("SELECT * FROM nothing"))
    with pytest.raises(asyncpg.exceptions.DataError):
        await sessions.run(lambda connection: connection.fetch("SELECT $1::int", "seven"))


async def test_serialization_failures_are_replayed(database: asyncpg.Pool) -> None:
    tries = 0

    async def work(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            await connection.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
        return tries

    assert await Sessions(database).transaction(work) == 3


async def test_replays_end(database: asyncpg.Pool) -> None:
    async def work(connection: Connection) -> None:
        raise Retry("never")

    with pytest.raises(StoreUnavailable, match="8 replays"):
        await Sessions(database).run(work)


async def test_an_exhausted_pool_is_unavailable_and_a_cancelled_caller_harmless(postgres_dsn: str) -> None:
    pool = await create_pool(postgres_dsn, size=1)
    patient_sessions, sessions = Sessions(pool, PATIENCE_S), Sessions(pool, acquire_timeout_s=0.05)
    has_it = asyncio.Event()

    async def sleep(connection: Connection) -> None:
        has_it.set()
        await connection.execute("SELECT pg_sleep(60)", timeout=60)

    sleeper = asyncio.create_task(patient_sessions.run(sleep))
    await has_it.wait()
    with pytest.raises(StoreUnavailable):
        await sessions.run(lambda connection: connection.fetchval("SELECT 1"))
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    assert await patient_sessions.run(lambda connection: connection.fetchval("SELECT 1")) == 1
    await pool.close()
