"""The audit trail's chain in PostgreSQL: places for what was added, checkpoints, and reading it all in order.

Whoever changes something only adds a row (`switch.store.audit_trail.append`), in his own transaction and without a
lock that anybody else wants. The chain is made behind them by whoever locks the one row of `audit_chain`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.audit_chain import ChainedEntry, Checkpoint, entry_hash
from switch.store.heavy import HeavyConnections, snapshot
from switch.store.sessions import Connection, Pool, Sessions

_BATCH: Final = 500

# Another process that is at it just now does the work: nobody waits for it.
_CLAIM = "SELECT sequence, hash FROM audit_chain FOR UPDATE SKIP LOCKED"
_COLUMNS = "merchant_id, id, who, act, subject, before, after, time_ms"
_UNCHAINED = f"SELECT {_COLUMNS} FROM audit_trail WHERE sequence IS NULL ORDER BY id LIMIT $1"  # noqa: S608
_PLACE = """
UPDATE audit_trail AS t SET sequence = p.sequence, hash = p.hash
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bytea[]) AS p (merchant_id, id, sequence, hash)
WHERE t.merchant_id = p.merchant_id AND t.id = p.id AND t.sequence IS NULL
"""
_ADVANCE = "UPDATE audit_chain SET sequence = $1, hash = $2"
_HEAD = "SELECT sequence, hash, now_ms() AS time_ms FROM audit_chain"
_CHECKPOINTS = (
    "SELECT sequence, hash, time_ms, key_label, signature FROM audit_checkpoints WHERE sequence > $1 ORDER BY 1"
)
_LAST = "SELECT sequence, hash, time_ms, key_label, signature FROM audit_checkpoints ORDER BY sequence DESC LIMIT 1"
_KEEP = """
INSERT INTO audit_checkpoints (sequence, hash, time_ms, key_label, signature) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (sequence) DO NOTHING RETURNING 1
"""
_CHAINED = f"SELECT {_COLUMNS}, sequence, hash FROM audit_trail WHERE sequence IS NOT NULL ORDER BY sequence"  # noqa: S608
_WAITING = "SELECT count(*), COALESCE(min(time_ms), 0) FROM audit_trail WHERE sequence IS NULL"


class PostgresAuditChain:
    """Meets what `switch.wiring.audit` follows."""

    def __init__(self, pool: Pool, batch: int = _BATCH) -> None:
        self._sessions = Sessions(pool)
        self._batch = batch

    async def step(self) -> int:
        """Give a batch its places, in the order of ids; how many. 0: none waits, or another process is at it.

        One transaction: after a crash all of it is there, or nothing. Raises StoreUnavailable.
        """
        return await self._sessions.transaction(self._step)

    async def _step(self, connection: Connection) -> int:
        head = await connection.fetchrow(_CLAIM)
        if head is None:
            return 0
        sequence, last = head["sequence"], head["hash"]
        placed = []
        for row in await connection.fetch(_UNCHAINED, self._batch):
            sequence += 1
            entry = ChainedEntry(*_content(row), sequence, b"")
            last = entry_hash(last, entry)
            placed.append((entry.merchant_id, entry.id, sequence, last))
        if placed:
            await connection.execute(_PLACE, *(list(column) for column in zip(*placed, strict=True)))
            await connection.execute(_ADVANCE, sequence, last)
        return len(placed)

    async def due_checkpoint(self, key_label: str) -> Checkpoint | None:
        """One to be signed, of the whole chain as it is now; None where the last one is of that already."""

        async def work(connection: Connection) -> tuple[Record | None, Record | None]:
            return await connection.fetchrow(_HEAD), await connection.fetchrow(_LAST)

        head, last = await self._sessions.run(work)
        assert head is not None  # the migration put it there
        if head["sequence"] <= (last["sequence"] if last is not None else 0):
            return None
        return Checkpoint(head["sequence"], head["hash"], head["time_ms"], key_label)

    async def keep(self, checkpoint: Checkpoint) -> bool:
        """False where another process was first."""
        values = (checkpoint.sequence, checkpoint.hash, checkpoint.time_ms, checkpoint.key_label, checkpoint.signature)
        return bool(await self._sessions.run(lambda connection: connection.fetchval(_KEEP, *values)))

    async def checkpoints_after(self, sequence: int) -> list[Checkpoint]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_CHECKPOINTS, sequence))
        return [Checkpoint(*row.values()) for row in rows]


class AuditReader:
    """The trail as of one moment, for who checks it and who looks something up."""

    def __init__(self, heavy: HeavyConnections) -> None:
        self._heavy = heavy

    @asynccontextmanager
    async def open(self) -> AsyncIterator["AuditSnapshot"]:
        """Raises StoreUnavailable."""
        async with self._heavy.open() as connection, snapshot(connection):
            yield AuditSnapshot(connection)


class AuditSnapshot:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def head(self) -> int:
        row = await self._connection.fetchrow(_HEAD)
        return row["sequence"] if row is not None else 0

    async def checkpoints(self) -> list[Checkpoint]:
        return [Checkpoint(*row.values()) for row in await self._connection.fetch(_CHECKPOINTS, 0)]

    async def waiting(self) -> tuple[int, int]:
        """(entries without a place yet, Unix ms of the oldest of them)."""
        row = await self._connection.fetchrow(_WAITING)
        assert row is not None  # an aggregate always has one row
        return row[0], row[1]

    async def chained(self) -> AsyncIterator[ChainedEntry]:
        """In the order of their places, a thousand in memory at a time."""
        async for row in self._connection.cursor(_CHAINED, prefetch=1000):
            yield _entry(row)

    async def found(self, conditions: Sequence[tuple[str, object]], limit: int) -> list[ChainedEntry]:
        """Newest first. conditions: (name of `CONDITIONS`, value). sequence 0: not chained yet."""
        clauses = [CONDITIONS[name].format(n + 2) for n, (name, _) in enumerate(conditions)]
        where = " AND ".join(clauses) or "true"
        statement = f"SELECT {_COLUMNS}, sequence, hash FROM audit_trail WHERE {where} ORDER BY id DESC LIMIT $1"  # noqa: S608
        rows = await self._connection.fetch(statement, limit, *(value for _, value in conditions))
        return [_entry(row) for row in rows]


CONDITIONS: Final = {
    "merchant": "merchant_id = ${}::text",
    "who": "who = ${}::text",
    "act": "starts_with(act, ${}::text)",
    "subject": "subject = ${}::text",
    "since": "time_ms >= ${}::bigint",
    "until": "time_ms < ${}::bigint",
}


def _entry(row: Record) -> ChainedEntry:
    return ChainedEntry(*_content(row), row["sequence"] or 0, row["hash"] or b"")


def _content(row: Record) -> tuple[str, UUID, str, str, str, str, str, int]:
    """asyncpg's UUIDs are of a class of their own."""
    return (
        row["merchant_id"], UUID(int=row["id"].int), row["who"], row["act"], row["subject"], row["before"],
        row["after"], row["time_ms"],
    )  # fmt: skip
