"""Lists in PostgreSQL. Whoever changes one holds one row, so that changes become visible in the order of positions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from asyncpg import Record

from switch.domain.access import Caller
from switch.domain.audit import AuditEntry
from switch.domain.refusals import Missing, NotPermitted, NotPossible
from switch.domain.risk import Listing, ListKind, Subject
from switch.domain.risk_listing import (
    BatchState,
    ListingBatch,
    ListingChange,
    ListingEntry,
    ListingKey,
    Marking,
    SharedAs,
    StoredListing,
)
from switch.ports.risk_cases import Keys, ListsHead
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions

# As `switch.risk.lists` bounds what a process holds.
MOST_ENTRIES: Final = 1_000_000
MOST_NAMES: Final = 1_000
MOST_OF_ONE_KEY: Final = 32
# Who was away for longer loads everything anew.
_KEPT_MS: Final = 86_400_000
_PURGED_AT_ONCE: Final = 10_000

_HEAD = "SELECT position, purged FROM risk_listings_turn"
_TURN = "SELECT position, live FROM risk_listings_turn WHERE one FOR UPDATE"
_TURN_IF_FREE = _TURN + " SKIP LOCKED"
_MOVE = "UPDATE risk_listings_turn SET position = $1, live = $2"
# One lower bound: of two the index may begin at the wrong one.
_CHANGES = """
SELECT position, kind, name, subject, key, reason, source, expires_time_ms, live FROM risk_listings
WHERE (position, subject, key, kind, name) > ($1, $2, $3, $4, $5) AND position <= $6 AND (live OR $7)
ORDER BY position, subject, key, kind, name LIMIT $8
"""
# One look into the primary key for each, whatever the planner thinks of the tables.
_HELD = """
SELECT count(*) FROM unnest($3::text[], $4::text[]) AS e(subject, key) WHERE (
    SELECT l.live FROM risk_listings AS l
    WHERE l.subject = e.subject AND l.key = e.key AND l.kind = $1 AND l.name = $2 LIMIT 1)
"""
_CROWDED = """
SELECT count(*) FROM unnest($3::text[], $4::text[]) AS e(subject, key) WHERE (
    SELECT count(*) FROM risk_listings AS l
    WHERE l.subject = e.subject AND l.key = e.key AND l.live AND NOT (l.kind = $1 AND l.name = $2)) >= $5
"""
_NEW_NAMES = """
SELECT count(*) FROM unnest($3::text[]) AS e(subject) WHERE (
    SELECT 1 FROM risk_listings WHERE name = $2 AND kind = $1 AND subject = e.subject LIMIT 1) IS NULL
"""
_NAMES = "SELECT count(*) FROM (SELECT DISTINCT kind, name, subject FROM risk_listings) AS names"
_PUT = """
INSERT INTO risk_listings AS l (
    kind, name, subject, key, reason, source, shown, marking, expires_time_ms, batch_id, created_by, second,
    changed_time_ms, live, position)
SELECT $1, $2, e.subject, e.key, $3, $4, e.shown, $5, e.expires_time_ms, $6, $7, $8, $9, true, $10
FROM unnest($11::text[], $12::text[], $13::text[], $14::bigint[]) AS e(subject, key, shown, expires_time_ms)
ON CONFLICT (subject, key, kind, name) DO UPDATE SET
    reason = excluded.reason, source = excluded.source, shown = excluded.shown, marking = excluded.marking,
    expires_time_ms = excluded.expires_time_ms, batch_id = excluded.batch_id, created_by = excluded.created_by,
    second = excluded.second, changed_time_ms = excluded.changed_time_ms, live = true, position = excluded.position
"""
_PUT_SHARED = """
INSERT INTO risk_shared_objects (partner, stix_id, modified, revoked, kind, name, subject, key)
SELECT $1, e.stix_id, e.modified, false, $2, $3, e.subject, e.key
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[]) AS e(stix_id, modified, subject, key)
ON CONFLICT (partner, stix_id) DO UPDATE SET
    modified = excluded.modified, revoked = false, kind = excluded.kind, name = excluded.name,
    subject = excluded.subject, key = excluded.key
"""
_ADD_BATCH = """
INSERT INTO risk_listing_batches (
    id, kind, name, reason, source, marking, size, state, why, entries, created_by, created_time_ms, decided_by,
    decided_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, '', 0)
"""
_LOCK_BATCH = "SELECT * FROM risk_listing_batches WHERE id = $1 FOR UPDATE"
_DECIDE = """
UPDATE risk_listing_batches SET state = $2, decided_by = $3, decided_time_ms = $4, entries = '' WHERE id = $1
RETURNING *
"""
_BATCHES = """
SELECT * FROM risk_listing_batches WHERE (state = 1 OR NOT $1) AND created_time_ms < $2
ORDER BY created_time_ms DESC, id LIMIT $3
"""
_OFF = """
UPDATE risk_listings SET live = false, position = $1, changed_time_ms = $2
WHERE live AND (subject, key, kind, name) IN (
    SELECT * FROM unnest($3::text[], $4::text[], $5::smallint[], $6::text[]))
"""
_OFF_OF_SOURCE = "UPDATE risk_listings SET live = false, position = $1, changed_time_ms = $2 WHERE live AND source = $3"
_REFUSE_OF_SOURCE = """
UPDATE risk_listing_batches SET state = 3, decided_by = $2, decided_time_ms = $3, entries = ''
WHERE state = 1 AND source = $1
"""
_EXPIRE = """
UPDATE risk_listings SET live = false, position = $1, changed_time_ms = $2
WHERE (subject, key, kind, name) IN (
    SELECT subject, key, kind, name FROM risk_listings
    WHERE live AND expires_time_ms > 0 AND expires_time_ms <= $2 ORDER BY expires_time_ms LIMIT $3)
"""
_PURGE = """
WITH gone AS (
    DELETE FROM risk_listings WHERE (subject, key, kind, name) IN (
        SELECT subject, key, kind, name FROM risk_listings WHERE NOT live AND changed_time_ms < $1 LIMIT $2)
    RETURNING position)
UPDATE risk_listings_turn SET purged = greatest(purged, (SELECT max(position) FROM gone))
WHERE EXISTS (SELECT FROM gone)
"""
_DUE = """
SELECT EXISTS (SELECT FROM risk_listings WHERE live AND expires_time_ms > 0 AND expires_time_ms <= $1)
    OR EXISTS (SELECT FROM risk_listings WHERE NOT live AND changed_time_ms < $2)
"""
# A page of one subject or list never reads the others.
_PAGE = """
SELECT * FROM risk_listings
WHERE live AND (subject, key, kind, name) > ($1, $2, $3, $4) AND (subject, key) <= ($5, $6)
ORDER BY subject, key, kind, name LIMIT $7
"""
_PAGE_OF_LIST = """
SELECT * FROM risk_listings
WHERE live AND name = $1 AND (kind, subject, key) > ($2, $3, $4) AND ($5 = '' OR subject = $5) AND ($6 = '' OR key = $6)
ORDER BY name, kind, subject, key LIMIT $7
"""
_LAST: Final = "zzzz"  # above every subject and key, in any collation
_UNCONFIRMED = """
SELECT subject, key FROM risk_listings
WHERE created_by = $1 AND live AND changed_time_ms >= $2 AND second = '' AND kind IN (1, 4) LIMIT 100000
"""
_KNOWN = "SELECT stix_id, modified FROM risk_shared_objects WHERE partner = $1 AND stix_id = ANY($2)"
_REVOKE = """
UPDATE risk_shared_objects AS o SET revoked = true, modified = e.modified
FROM unnest($2::text[], $3::text[]) AS e(stix_id, modified)
WHERE o.partner = $1 AND o.stix_id = e.stix_id AND NOT o.revoked
RETURNING o.kind, o.name, o.subject, o.key
"""
# Its earlier versions, should they come, are older than this.
_NEVER_LISTED = """
INSERT INTO risk_shared_objects (partner, stix_id, modified, revoked, kind, name, subject, key)
SELECT $1, e.stix_id, e.modified, true, 0, '', '', '' FROM unnest($2::text[], $3::text[]) AS e(stix_id, modified)
ON CONFLICT DO NOTHING
"""
_HELD_BY = """
SELECT kind, name, subject, key FROM risk_shared_objects WHERE partner = $1 AND stix_id = ANY($2) AND NOT revoked
"""
_STILL_SHARED = """
SELECT EXISTS (SELECT FROM risk_shared_objects
WHERE NOT revoked AND kind = $1 AND name = $2 AND subject = $3 AND key = $4)
"""


class PostgresListings:
    """Meets `Listings`, `ListingFeed` and `SharedObjects` of `switch.ports.risk_cases`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    # --- what every process follows -----------------------------------------------------------------------------------

    async def head(self) -> ListsHead:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_HEAD))
        assert row is not None  # the migration made it
        return ListsHead(row["position"], row["purged"])

    async def changes(
        self, after: int, until: int, from_key: ListingChange | None, limit: int
    ) -> Sequence[ListingChange]:
        start: tuple[object, ...] = (after, _LAST, "", 0, "")
        if from_key is not None:
            of = from_key.listing
            start = (from_key.position, of.subject, of.key, of.kind, of.name)
        rows = await self._sessions.run(lambda each: each.fetch(_CHANGES, *start, until, after > 0, limit))
        return [ListingChange(row["position"], _listing(row), row["live"]) for row in rows]

    async def expire(self, now_ms: int, limit: int) -> int:
        async def work(connection: Connection) -> int:
            turn = await connection.fetchrow(_TURN_IF_FREE)
            if turn is None:
                return 0
            gone = _count(await connection.execute(_EXPIRE, turn["position"] + 1, now_ms, limit))
            if gone:
                await connection.execute(_MOVE, turn["position"] + 1, turn["live"] - gone)
            await connection.execute(_PURGE, now_ms - _KEPT_MS, _PURGED_AT_ONCE)
            return gone

        due = await self._sessions.run(lambda each: each.fetchval(_DUE, now_ms, now_ms - _KEPT_MS))
        return await self._sessions.transaction(work) if due else 0

    # --- writing ------------------------------------------------------------------------------------------------------

    async def put(self, batch: ListingBatch, entries: Sequence[ListingEntry], entry: AuditEntry) -> None:
        kept = "" if batch.state is BatchState.APPLIED else _packed(entries)

        async def work(connection: Connection) -> None:
            await connection.execute(
                _ADD_BATCH, batch.id, batch.kind, batch.name, batch.reason, batch.source, _marking_text(batch.marking),
                batch.size, batch.state, list(batch.why), kept, batch.created_by, batch.created_time_ms,
            )  # fmt: skip
            if batch.state is BatchState.APPLIED:
                await _apply(connection, batch, entries, "", batch.created_time_ms)
            await append(connection, entry)

        await self._sessions.transaction(work)

    async def decide(self, batch_id: UUID, approves: bool, entry: AuditEntry, now_ms: int) -> ListingBatch:
        async def work(connection: Connection) -> ListingBatch:
            row = await connection.fetchrow(_LOCK_BATCH, batch_id)
            if row is None:
                raise Missing("there is no such batch of entries")
            batch = _batch(row)
            if batch.state is not BatchState.WAITING:
                raise NotPossible(f"it is {batch.state.name} already")
            if approves and Caller(entry.who).person == Caller(batch.created_by).person:
                raise NotPermitted("who asked for these entries does not confirm them")
            if approves:
                waiting = await _not_revoked(connection, _unpacked(row["entries"]))
                entries = [each for each in waiting if not 0 < each.expires_time_ms <= now_ms]
                await _apply(connection, batch, entries, entry.who, now_ms)
            state = BatchState.APPLIED if approves else BatchState.REFUSED
            decided = await connection.fetchrow(_DECIDE, batch_id, state, entry.who, now_ms)
            await append(connection, entry)
            assert decided is not None  # it is locked
            return _batch(decided)

        return await self._sessions.transaction(work)

    async def remove(self, which: Sequence[ListingKey], entry: AuditEntry, now_ms: int) -> int:
        async def work(connection: Connection) -> int:
            gone = await _take_off(connection, which, now_ms)
            if gone:
                await append(connection, entry)
            return gone

        return await self._sessions.transaction(work)

    async def remove_of_source(self, source: str, entry: AuditEntry, now_ms: int) -> int:
        async def work(connection: Connection) -> int:
            turn = await connection.fetchrow(_TURN)
            assert turn is not None
            gone = _count(await connection.execute(_OFF_OF_SOURCE, turn["position"] + 1, now_ms, source))
            refused = _count(await connection.execute(_REFUSE_OF_SOURCE, source, entry.who, now_ms))
            if gone:
                await connection.execute(_MOVE, turn["position"] + 1, turn["live"] - gone)
            if gone or refused:
                await append(connection, entry)
            return gone

        return await self._sessions.transaction(work)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def page(
        self, subject: Subject | None, key: str, name: str, behind: ListingKey | None, limit: int
    ) -> list[StoredListing]:
        of = "" if subject is None else subject.value
        given: tuple[object, ...]
        if name:
            first = (-1, "", "") if behind is None else (behind.kind, behind.subject, behind.key)
            query, given = _PAGE_OF_LIST, (name, *first, of, key, limit)
        else:
            start = (of, key, -1, "") if behind is None else (behind.subject, behind.key, behind.kind, behind.name)
            query, given = _PAGE, (*start, of or _LAST, key or _LAST, limit)
        rows = await self._sessions.run(lambda each: each.fetch(query, *given))
        return [_stored(row) for row in rows]

    async def batches(self, waiting: bool, before_ms: int, limit: int) -> list[ListingBatch]:
        rows = await self._sessions.run(lambda each: each.fetch(_BATCHES, waiting, before_ms, limit))
        return [_batch(row) for row in rows]

    async def unconfirmed_keys(self, created_by: str, since_ms: int) -> Keys:
        rows = await self._sessions.run(lambda each: each.fetch(_UNCONFIRMED, created_by, since_ms))
        found: dict[Subject, set[str]] = {}
        for row in rows:
            found.setdefault(Subject(row["subject"]), set()).add(row["key"])
        return {subject: frozenset(keys) for subject, keys in found.items()}

    # --- what partners sent -------------------------------------------------------------------------------------------

    async def known(self, partner: str, stix_ids: Sequence[str]) -> Mapping[str, str]:
        rows = await self._sessions.run(lambda each: each.fetch(_KNOWN, partner, list(stix_ids)))
        return {row["stix_id"]: row["modified"] for row in rows}

    async def revoke(self, objects: Sequence[SharedAs], entry: AuditEntry, now_ms: int) -> int:
        partner = objects[0].partner

        async def work(connection: Connection) -> int:
            await connection.execute(_TURN)
            ids, times = [each.stix_id for each in objects], [each.modified for each in objects]
            rows = await connection.fetch(_REVOKE, partner, ids, times)
            await connection.execute(_NEVER_LISTED, partner, ids, times)
            gone = await _take_off(connection, await _no_longer_shared(connection, map(_key_of, rows)), now_ms)
            await append(connection, entry)
            return gone

        return await self._sessions.transaction(work)


# --- within a transaction ---------------------------------------------------------------------------------------------


async def _apply(
    connection: Connection, batch: ListingBatch, entries: Sequence[ListingEntry], second: str, now_ms: int
) -> None:
    turn = await connection.fetchrow(_TURN)
    assert turn is not None  # the migration made it
    subjects, keys = [each.subject.value for each in entries], [each.key for each in entries]
    held = await connection.fetchval(_HELD, batch.kind, batch.name, subjects, keys)
    live = turn["live"] + len(entries) - held
    if live > MOST_ENTRIES:
        raise NotPossible(f"the lists would have more than {MOST_ENTRIES:,} entries")
    if await connection.fetchval(_CROWDED, batch.kind, batch.name, subjects, keys, MOST_OF_ONE_KEY):
        raise NotPossible(f"one of these subjects is on {MOST_OF_ONE_KEY} lists already")
    new = await connection.fetchval(_NEW_NAMES, batch.kind, batch.name, list(set(subjects)))
    if new and await connection.fetchval(_NAMES) + new > MOST_NAMES:
        raise NotPossible(f"there are {MOST_NAMES:,} lists already")
    position = turn["position"] + 1
    await connection.execute(
        _PUT, batch.kind, batch.name, batch.reason, batch.source, _marking_text(batch.marking), batch.id,
        batch.created_by, second, now_ms, position, subjects, keys, [each.shown for each in entries],
        [each.expires_time_ms for each in entries],
    )  # fmt: skip
    await connection.execute(_MOVE, position, live)
    await _keep_shared(connection, batch, entries)


async def _keep_shared(connection: Connection, batch: ListingBatch, entries: Sequence[ListingEntry]) -> None:
    """An object that says something else than before takes back what it said before."""
    shared = [(one, each) for each in entries for one in each.shared]
    if not shared:
        return
    partner, ids = shared[0][0].partner, [one.stix_id for one, _ in shared]
    before = [_key_of(row) for row in await connection.fetch(_HELD_BY, partner, ids)]
    await connection.execute(
        _PUT_SHARED, partner, batch.kind, batch.name, ids, [one.modified for one, _ in shared],
        [each.subject.value for _, each in shared], [each.key for _, each in shared],
    )  # fmt: skip
    await _take_off(connection, await _no_longer_shared(connection, before), batch.created_time_ms)


async def _no_longer_shared(connection: Connection, keys: Iterable[ListingKey]) -> list[ListingKey]:
    return [
        each
        for each in sorted(set(keys), key=lambda one: (one.subject, one.key, one.kind, one.name))
        if not await connection.fetchval(_STILL_SHARED, each.kind, each.name, each.subject, each.key)
    ]


async def _not_revoked(connection: Connection, entries: Sequence[ListingEntry]) -> list[ListingEntry]:
    """Without what its partner took back, or said anew, while it waited."""
    shared = [one for each in entries for one in each.shared]
    if not shared:
        return list(entries)
    ids = [one.stix_id for one in shared]
    last = {row["stix_id"]: row["modified"] for row in await connection.fetch(_KNOWN, shared[0].partner, ids)}
    kept = [replace(each, shared=tuple(one for one in each.shared if last.get(one.stix_id, "") < one.modified))
            for each in entries]  # fmt: skip
    return [each for each in kept if each.shared]


async def _take_off(connection: Connection, which: Sequence[ListingKey], now_ms: int) -> int:
    turn = await connection.fetchrow(_TURN)
    assert turn is not None
    gone = _count(
        await connection.execute(
            _OFF, turn["position"] + 1, now_ms, [each.subject.value for each in which], [each.key for each in which],
            [each.kind for each in which], [each.name for each in which],
        )
    )  # fmt: skip
    if gone:
        await connection.execute(_MOVE, turn["position"] + 1, turn["live"] - gone)
    return gone


def _count(tag: str) -> int:
    """Of "UPDATE 3"."""
    return int(tag.rpartition(" ")[2])


# --- rows -------------------------------------------------------------------------------------------------------------


def _packed(entries: Sequence[ListingEntry]) -> str:
    return json.dumps(
        [
            [
                each.subject,
                each.key,
                each.expires_time_ms,
                each.shown,
                [[one.partner, one.stix_id, one.modified] for one in each.shared],
            ]
            for each in entries
        ]
    )


def _unpacked(text: str) -> list[ListingEntry]:
    return [
        ListingEntry(Subject(subject), key, expires_time_ms, shown, tuple(SharedAs(*each) for each in shared))
        for subject, key, expires_time_ms, shown, shared in json.loads(text)
    ]  # fmt: skip


def _marking_text(marking: Marking | None) -> str:
    return "" if marking is None else marking.name


def _marking(text: str) -> Marking | None:
    return Marking[text] if text else None


def _listing(row: Record) -> Listing:
    return Listing(
        ListKind(row["kind"]), row["name"], Subject(row["subject"]), row["key"], row["reason"], row["source"],
        row["expires_time_ms"],
    )  # fmt: skip


def _key_of(row: Record) -> ListingKey:
    return ListingKey(ListKind(row["kind"]), row["name"], Subject(row["subject"]), row["key"])


def _stored(row: Record) -> StoredListing:
    return StoredListing(
        _listing(row), row["shown"], _marking(row["marking"]), row["batch_id"], row["created_by"], row["second"],
        row["changed_time_ms"],
    )  # fmt: skip


def _batch(row: Record) -> ListingBatch:
    return ListingBatch(
        row["id"], ListKind(row["kind"]), row["name"], row["reason"], row["source"], row["size"],
        BatchState(row["state"]), row["created_by"], row["created_time_ms"], tuple(row["why"]),
        _marking(row["marking"]), row["decided_by"], row["decided_time_ms"],
    )  # fmt: skip
