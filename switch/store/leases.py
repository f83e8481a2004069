"""Liveness of switch processes by leases on the database's clock."""

from uuid import UUID, uuid4

import structlog

from switch.store.sessions import Connection, Pool, Retry, Sessions

log = structlog.get_logger()

SLOTS = 64

# Rows of this process carry its own clock's time; it may be this far behind the database's.
_CLOCK_DIFFERENCE_MS = 300_000

# One that a recoverer is looking through just now (SKIP LOCKED) keeps its slot a moment longer.
_FREE_SLOTS = """
UPDATE processes SET slot = NULL
WHERE owner IN (
    SELECT owner FROM processes WHERE slot IS NOT NULL AND lease_until_ms <= now_ms() FOR UPDATE SKIP LOCKED)
"""

_TAKEN_SLOTS = "SELECT slot FROM processes WHERE slot IS NOT NULL"

_JOIN = """
INSERT INTO processes (owner, name, slot, lease_until_ms, oldest_open_time_ms, swept_time_ms)
VALUES ($1, $2, $3, now_ms() + $4, now_ms() - $5, now_ms() - $5)
ON CONFLICT (slot) DO NOTHING RETURNING slot
"""

_BEAT = """
UPDATE processes SET lease_until_ms = now_ms() + $3, oldest_open_time_ms = GREATEST(oldest_open_time_ms, $2)
WHERE owner = $1 AND lease_until_ms > now_ms()
"""

# The row stays until claim_in_doubt has looked for what it left open.
_LEAVE = "UPDATE processes SET lease_until_ms = LEAST(lease_until_ms, now_ms()), slot = NULL WHERE owner = $1"

_ANNOUNCE = "UPDATE processes SET address = $2 WHERE owner = $1"

_LIVING = """
SELECT owner, address FROM processes
WHERE slot IS NOT NULL AND lease_until_ms > now_ms() AND address <> '' ORDER BY slot
"""


class NoFreeSlot(Exception):
    """SLOTS processes are alive: another one would share its STANs with one of them."""


class PostgresLeases:
    """Meets `switch.ports.ProcessLeases`. A lease that ran out is never extended: its rows may be claimed by then."""

    def __init__(self, pool: Pool, *, lease_s: float = 5.0, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s, replays=SLOTS + 1)
        self._lease_ms = int(lease_s * 1000)

    async def join(self, name: str) -> tuple[UUID, int]:
        """A new owner id and the lowest free slot. Raises NoFreeSlot, StoreUnavailable."""
        owner = uuid4()

        async def work(connection: Connection) -> int:
            await connection.execute(_FREE_SLOTS)
            taken = {row["slot"] for row in await connection.fetch(_TAKEN_SLOTS)}
            free = next((slot for slot in range(SLOTS) if slot not in taken), None)
            if free is None:
                raise NoFreeSlot(f"{SLOTS} switch processes are alive; stop one first")
            joined: int | None = await connection.fetchval(
                _JOIN, owner, name, free, self._lease_ms, _CLOCK_DIFFERENCE_MS
            )
            if joined is None:
                raise Retry(f"slot {free} was taken meanwhile")
            return joined

        slot = await self._sessions.transaction(work)
        log.info("process_joined", name=name, owner=str(owner), slot=slot)
        return owner, slot

    async def beat(self, owner: UUID, oldest_open_time_ms: int) -> bool:
        """oldest_open_time_ms: creation time of the oldest authorization still driven, or the time now if none is."""
        status = await self._sessions.run(
            lambda connection: connection.execute(_BEAT, owner, oldest_open_time_ms, self._lease_ms)
        )
        return status == "UPDATE 1"

    async def leave(self, owner: UUID) -> None:
        await self._sessions.run(lambda connection: connection.execute(_LEAVE, owner))

    async def announce(self, owner: UUID, address: str) -> None:
        """Where the process can be dialled, host:port; "" for nowhere (any more)."""
        await self._sessions.run(lambda connection: connection.execute(_ANNOUNCE, owner, address))

    async def living(self) -> list[tuple[UUID, str]]:
        """(owner, address) of every process that lives and has announced an address, by slot."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_LIVING))
        return [(row["owner"], row["address"]) for row in rows]
