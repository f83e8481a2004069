"""Breaks in PostgreSQL: listed by people, and what people do with them, each under the break's lock with its audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from uuid import UUID, uuid4

from asyncpg import Record

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.ledger import PLATFORM, Posting, PostingKind
from switch.domain.money import Money
from switch.domain.packed_lines import kind_from
from switch.domain.reconciliation import (
    AGE_LIMITS_DAYS,
    AgeBucket,
    Break,
    BreakClass,
    BreakState,
    Found,
    Note,
    may_become,
    suspense_target_minor,
    write_off_legs,
)
from switch.domain.refusals import Missing, NotPossible
from switch.store.audit_trail import append
from switch.store.break_findings import posting_id, suspense_posting
from switch.store.ledger import post
from switch.store.sessions import Connection, Pool, Sessions

_MOST_NOTES: Final = 200

_LIST = """
SELECT * FROM breaks
WHERE (channel, id) > ($1, $2) AND ($3 = '' OR channel = $3)
  AND (cardinality($4::smallint[]) = 0 OR state = ANY ($4)) AND (cardinality($5::smallint[]) = 0 OR class = ANY ($5))
  AND ($6 = '' OR assignee = $6) AND ($7::date IS NULL OR day >= $7) AND ($8::date IS NULL OR day <= $8)
  AND opened_time_ms <= $9
ORDER BY channel, id LIMIT $10
"""
_AGES = """
SELECT width_bucket((($1::bigint - opened_time_ms) / 86400000)::integer, $2::integer[]) AS bucket, count(*) AS count
FROM breaks WHERE state IN (1, 2, 3) AND ($3 = '' OR channel = $3) GROUP BY bucket
"""
_FIND = "SELECT * FROM breaks WHERE channel = $1 AND id = $2"
_LOCK = _FIND + " FOR UPDATE"
_NOTES = "SELECT who, text, time_ms FROM break_notes WHERE channel = $1 AND break_id = $2 ORDER BY time_ms, id LIMIT $3"
_NOTE = "INSERT INTO break_notes (channel, break_id, id, who, text, time_ms) VALUES ($1, $2, $3, $4, $5, $6)"
_KEEP = """
UPDATE breaks SET state = $3, assignee = $4, proposed_by = $5, reason = $6, closed_time_ms = $7, closed_by = $8,
    suspense_minor = $9, revision = $10, refindable = false
WHERE channel = $1 AND id = $2
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which breaks: empty and None leave a field open. opened_until_ms: found at that time or before."""

    channel: str = ""
    states: tuple[BreakState, ...] = ()
    classes: tuple[BreakClass, ...] = ()
    assignee: str = ""
    from_day: date | None = None
    until_day: date | None = None
    opened_until_ms: int = 2**62


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does. decide: (break as it is) -> break as it shall be; raises a refusal."""

    name: str
    caller: Caller
    now_ms: int
    today: date
    decide: Callable[[Break], Break]


class PostgresBreaks:
    """Meets `switch.settlement.breaks.Store`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def page(self, wanted: Wanted, after: tuple[str, UUID], limit: int) -> list[Break]:
        """By (channel, id), after that one: the days of a channel in order."""
        rows = await self._sessions.run(
            lambda each: each.fetch(
                _LIST, *after, wanted.channel, wanted.states, wanted.classes, wanted.assignee, wanted.from_day,
                wanted.until_day, wanted.opened_until_ms, limit,
            )
        )  # fmt: skip
        return [break_from(row) for row in rows]

    async def ages(self, channel: str, now_ms: int) -> list[AgeBucket]:
        """Of the active ones, every bucket."""
        limits = list(AGE_LIMITS_DAYS)
        rows = await self._sessions.run(lambda each: each.fetch(_AGES, now_ms, limits, channel))
        counts = {max(1, row["bucket"]): row["count"] for row in rows}
        ends: Sequence[int | None] = (*(each - 1 for each in limits[1:]), None)
        return [
            AgeBucket(start, end, counts.get(number, 0))
            for number, (start, end) in enumerate(zip(limits, ends, strict=True), 1)
        ]

    async def find(self, channel: str, identity: UUID) -> Break | None:
        async def work(connection: Connection) -> Break | None:
            row = await connection.fetchrow(_FIND, channel, identity)
            return await _with_notes(connection, row) if row is not None else None

        return await self._sessions.transaction(work)

    async def note(self, channel: str, identity: UUID, act: str, caller: Caller, note: Note) -> Break:
        """Raises Missing, NotPossible (too many)."""

        async def work(connection: Connection) -> Break:
            row = await connection.fetchrow(_LOCK, channel, identity)
            if row is None:
                raise Missing("no such break")
            found = await _with_notes(connection, row)
            if len(found.notes) >= _MOST_NOTES:
                raise NotPossible(f"a break has {_MOST_NOTES} notes at most")
            await connection.execute(_NOTE, channel, identity, uuid4(), note.who, note.text, note.time_ms)
            await append(connection, AuditEntry("", caller.name, act, _subject(found), {}, {"note": note.text}))
            return replace(found, notes=(*found.notes, note))

        return await self._sessions.transaction(work)

    async def change(self, channel: str, identity: UUID, act: Act) -> Break:
        """Under the break's lock, with its postings and audit entry. Raises Missing and what `act.decide` raises."""

        async def work(connection: Connection) -> Break:
            row = await connection.fetchrow(_LOCK, channel, identity)
            if row is None:
                raise Missing("no such break")
            before = await _with_notes(connection, row)
            after = act.decide(before)
            if not may_become(before.state, after.state):
                raise NotPossible(f"a break that is {before.state.name} cannot become {after.state.name}")
            postings, suspense_minor = _postings(row, after, act)
            await post(connection, postings)
            await connection.execute(
                _KEEP, channel, identity, after.state, after.assignee, after.proposed_by, after.reason,
                after.closed_time_ms, after.closed_by, suspense_minor, row["revision"] + len(postings),
            )  # fmt: skip
            entry = AuditEntry("", act.caller.name, act.name, _subject(before), *_changed(before, after))
            await append(connection, entry)
            return replace(after, suspense_minor=suspense_minor)

        return await self._sessions.transaction(work)


def _postings(row: Record, after: Break, act: Act) -> tuple[list[Posting], int]:
    """What the change enters into the ledger, and what stands in suspense afterwards."""
    found = after.found
    if after.state is BreakState.WRITTEN_OFF:
        legs = write_off_legs(after.channel, found.difference_minor, row["suspense_minor"])
        source = f"break/{after.channel}/{found.id}"
        posting = Posting(
            PLATFORM, posting_id(row), PostingKind.CORRECTION, act.today.isoformat(), found.currency, legs, source,
            act.now_ms,
        )  # fmt: skip
        return [posting], 0
    target = suspense_target_minor(after.state, found.break_class, found.difference_minor)
    delta = target - row["suspense_minor"]
    return ([suspense_posting(after.channel, row, delta, act.now_ms, act.today)] if delta else []), target


def _changed(before: Break, after: Break) -> tuple[dict[str, object], dict[str, object]]:
    def of(each: Break) -> dict[str, object]:
        return {
            "state": each.state.name, "assignee": each.assignee, "proposed_by": each.proposed_by,
            "reason": each.reason,
        }  # fmt: skip

    old, new = of(before), of(after)
    different = [name for name in old if old[name] != new[name]]
    return {name: old[name] for name in different}, {name: new[name] for name in different}


def _subject(found: Break) -> str:
    return f"break/{found.channel}/{found.found.id}"


async def _with_notes(connection: Connection, row: Record) -> Break:
    notes = await connection.fetch(_NOTES, row["channel"], row["id"], _MOST_NOTES)
    return replace(break_from(row), notes=tuple(Note(each["who"], each["text"], each["time_ms"]) for each in notes))


def break_from(row: Record) -> Break:
    authorization_id = row["authorization_id"]
    found = Found(
        id=UUID(int=row["id"].int),
        break_class=BreakClass(row["class"]),
        kind=kind_from(row["kind"]),
        reference=row["reference"],
        names=tuple(row["names"]),
        detail=row["detail"],
        record=row["record"],
        merchant_id=row["merchant_id"],
        authorization_id=None if authorization_id is None else UUID(int=authorization_id.int),
        ours=None if row["our_minor"] is None else Money(row["our_minor"], row["our_currency"]),
        theirs=None if row["their_minor"] is None else Money(row["their_minor"], row["their_currency"]),
        time_ms=row["time_ms"],
        difference_minor=row["difference_minor"],
        currency=row["currency"],
        channel_reference=row["channel_reference"],
        neighbour=row["neighbour"],
    )
    return Break(
        channel=row["channel"],
        day=row["day"],
        state=BreakState(row["state"]),
        found=found,
        suspense_minor=row["suspense_minor"],
        assignee=row["assignee"],
        proposed_by=row["proposed_by"],
        reason=row["reason"],
        opened_time_ms=row["opened_time_ms"],
        closed_time_ms=row["closed_time_ms"],
        closed_by=row["closed_by"],
    )
