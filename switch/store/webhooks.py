"""Webhook endpoints and the messages to them: made of what is told, looked up, replayed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from asyncpg import Record

from switch.domain.audit import AuditEntry
from switch.domain.identity import lowest_id_at
from switch.domain.refusals import Missing, NotPossible
from switch.domain.webhook import (
    EVERY_TYPE,
    Attempt,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointState,
    Message,
    delivery_id,
    told_of_payment,
)
from switch.store import audit_trail
from switch.store.feed_consumer import Span, events_of
from switch.store.right_of_way import in_slices
from switch.store.sessions import Connection, Pool, Sessions

_DAY_MS = 86_400_000
# Messages of one statement: what the driver encodes at once.
_QUEUED_AT_ONCE = 200

# Most merchants want none: their events are passed over where they are. A scalar subquery is a look-up, whatever the
# statistics say.
_WANTED = """
SELECT * FROM journal_events AS e
WHERE position > $1 AND position <= $2
  AND (SELECT w.state FROM webhook_endpoints AS w WHERE w.merchant_id = e.merchant_id AND w.state IN (1, 2) LIMIT 1)
      IS NOT NULL
ORDER BY position
"""
_OF_MERCHANTS = "SELECT * FROM webhook_endpoints WHERE merchant_id = ANY ($1::text[]) AND state IN (1, 2)"
_OF = "SELECT * FROM webhook_endpoints WHERE merchant_id = $1 AND state <> 4 ORDER BY created_time_ms, id"
_FIND = "SELECT * FROM webhook_endpoints WHERE merchant_id = $1 AND id = $2 AND state <> 4"
_INSERT = """
INSERT INTO webhook_endpoints (
    merchant_id, id, url, description, event_types, state, secret, previous_secret, previous_until_ms, failures,
    failing_since_ms, circuit_until_ms, created_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""
_SAVE = """
UPDATE webhook_endpoints
SET url = $3, description = $4, event_types = $5, state = $6, secret = $7, previous_secret = $8,
    previous_until_ms = $9, failures = $10, failing_since_ms = $11, circuit_until_ms = $12
WHERE merchant_id = $1 AND id = $2
"""

_QUEUE = """
INSERT INTO webhook_deliveries (
    merchant_id, id, endpoint_id, event_type, payload, state, attempts, tries, due_time_ms, expires_time_ms, fence,
    created_time_ms, ended_time_ms)
SELECT d.merchant_id, d.id, d.endpoint_id, d.event_type, d.payload, 1, 0, 0, now_ms.at, now_ms.at + $6, 0, now_ms.at, 0
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[])
     AS d (merchant_id, id, endpoint_id, event_type, payload),
     (SELECT $7::bigint AS at) AS now_ms
ON CONFLICT DO NOTHING
"""
_NOW = "SELECT now_ms()"

_DELIVERY = "SELECT * FROM webhook_deliveries WHERE merchant_id = $1 AND id = $2"
_ATTEMPTS = "SELECT * FROM webhook_attempts WHERE merchant_id = $1 AND delivery_id = $2 ORDER BY number"
_DELIVERIES = """
SELECT * FROM webhook_deliveries WHERE merchant_id = $1 AND endpoint_id = $2 AND id < $3 ORDER BY id DESC LIMIT $4
"""
_DELIVERIES_IN = """
SELECT * FROM webhook_deliveries WHERE merchant_id = $1 AND endpoint_id = $2 AND state = $5 AND id < $3
ORDER BY id DESC LIMIT $4
"""
_RECENT_PINGS = """
SELECT count(*) FROM webhook_deliveries
WHERE merchant_id = $1 AND endpoint_id = $2 AND id >= $3 AND event_type = 'ping'
"""

# Back into the queue, to be tried for a day again. The payload stays, and so does the id.
_REPLAY = """
UPDATE webhook_deliveries SET state = 1, tries = 0, due_time_ms = $3, expires_time_ms = $4, ended_time_ms = 0,
    fence = fence + 1
WHERE merchant_id = $1 AND id = ANY ($2::uuid[]) AND state IN (2, 3)
RETURNING id
"""
_REPLAYED = """
SELECT id FROM webhook_deliveries
WHERE merchant_id = $1 AND endpoint_id = $2 AND id >= $3 AND id < $4 AND state IN (2, 3) ORDER BY id LIMIT $5
"""
_REPLAYED_DEAD = """
SELECT id FROM webhook_deliveries
WHERE merchant_id = $1 AND endpoint_id = $2 AND id >= $3 AND id < $4 AND state = 3 ORDER BY id LIMIT $5
"""


async def queue_events(connection: Connection, span: Span) -> None:
    """A message for every endpoint that wants the event. Within the feed consumer's transaction: once each.

    A paused endpoint's messages wait for it, each its day; for a disabled one none are made.
    """
    events = await events_of(connection, _WANTED, span)
    if events:
        wanting = await _wanting(connection, {event.merchant_id for event in events})
        told = [told_of_payment(event) async for event in in_slices(events)]
        await _queue(connection, told, wanting)


async def queue(connection: Connection, told: Sequence[Message]) -> None:
    """The same of what is no payment's event. Within the transaction of the change that is told: once each."""
    await _queue(connection, told, await _wanting(connection, {each.merchant_id for each in told}))


async def _wanting(connection: Connection, merchant_ids: Iterable[str]) -> dict[str, list[Endpoint]]:
    """The endpoints that messages are made for, by merchant."""
    wanting: dict[str, list[Endpoint]] = {}
    for row in await connection.fetch(_OF_MERCHANTS, sorted(merchant_ids)):
        wanting.setdefault(row["merchant_id"], []).append(endpoint_from(row))
    return wanting


async def _queue(connection: Connection, told: Iterable[Message], wanting: Mapping[str, list[Endpoint]]) -> None:
    made = [
        (each.merchant_id, delivery_id(each, endpoint.id), endpoint.id, each.event_type, each.payload)
        async for each in in_slices(told)
        for endpoint in wanting.get(each.merchant_id, ())
        if {each.event_type, EVERY_TYPE} & set(endpoint.event_types)
    ]
    if made:
        now_ms = await connection.fetchval(_NOW)
        for first in range(0, len(made), _QUEUED_AT_ONCE):
            columns = map(list, zip(*made[first : first + _QUEUED_AT_ONCE], strict=True))
            await connection.execute(_QUEUE, *columns, _DAY_MS, now_ms)


class PostgresWebhooks:
    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def endpoints(self, merchant_id: str) -> list[Endpoint]:
        rows = await self._sessions.run(lambda connection: connection.fetch(_OF, merchant_id))
        return [endpoint_from(row) for row in rows]

    async def endpoint(self, merchant_id: str, endpoint_id: UUID) -> Endpoint | None:
        row = await self._sessions.run(lambda connection: connection.fetchrow(_FIND, merchant_id, endpoint_id))
        return None if row is None else endpoint_from(row)

    async def add(self, endpoint: Endpoint, most: int, who: str, act: str) -> None:
        """Raises NotPossible when there are `most` of the merchant's already."""

        async def work(connection: Connection) -> None:
            # Two that are added at once wait for each other at the merchant's others; the very first have none.
            present = await connection.fetch(_OF + " FOR UPDATE", endpoint.merchant_id)
            if len(present) >= most:
                raise NotPossible(f"there are {len(present)} endpoints; remove one first")
            await connection.execute(
                _INSERT, endpoint.merchant_id, endpoint.id, *_values(endpoint), endpoint.created_time_ms
            )
            entry = AuditEntry(endpoint.merchant_id, who, act, f"webhook/{endpoint.id}", {}, _fields(endpoint))
            await audit_trail.append(connection, entry)

        await self._sessions.transaction(work)

    async def change(
        self, merchant_id: str, endpoint_id: UUID, changed: Callable[[Endpoint], Endpoint], who: str, act: str
    ) -> Endpoint:
        """Under its lock: what `changed` makes of it (may be run again; may raise). Raises Missing."""

        async def work(connection: Connection) -> Endpoint:
            row = await connection.fetchrow(_FIND + " FOR UPDATE", merchant_id, endpoint_id)
            if row is None:
                raise Missing("no such endpoint")
            before = endpoint_from(row)
            after = changed(before)
            await connection.execute(_SAVE, merchant_id, endpoint_id, *_values(after))
            told = {name: value for name, value in _fields(after).items() if value != _fields(before)[name]}
            if after.secret != before.secret:
                told["secret"] = "another"  # noqa: S105, that it changed, not what it is
            earlier = {name: _fields(before)[name] for name in told if name != "secret"}
            await audit_trail.append(
                connection, AuditEntry(merchant_id, who, act, f"webhook/{endpoint_id}", earlier, told)
            )
            return after

        return await self._sessions.transaction(work)

    async def queue_ping(self, delivery: Delivery, since_ms: int, most: int) -> bool:
        """False: there were `most` since then."""

        async def work(connection: Connection) -> bool:
            await connection.fetchrow(_FIND + " FOR UPDATE", delivery.merchant_id, delivery.endpoint_id)
            key = (delivery.merchant_id, delivery.endpoint_id)
            if await connection.fetchval(_RECENT_PINGS, *key, lowest_id_at(since_ms)) >= most:
                return False
            await connection.execute(
                _QUEUE, [delivery.merchant_id], [delivery.id], [delivery.endpoint_id], [delivery.event_type],
                [delivery.payload], delivery.expires_time_ms - delivery.created_time_ms, delivery.created_time_ms,
            )  # fmt: skip
            return True

        return await self._sessions.transaction(work)

    async def deliveries(
        self, merchant_id: str, endpoint_id: UUID, state: DeliveryState | None, before: UUID, limit: int
    ) -> list[Delivery]:
        """Newest first."""
        statement, more = (_DELIVERIES, ()) if state is None else (_DELIVERIES_IN, (state,))
        rows = await self._sessions.run(
            lambda connection: connection.fetch(statement, merchant_id, endpoint_id, before, limit, *more)
        )
        return [delivery_from(row) for row in rows]

    async def delivery(self, merchant_id: str, identity: UUID) -> tuple[Delivery, list[Attempt]] | None:
        async def work(connection: Connection) -> tuple[Delivery, list[Attempt]] | None:
            row = await connection.fetchrow(_DELIVERY, merchant_id, identity)
            if row is None:
                return None
            attempts = await connection.fetch(_ATTEMPTS, merchant_id, identity)
            return delivery_from(row), [attempt_from(each) for each in attempts]

        return await self._sessions.run(work)

    async def replay(self, merchant_id: str, ids: Sequence[UUID], now_ms: int, entry: AuditEntry) -> int:
        """How many of them go again: not those that wait anyway."""

        async def work(connection: Connection) -> int:
            rows = await connection.fetch(_REPLAY, merchant_id, ids, now_ms, now_ms + _DAY_MS)
            await audit_trail.append(connection, entry)
            return len(rows)

        return await self._sessions.transaction(work)

    async def replayable(
        self, merchant_id: str, endpoint_id: UUID, from_ms: int, until_ms: int, dead_only: bool, limit: int
    ) -> list[UUID]:
        """Oldest first."""
        statement = _REPLAYED_DEAD if dead_only else _REPLAYED
        bounds = (lowest_id_at(from_ms), lowest_id_at(until_ms))
        rows = await self._sessions.run(
            lambda connection: connection.fetch(statement, merchant_id, endpoint_id, *bounds, limit)
        )
        return [UUID(int=row["id"].int) for row in rows]


def _values(endpoint: Endpoint) -> tuple[Any, ...]:
    return (
        endpoint.url, endpoint.description, list(endpoint.event_types), endpoint.state, endpoint.secret,
        endpoint.previous_secret, endpoint.previous_until_ms, endpoint.failures, endpoint.failing_since_ms,
        endpoint.circuit_until_ms,
    )  # fmt: skip


def _fields(endpoint: Endpoint) -> dict[str, object]:
    """What the audit trail tells of one."""
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": list(endpoint.event_types),
        "state": endpoint.state.name,
        "previous_until_ms": endpoint.previous_until_ms,
    }


def endpoint_from(row: Record) -> Endpoint:
    return Endpoint(
        merchant_id=row["merchant_id"],
        id=UUID(int=row["id"].int),
        url=row["url"],
        description=row["description"],
        event_types=tuple(row["event_types"]),
        state=EndpointState(row["state"]),
        secret=row["secret"],
        previous_secret=row["previous_secret"],
        previous_until_ms=row["previous_until_ms"],
        failures=row["failures"],
        failing_since_ms=row["failing_since_ms"],
        circuit_until_ms=row["circuit_until_ms"],
        created_time_ms=row["created_time_ms"],
    )


def delivery_from(row: Record) -> Delivery:
    return Delivery(
        merchant_id=row["merchant_id"],
        id=UUID(int=row["id"].int),
        endpoint_id=UUID(int=row["endpoint_id"].int),
        event_type=row["event_type"],
        payload=row["payload"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        tries=row["tries"],
        due_time_ms=row["due_time_ms"],
        expires_time_ms=row["expires_time_ms"],
        fence=row["fence"],
        created_time_ms=row["created_time_ms"],
        ended_time_ms=row["ended_time_ms"],
    )


def attempt_from(row: Record) -> Attempt:
    return Attempt(row["number"], row["time_ms"], row["latency_ms"], row["status"], row["failure"], row["answer"])
