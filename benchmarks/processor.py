"""Processor time of a PostgreSQL server that a benchmark has started: by its processes, from /proc."""

import os
from contextlib import suppress
from pathlib import Path

import asyncpg


def family(parent: int) -> list[int]:
    with suppress(OSError):
        return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]
    return []


def _processor_s(pid: int) -> float:
    """Its own, and that of its children that have ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def family_s(parent: int) -> float:
    """Of a process and its children."""
    return sum(map(_processor_s, family(parent)))


async def postmaster_of(dsn: str) -> int:
    """The parent of the process that serves us."""
    connection = await asyncpg.connect(dsn)
    try:
        return _parent_of(await connection.fetchval("SELECT pg_backend_pid()"))
    finally:
        await connection.close()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
