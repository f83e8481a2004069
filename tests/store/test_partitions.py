import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from switch.domain.authorization import Authorization
from switch.domain.identity import computed_id
from switch.store import partitions
from switch.store.journal import PostgresJournal
from switch.store.partitions import ensure_partitions, keep_partitions, partition_name

DAY_MS = 86_400_000


async def partition_of(database: asyncpg.Pool, record: Authorization) -> str:
    return await database.fetchval("SELECT tableoid::regclass::text FROM authorizations WHERE id = $1", record.id)


async def test_days_around_now_exist_and_take_their_rows(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> None:
    now = datetime.now(UTC)
    intents = [
        make_intent(id=computed_id("a", "m", int((now + timedelta(days=days)).timestamp() * 1000), "k"))
        for days in (-1, 0, 1)
    ]
    await journal.record_intents(intents)
    for days, intent in zip((-1, 0, 1), intents, strict=True):
        assert await partition_of(database, intent) == partition_name(now + timedelta(days=days))


async def test_the_boundary_between_days_is_exact(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight_ms = int(midnight.timestamp() * 1000)
    last, first = (make_intent(id=computed_id("a", "m", ms, "k")) for ms in (midnight_ms - 1, midnight_ms))
    await journal.record_intents([last, first])
    assert await partition_of(database, last) == partition_name(midnight - timedelta(days=1))
    assert await partition_of(database, first) == partition_name(midnight)


async def test_concurrent_makers_make_each_day_once(database: asyncpg.Pool) -> None:
    later_ms = int(time.time() * 1000) + 100 * DAY_MS
    made = await asyncio.gather(*(ensure_partitions(database, later_ms) for _ in range(4)))
    names = [name for each in made for name in each]
    days = [datetime.fromtimestamp(later_ms / 1000, UTC) + timedelta(days=offset) for offset in range(-1, 4)]
    tables = ("authorizations", "risk_judgements")
    assert sorted(names) == sorted(partition_name(day, table) for table in tables for day in days)
    assert "fillfactor=45" in await _options(database, partition_name(days[0]))
    assert "fillfactor=45" not in await _options(database, partition_name(days[0], "risk_judgements"))


async def _options(database: asyncpg.Pool, name: str) -> list[str]:
    options: list[str] = await database.fetchval("SELECT reloptions FROM pg_class WHERE relname = $1", name)
    return options


async def test_a_day_without_a_partition_goes_to_the_default_one_and_stays(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> None:
    far_ms = int(time.time() * 1000) + 300 * DAY_MS
    stray = make_intent(id=computed_id("a", "m", far_ms, "k"))
    await journal.record_intents([stray])
    assert await partition_of(database, stray) == "authorizations_default"
    name = partition_name(datetime.fromtimestamp(far_ms / 1000, UTC))
    assert name not in await ensure_partitions(database, far_ms)
    assert await journal.find(stray.merchant_id, stray.id) is not None


async def test_outcome_updates_are_hot(
    database: asyncpg.Pool, journal: PostgresJournal, make_intent: Callable[..., Authorization]
) -> None:
    """The schema's promise: no index is touched when an outcome is written."""
    intents = [make_intent() for _ in range(64)]
    await journal.record_intents(intents)
    name = await partition_of(database, intents[0])
    async with database.acquire() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        before = await connection.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", name
        )
        async with connection.transaction():
            await connection.execute(
                "UPDATE authorizations SET state = 3, approval_code = '123456' WHERE owner = $1", intents[0].owner
            )
        await connection.execute("SELECT pg_stat_force_next_flush()")
        after = await connection.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", name
        )
    assert after["n_tup_upd"] - before["n_tup_upd"] == 64
    assert after["n_tup_hot_upd"] - before["n_tup_hot_upd"] == 64


async def test_keeping_runs_until_cancelled(database: asyncpg.Pool) -> None:
    """The days of used codes and handovers with the journal's: no service need be there for them."""
    far_ms = int(time.time() * 1000) + 200 * DAY_MS

    async def far(pool: asyncpg.Pool) -> int:
        return far_ms

    keeper = asyncio.create_task(keep_partitions(database, far))
    day = datetime.fromtimestamp(far_ms / 1000, UTC)
    codes = [
        f"{table}_{day + timedelta(days=days):%Y%m%d}"
        for table in ("payment_code_claims", "handover_claims")
        for days in range(4)
    ]
    names = [partition_name(day), *codes]
    for _ in range(200):
        if not await database.fetchval(
            "SELECT count(*) FROM unnest($1::text[]) AS n WHERE to_regclass(n) IS NULL", names
        ):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the days were not made")
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    for name in codes:
        await database.execute(f"DROP TABLE {name}")


async def test_a_fault_does_not_end_the_keeping(monkeypatch: pytest.MonkeyPatch, database: asyncpg.Pool) -> None:
    """Else the days would run out, three days later and without a word."""
    turns = asyncio.Semaphore(0)

    async def broken(pool: object, now_ms: int) -> list[str]:
        turns.release()
        raise ValueError("a fault of ours")

    monkeypatch.setattr(partitions, "ensure_partitions", broken)
    monkeypatch.setattr(partitions, "ensure_code_days", broken)
    keeper = asyncio.create_task(keep_partitions(database, interval_s=0.0))
    async with asyncio.timeout(10):
        for _ in range(4):
            await turns.acquire()
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)


async def test_the_databases_clock_says_which_days_are_over(
    monkeypatch: pytest.MonkeyPatch, database: asyncpg.Pool, postgres_dsn: str
) -> None:
    """A process that is days ahead would drop what makes used codes used."""
    told: asyncio.Queue[int] = asyncio.Queue()

    async def seen(pool: object, now_ms: int) -> list[str]:
        told.put_nowait(now_ms)
        return []

    monkeypatch.setattr(partitions, "ensure_partitions", seen)
    monkeypatch.setattr(partitions, "ensure_code_days", seen)
    schema = f"clock_{uuid4().hex}"
    await database.execute(
        f"CREATE SCHEMA {schema}; CREATE FUNCTION {schema}.now_ms() RETURNS bigint LANGUAGE sql RETURN 4711"
    )
    try:
        settings = {"search_path": f"{schema}, public"}
        async with asyncpg.create_pool(postgres_dsn, min_size=1, max_size=1, server_settings=settings) as behind:
            keeper = asyncio.create_task(keep_partitions(behind))
            async with asyncio.timeout(10):
                assert [await told.get() for _ in range(2)] == [4711, 4711]
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
    finally:
        await database.execute(f"DROP SCHEMA {schema} CASCADE")
