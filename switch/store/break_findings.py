"""What a comparison found, entered among the breaks: new ones, those still there, those explained, their suspense.

All within the transaction that concludes the comparison; running it again changes nothing.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.identity import computed_id
from switch.domain.ledger import PLATFORM, Posting, PostingKind
from switch.domain.packed_lines import stored_kind
from switch.domain.reconciliation import (
    BreakClass,
    BreakState,
    Found,
    suspense_legs,
    suspense_target_minor,
)
from switch.store.ledger import post
from switch.store.sessions import Connection

_CHUNK: Final = 5_000

# A person's decision stays; what was closed because a comparison did not find it is open again.
_ENTER = """
INSERT INTO breaks AS b (
    channel, id, day, class, state, kind, reference, names, detail, record, merchant_id, authorization_id, our_minor,
    our_currency, their_minor, their_currency, time_ms, difference_minor, currency, channel_reference, neighbour,
    opened_time_ms)
SELECT $1, f.id, $2, f.class, 1, f.kind, f.reference, string_to_array(f.names, E'\\n'), f.detail, f.record,
       f.merchant_id, f.authorization_id, f.our_minor, f.our_currency, f.their_minor, f.their_currency, f.time_ms,
       f.difference_minor, f.currency, f.channel_reference, f.neighbour, $3
FROM unnest($4::uuid[], $5::smallint[], $6::smallint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::uuid[], $13::bigint[], $14::text[], $15::bigint[], $16::text[], $17::bigint[], $18::bigint[],
            $19::text[], $20::text[], $21::date[])
     AS f (id, class, kind, reference, names, detail, record, merchant_id, authorization_id, our_minor, our_currency,
           their_minor, their_currency, time_ms, difference_minor, currency, channel_reference, neighbour)
ON CONFLICT (channel, id) DO UPDATE
SET class = EXCLUDED.class, detail = EXCLUDED.detail, record = EXCLUDED.record, names = EXCLUDED.names,
    our_minor = EXCLUDED.our_minor, our_currency = EXCLUDED.our_currency, their_minor = EXCLUDED.their_minor,
    their_currency = EXCLUDED.their_currency, difference_minor = EXCLUDED.difference_minor,
    neighbour = EXCLUDED.neighbour, refindable = false,
    state = CASE WHEN b.refindable THEN 1 ELSE b.state END,
    assignee = CASE WHEN b.refindable THEN '' ELSE b.assignee END,
    closed_time_ms = CASE WHEN b.refindable THEN 0 ELSE b.closed_time_ms END,
    reason = CASE WHEN b.refindable THEN 'found again' ELSE b.reason END
WHERE b.state IN (1, 2, 3) OR b.refindable
"""
_IDS: Final = "SELECT id, state, paired_id FROM breaks WHERE channel = $1 AND day = $2"
_CLOSE_MISSING = """
UPDATE breaks SET state = 4, reason = 'agrees when compared again', closed_by = '', closed_time_ms = $3,
    proposed_by = '', refindable = true
WHERE channel = $1 AND id = ANY ($2) AND state IN (1, 2, 3)
"""
# The break of another day that was explained by one which is not found any more.
_REOPEN_PARTNERS = """
UPDATE breaks SET state = 1, reason = 'what explained it is gone', closed_time_ms = 0, assignee = '', paired_id = NULL
WHERE channel = $1 AND paired_id = ANY ($2) AND state = 4
"""
_UNPAIR = "UPDATE breaks SET paired_id = NULL, refindable = true WHERE channel = $1 AND id = ANY ($2)"

_FORGET_EDGES = "DELETE FROM bill_edges WHERE channel = $1 AND day = $2"
_ENTER_EDGES = """
INSERT INTO bill_edges (channel, day, kind, reference)
SELECT DISTINCT $1, $2::date, * FROM unnest($3::smallint[], $4::text[])
"""
# Near midnight: the neighbouring bill has been compared, and has it under one of its names or has not.
_SETTLE_NEIGHBOURS: Final = (
    """
UPDATE breaks AS b SET state = 4, reason = 'in the bill of ' || b.neighbour, closed_by = '', closed_time_ms = $2,
    proposed_by = ''
WHERE b.channel = $1 AND b.state IN (1, 2, 3) AND b.neighbour IS NOT NULL
  AND EXISTS (SELECT FROM bill_edges AS e
              WHERE e.channel = $1 AND e.day = b.neighbour AND e.kind = b.kind AND e.reference = ANY (b.names))
""",
    """
UPDATE breaks AS b SET class = CASE WHEN b.kind = 3 THEN 4 ELSE 1 END, detail = 'nor in the bill of ' || b.neighbour,
    difference_minor = CASE WHEN b.kind = 1 THEN -b.our_minor ELSE b.our_minor END
FROM reconciliations AS r
WHERE b.channel = $1 AND b.class = $2 AND b.state IN (1, 2, 3)
  AND r.channel = b.channel AND r.day = b.neighbour AND r.compared_time_ms > 0
""",
)

# Booked on another day: a record without a line and a line without a record, of the same name, way and money.
_PAIRS = """
SELECT o.id AS ours, o.day AS our_day, t.id AS theirs, t.day AS their_day
FROM breaks AS o
JOIN breaks AS t ON t.channel = o.channel AND t.kind = o.kind AND t.reference = ANY (o.names) AND t.day <> o.day
    AND t.their_minor = o.our_minor AND t.their_currency = o.our_currency
WHERE o.channel = $1 AND o.state IN (1, 2, 3) AND o.class IN (1, 4, 11) AND t.state IN (1, 2, 3) AND t.class = 2
  AND abs(o.day - t.day) <= 7
ORDER BY o.id, t.id
"""
_CLOSE_PAIRED = """
UPDATE breaks SET state = 4, reason = p.reason, paired_id = p.other, closed_by = '', closed_time_ms = $2,
    proposed_by = ''
FROM unnest($3::uuid[], $4::uuid[], $5::text[]) AS p (id, other, reason)
WHERE breaks.channel = $1 AND breaks.id = p.id
"""

# What the channel says of a payment that has not ended here is a reason to ask, never an outcome.
_HASTEN = """
UPDATE follow_ups AS f SET due_time_ms = least(f.due_time_ms, now_ms()), hastened = true
FROM breaks AS b
WHERE b.channel = $1 AND b.day = $2 AND b.class = $3 AND b.state IN (1, 2, 3)
  AND f.merchant_id = b.merchant_id AND f.authorization_id = b.authorization_id AND f.state = 1
"""

_SUSPENDED = """
SELECT id, class, state, difference_minor, currency, suspense_minor, revision FROM breaks
WHERE channel = $1 AND (state IN (1, 2, 3) OR suspense_minor <> 0) ORDER BY id FOR UPDATE
"""
_KEEP_SUSPENSE = """
UPDATE breaks SET suspense_minor = s.minor, revision = s.revision
FROM unnest($2::uuid[], $3::bigint[], $4::integer[]) AS s (id, minor, revision)
WHERE breaks.channel = $1 AND breaks.id = s.id
"""


async def enter_findings(
    connection: Connection,
    channel: str,
    day: date,
    found: Sequence[Found],
    edges: Sequence[tuple[int, str]],
    at: tuple[int, date],
) -> None:
    """at: now in milliseconds, and the business day for the ledger."""
    now_ms, today = at
    for first in range(0, len(found), _CHUNK):
        columns = map(list, zip(*map(_row, found[first : first + _CHUNK]), strict=True))
        await connection.execute(_ENTER, channel, day, now_ms, *columns)
    await _close_missing(connection, channel, day, {each.id for each in found}, now_ms)
    await connection.execute(_FORGET_EDGES, channel, day)
    if edges:
        await connection.execute(_ENTER_EDGES, channel, day, *map(list, zip(*edges, strict=True)))
    for statement, argument in zip(_SETTLE_NEIGHBOURS, (now_ms, BreakClass.NEIGHBOUR), strict=True):
        await connection.execute(statement, channel, argument)
    await _close_pairs(connection, channel, now_ms)
    await connection.execute(_HASTEN, channel, day, BreakClass.OPEN_HERE)
    await settle_suspense(connection, channel, now_ms, today)


def _row(each: Found) -> tuple[object, ...]:
    """In the order of _ENTER's arrays. No name has a newline: they are printable (`BillLine.reference`)."""
    our, their = each.ours, each.theirs
    return (
        each.id, each.break_class, stored_kind(each.kind), each.reference, "\n".join(each.names), each.detail,
        each.record, each.merchant_id, each.authorization_id, our.amount_minor if our else None,
        our.currency if our else "", their.amount_minor if their else None, their.currency if their else "",
        each.time_ms, each.difference_minor, each.currency, each.channel_reference, each.neighbour,
    )  # fmt: skip


async def _close_missing(connection: Connection, channel: str, day: date, found: set[object], now_ms: int) -> None:
    """Breaks of that day which this comparison did not find any more."""
    gone = [row for row in await connection.fetch(_IDS, channel, day) if row["id"] not in found]
    if not gone:
        return
    await connection.execute(_CLOSE_MISSING, channel, [row["id"] for row in gone], now_ms)
    explained = [row["id"] for row in gone if row["paired_id"] is not None]
    if explained:
        await connection.execute(_REOPEN_PARTNERS, channel, explained)
        await connection.execute(_UNPAIR, channel, explained)


async def _close_pairs(connection: Connection, channel: str, now_ms: int) -> None:
    taken: set[object] = set()
    closed: list[tuple[object, object, str]] = []
    for row in await connection.fetch(_PAIRS, channel):
        if row["ours"] in taken or row["theirs"] in taken:
            continue
        taken |= {row["ours"], row["theirs"]}
        closed.append((row["ours"], row["theirs"], f"in the bill of {row['their_day']}"))
        closed.append((row["theirs"], row["ours"], f"our record of {row['our_day']}"))
    if closed:
        await connection.execute(_CLOSE_PAIRED, channel, now_ms, *map(list, zip(*closed, strict=True)))


async def settle_suspense(connection: Connection, channel: str, now_ms: int, today: date) -> None:
    """Bring what stands in suspense for each break to what should stand there."""
    postings: list[Posting] = []
    changed: list[tuple[object, int, int]] = []
    for row in await connection.fetch(_SUSPENDED, channel):
        target = suspense_target_minor(BreakState(row["state"]), BreakClass(row["class"]), row["difference_minor"])
        delta = target - row["suspense_minor"]
        if delta:
            postings.append(suspense_posting(channel, row, delta, now_ms, today))
            changed.append((row["id"], target, row["revision"] + 1))
    if changed:
        await post(connection, postings)
        await connection.execute(_KEEP_SUSPENSE, channel, *map(list, zip(*changed, strict=True)))


def suspense_posting(channel: str, row: Record, delta_minor: int, now_ms: int, today: date) -> Posting:
    """row: id, currency, revision of the break."""
    return Posting(
        PLATFORM, posting_id(row), PostingKind.CORRECTION, today.isoformat(), row["currency"],
        suspense_legs(channel, delta_minor), f"break/{channel}/{row['id']}", now_ms,
    )  # fmt: skip


def posting_id(row: Record) -> UUID:
    """Of the next posting for a break. row: id, revision."""
    identity = UUID(int=row["id"].int)
    return computed_id("break", str(identity), identity.int >> 80, str(row["revision"] + 1))
