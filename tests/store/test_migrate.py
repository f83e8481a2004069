import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from switch.store.embedded import EmbeddedPostgres
from switch.store.migrate import DIRECTORY, MigrationError, migrate, read_migrations

LAST = len(read_migrations())
NEXT = f"{LAST + 1:04}"
DAY_MS = int(datetime(2026, 9, 21, 4, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
async def empty_dsn(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database without any table."""
    admin = await asyncpg.connect(postgres_server.dsn("postgres"))
    await admin.execute("CREATE DATABASE empty")
    yield postgres_server.dsn("empty")
    await admin.execute("DROP DATABASE empty WITH (FORCE)")
    await admin.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The migrations, in a directory that may be spoilt."""
    return shutil.copytree(DIRECTORY, tmp_path / "migrations")


async def test_applies_all_in_order_then_nothing(empty_dsn: str) -> None:
    applied = await migrate(empty_dsn)
    assert [each.version for each in applied] == list(range(1, LAST + 1))
    assert await migrate(empty_dsn) == []


async def test_processes_that_start_at_once_apply_each_migration_once(empty_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(5)))
    assert sorted(len(each) for each in applied) == [0, 0, 0, 0, LAST]


async def test_a_changed_migration_is_named(empty_dsn: str, copy: Path) -> None:
    await migrate(empty_dsn)
    path = copy / "0003_follow_ons.sql"
    path.write_text(path.read_text() + "-- one more line\n")
    with pytest.raises(MigrationError, match="0003_follow_ons was changed"):
        await migrate(empty_dsn, copy)


async def test_a_newer_database_is_refused(empty_dsn: str, copy: Path) -> None:
    (copy / f"{NEXT}_later.sql").write_text("SELECT 1")
    await migrate(empty_dsn, copy)
    with pytest.raises(MigrationError, match=f"{NEXT}_later, which this version does not know"):
        await migrate(empty_dsn)


async def test_a_failing_migration_leaves_no_trace_and_keeps_those_before(empty_dsn: str, copy: Path) -> None:
    (copy / f"{NEXT}_broken.sql").write_text("CREATE TABLE half (a int); SELECT nonsense")
    with pytest.raises(MigrationError, match=f"{NEXT}_broken failed"):
        await migrate(empty_dsn, copy)
    connection = await asyncpg.connect(empty_dsn)
    assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == LAST
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


@pytest.mark.parametrize("name", [f"{LAST + 2:04}_gap.sql", "0003_twice.sql", "x_y.sql", f"{NEXT}.sql"])
def test_badly_numbered_files_are_refused(copy: Path, name: str) -> None:
    (copy / name).write_text("SELECT 1")
    with pytest.raises(MigrationError):
        read_migrations(copy)


async def test_another_process_migrating_for_too_long_is_an_error(empty_dsn: str) -> None:
    other = await asyncpg.connect(empty_dsn)
    await other.execute("SELECT pg_advisory_lock($1)", 0x7061_7973_7769_7463)
    with pytest.raises(MigrationError, match="another process"):
        await migrate(empty_dsn, lock_timeout_s=0.1)
    await other.close()


@pytest.fixture
def first_five(copy: Path) -> Path:
    for path in sorted(copy.glob("*.sql"))[5:]:
        path.unlink()
    return copy


async def test_what_was_left_unknown_before_is_pursued(empty_dsn: str, first_five: Path) -> None:
    """Migration 6: captures and refunds without a follow-up get one; reversals keep theirs."""
    await migrate(empty_dsn, first_five)
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(
        "INSERT INTO authorizations VALUES ('m', $1, 'a', '', '', 1, 9, 'CNY', 1, '', '', 'payer', '', 3, 1, '', '', "
        "'', 'unionpay', 1, '', '{}', '', '', '', '', 9, 9, 5, NULL, 10, 11)",
        UUID(int=1),
    )
    await connection.executemany(
        "INSERT INTO follow_ons VALUES ('m', $1, $2, 'a', $3, 5, 'CNY', '', $4, '68', '', '', '{}', 20, 21)",
        [(UUID(int=2), UUID(int=1), 5, 5), (UUID(int=3), UUID(int=1), 5, 3), (UUID(int=4), UUID(int=1), 4, 5)],
    )
    await connection.execute(
        "INSERT INTO follow_ups VALUES ('m', $1, 6, 'payer', 10, 1, 0, 0, 7, NULL, 0, 0, '{}', '')", UUID(int=1)
    )
    await migrate(empty_dsn)
    rows = await connection.fetch(
        "SELECT operation, follow_on_id, payer_key, created_time_ms, state, attempts FROM follow_ups ORDER BY operation"
    )
    assert [tuple(row) for row in rows] == [(5, UUID(int=2), b"payer", 20, 1, 0), (6, UUID(int=0), b"payer", 10, 1, 7)]
    await connection.close()


@pytest.fixture
def released(copy: Path) -> Path:
    """The schema that was released last before it."""
    for path in sorted(copy.glob("*.sql"))[27:]:
        path.unlink()
    return copy


async def _entered(connection: asyncpg.Connection, payment: int, day: date, fee_minor: int, event_kind: int) -> None:
    """A payment of 1,000 with its event; entered on that day, answered on the first."""
    authorization, follow_on = UUID(int=payment), UUID(int=payment if event_kind == 4 else 0)
    source = f"captured/{follow_on}" if event_kind == 4 else f"approved/{authorization}"
    legs = [("channel:unionpay", 1_000), ("merchant", fee_minor - 1_000), ("fees", -fee_minor)]
    await connection.executemany(
        "INSERT INTO ledger_entries VALUES ('m', $1, $2, $3, 1, $4, $5, 'CNY', $6, $7, $8)",
        [
            (UUID(int=payment << 8), leg, day, account, amount, authorization, source, DAY_MS)
            for leg, (account, amount) in enumerate(legs)
            if amount
        ],
    )
    await connection.execute(
        "INSERT INTO journal_events (merchant_id, authorization_id, kind, follow_on_id, position, operation,"
        " amount_minor, currency, time_ms, created_time_ms, acquirer_id, terminal_id, channel, entry, response_code,"
        " reference, payer_key, card_prefix)"
        " VALUES ('m', $1, $2, $3, $4, 1, 1000, 'CNY', $5, $5, 'a', 't', 'unionpay', 1, '00', '', '', '622588')",
        authorization, event_kind, follow_on, payment, DAY_MS,
    )  # fmt: skip


async def test_payments_that_were_only_counted_as_unpriced_are_named(empty_dsn: str, released: Path) -> None:
    """Migration 31, on a database that has worked: once each, whichever day they were entered on."""
    await migrate(empty_dsn, released)
    connection = await asyncpg.connect(empty_dsn)
    first, later = date(2026, 9, 21), date(2026, 9, 22)
    await _entered(connection, 1, first, 0, 1)
    await _entered(connection, 2, later, 0, 4)  # its day was sealed when it came
    await _entered(connection, 3, first, 6, 1)  # priced
    await connection.execute("INSERT INTO ledger_unpriced VALUES ('m', $1, 'CNY', 2, 2000)", first)
    await connection.execute(
        "INSERT INTO audit_trail VALUES ('m', $1, 'operator/ann', 'Made', 'it/1', '{}', '{}', 1)", UUID(int=1)
    )
    await migrate(empty_dsn)
    rows = await connection.fetch(
        "SELECT authorization_id, day, begun_day, amount_minor, source FROM ledger_unpriced_payments ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        (UUID(int=1), first, first, 1_000, f"approved/{UUID(int=1)}"),
        (UUID(int=2), first, first, 1_000, f"captured/{UUID(int=2)}"),
    ]
    assert tuple(await connection.fetchrow("SELECT payments, amount_minor FROM ledger_unpriced")) == (2, 2_000)
    assert await connection.fetchval("SELECT count(*) FROM audit_trail WHERE sequence IS NULL") == 1  # to be chained
    await connection.close()
