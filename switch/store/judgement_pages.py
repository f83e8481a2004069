"""Stored judgements, read in parts of some pages of a day: several processes read it, and none of it twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.identity import lowest_id_at
from switch.store.heavy import HeavyConnections, snapshot

# 16 MiB: some 15,000 judgements, so that a replay that is given up ends within seconds.
PART_PAGES: Final = 2_048
_ROWS_AT_ONCE: Final = 1_000

_DAYS = """
SELECT c.relname AS name, pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'risk_judgements'::regclass ORDER BY c.relname
"""
# Of several labels the latest counts.
_ROWS = """
SELECT j.outcome, j.response_code, j.amount_minor, j.currency, j.fired, j.absent, j.model_version, j.facts, l.label
FROM {day} AS j
LEFT JOIN LATERAL (
    SELECT label FROM risk_labels WHERE merchant_id = j.merchant_id AND authorization_id = j.id
    ORDER BY time_ms DESC, source LIMIT 1
) AS l ON true
WHERE j.id >= $1 AND j.id < $2 AND j.ctid >= '({first},0)' AND j.ctid < '({end},0)'
"""
_LAST_PAGE: Final = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class JudgementPart:
    """Pages of a day's partition. The rows of payments transmitted outside of the range are left out."""

    day: str
    first_page: int
    end_page: int
    from_id: UUID
    to_id: UUID


async def parts_between(
    heavy: HeavyConnections, from_time_ms: int, to_time_ms: int, part_pages: int = PART_PAGES
) -> list[JudgementPart]:
    """All that there is of payments transmitted in that time, the end excluded. Raises StoreUnavailable."""
    ends = lowest_id_at(from_time_ms), lowest_id_at(to_time_ms)
    async with heavy.open() as connection:
        days = await connection.fetch(_DAYS)
    return [part for day in days for part in _parts_of(day["name"], day["pages"], ends, part_pages)]


def _parts_of(day: str, pages: int, ends: tuple[UUID, UUID], part_pages: int) -> list[JudgementPart]:
    firsts = range(0, pages, part_pages)
    # What comes while it is read is at the end: the last part has none.
    return [
        JudgementPart(day, first, first + part_pages if first + part_pages < pages else _LAST_PAGE, *ends)
        for first in firsts
    ]


async def judgements_in(heavy: HeavyConnections, part: JudgementPart) -> AsyncIterator[list[Record]]:
    """In the columns of `switch.risk.rejudge.Then`, some at once. Raises StoreUnavailable."""
    statement = _ROWS.format(day=part.day, first=part.first_page, end=part.end_page)
    async with heavy.open() as connection, snapshot(connection):
        cursor = await connection.cursor(statement, part.from_id, part.to_id)
        while rows := await cursor.fetch(_ROWS_AT_ONCE):
            yield rows
