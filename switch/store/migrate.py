"""Versioned, forward-only migrations in plain SQL: `migrations/NNNN_name.sql`, each in a transaction of its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from switch.store.sessions import Connection

log = structlog.get_logger()

DIRECTORY = Path(__file__).parent / "migrations"

# Several processes may start at once; one migrates, the others wait and find nothing left to do.
_LOCK = 0x7061_7973_7769_7463  # "payswitc"


class MigrationError(Exception):
    """The database and this version of the program do not fit; the text says which migration and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """checksum: SHA-256 of the file, hexadecimal."""

    version: int
    name: str
    sql: str
    checksum: str


def read_migrations(directory: Path = DIRECTORY) -> list[Migration]:
    """All migrations in order. Raises MigrationError unless versions are 1, 2, 3 … without a gap."""
    migrations = []
    for path in sorted(directory.glob("*.sql")):
        version, _, name = path.stem.partition("_")
        if not (version.isascii() and version.isdigit() and name):
            raise MigrationError(f"{path.name} is not called NNNN_name.sql")
        text = path.read_text()
        migrations.append(Migration(int(version), name, text, hashlib.sha256(text.encode()).hexdigest()))
    versions = [each.version for each in migrations]
    if versions != list(range(1, len(versions) + 1)):
        raise MigrationError(f"migrations in {directory} are not numbered 1, 2, 3 …: {versions}")
    return migrations


async def migrate(dsn: str, directory: Path = DIRECTORY, lock_timeout_s: float = 60.0) -> list[Migration]:
    """Bring the database to this version; returns what was applied now.

    Raises MigrationError for an applied migration whose file has changed, for a database that is newer than this
    program, and for a migration that fails (the ones before it stay). Connection errors pass through.
    """
    migrations = read_migrations(directory)
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(f"SET lock_timeout = {int(lock_timeout_s * 1000)}")
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        return await _apply(connection, migrations)
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(f"another process has been migrating for more than {lock_timeout_s:.0f} s") from error
    finally:
        await connection.close()  # and with it the lock


async def _apply(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
        " checksum text NOT NULL, applied_time timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
    known = {each.version: each for each in migrations}
    for row in rows:
        ours = known.pop(row["version"], None)
        title = f"{row['version']:04}_{row['name']}"
        if ours is None:
            raise MigrationError(f"the database has migration {title}, which this version does not know: it is newer")
        if ours.checksum != row["checksum"]:
            raise MigrationError(f"migration {title} was changed after it was applied; write a new one instead")
    for migration in known.values():
        await _apply_one(connection, migration)
    return list(known.values())


async def _apply_one(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        raise MigrationError(f"migration {migration.version:04}_{migration.name} failed: {error}") from error
    log.info("migration_applied", version=migration.version, name=migration.name)
