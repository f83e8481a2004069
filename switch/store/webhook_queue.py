"""The queue of webhook messages: claimed endpoint by endpoint, each by one worker at a time, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from switch.domain.webhook import Attempt, Delivery, DeliveryState, Endpoint
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.webhooks import delivery_from, endpoint_from

_DAY_MS: Final = 86_400_000

# The endpoints that have anything waiting: one step of the index each, however much waits (a loose index scan).
_WAITING = """
WITH RECURSIVE waiting AS (
    (SELECT merchant_id, endpoint_id FROM webhook_deliveries WHERE state = 1
     ORDER BY merchant_id, endpoint_id LIMIT 1)
    UNION ALL
    SELECT following.merchant_id, following.endpoint_id FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT d.merchant_id, d.endpoint_id FROM webhook_deliveries AS d
        WHERE d.state = 1 AND (d.merchant_id, d.endpoint_id) > (w.merchant_id, w.endpoint_id)
        ORDER BY d.merchant_id, d.endpoint_id LIMIT 1) AS following)
"""

# Of each endpoint that is ACTIVE (1) and whose circuit is closed a few that are due; of one that has just failed one.
_CLAIM = f"""
{_WAITING},
due AS (
    SELECT d.merchant_id, d.id, d.due_time_ms FROM waiting AS w
    JOIN webhook_endpoints AS e ON e.merchant_id = w.merchant_id AND e.id = w.endpoint_id
    CROSS JOIN LATERAL (
        SELECT q.merchant_id, q.id, q.due_time_ms FROM webhook_deliveries AS q
        WHERE q.merchant_id = w.merchant_id AND q.endpoint_id = w.endpoint_id AND q.state = 1
          AND q.due_time_ms <= $1 AND q.expires_time_ms > $1
        ORDER BY q.due_time_ms LIMIT greatest(0, CASE WHEN e.failures > 0 THEN 1 ELSE $3::integer END - coalesce(
            (SELECT u.count FROM unnest($5::uuid[], $6::integer[]) AS u (id, count) WHERE u.id = e.id), 0))
        FOR UPDATE SKIP LOCKED) AS d
    WHERE e.state = 1 AND e.circuit_until_ms <= $1
    ORDER BY d.due_time_ms LIMIT $4)
UPDATE webhook_deliveries AS d SET due_time_ms = $1 + $2, fence = d.fence + 1
FROM due WHERE d.merchant_id = due.merchant_id AND d.id = due.id
RETURNING d.*
"""  # noqa: S608, constants

_ENDPOINTS = """
SELECT e.* FROM unnest($1::text[], $2::uuid[]) AS wanted (merchant_id, id)
JOIN webhook_endpoints AS e ON e.merchant_id = wanted.merchant_id AND e.id = wanted.id
"""

# Messages whose day is over, whatever their endpoint is doing.
_EXPIRE = f"""
{_WAITING},
over AS (
    SELECT d.merchant_id, d.id FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT q.merchant_id, q.id FROM webhook_deliveries AS q
        WHERE q.merchant_id = w.merchant_id AND q.endpoint_id = w.endpoint_id AND q.state = 1
          AND q.expires_time_ms <= $1 AND q.due_time_ms <= $1
        ORDER BY q.due_time_ms LIMIT 100 FOR UPDATE SKIP LOCKED) AS d
    LIMIT $2)
UPDATE webhook_deliveries AS d SET state = 3, ended_time_ms = $1
FROM over WHERE d.merchant_id = over.merchant_id AND d.id = over.id
RETURNING d.id
"""  # noqa: S608, constants

_RECORD = """
UPDATE webhook_deliveries SET state = $4, attempts = $5, tries = tries + 1, due_time_ms = $6, ended_time_ms = $7
WHERE merchant_id = $1 AND id = $2 AND fence = $3 AND state = 1
RETURNING attempts
"""
_LOG = """
INSERT INTO webhook_attempts (merchant_id, delivery_id, number, time_ms, latency_ms, status, failure, answer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_TAKEN = """
UPDATE webhook_endpoints SET failures = 0, failing_since_ms = 0, circuit_until_ms = 0
WHERE merchant_id = $1 AND id = $2 AND failures > 0
"""
_FAILED = """
UPDATE webhook_endpoints
SET failures = failures + 1,
    failing_since_ms = CASE failing_since_ms WHEN 0 THEN $3 ELSE failing_since_ms END,
    circuit_until_ms = CASE WHEN failures + 1 >= $4 THEN $3 + $5 ELSE circuit_until_ms END
WHERE merchant_id = $1 AND id = $2 AND state = 1
"""

# Switched off, and an alert of it for whoever tells the merchant.
_DISABLE = """
WITH disabled AS (
    UPDATE webhook_endpoints SET state = 3
    WHERE state = 1 AND failing_since_ms > 0 AND failing_since_ms <= $1::bigint - $2::bigint
    RETURNING merchant_id, id),
told AS (
    INSERT INTO webhook_alerts (merchant_id, endpoint_id, time_ms, kind)
    SELECT merchant_id, id, $1, 'disabled' FROM disabled ON CONFLICT DO NOTHING)
SELECT merchant_id, id FROM disabled
"""


@dataclass(frozen=True, slots=True)
class Circuit:
    """After so many failures in a row an endpoint is tried once in open_ms; after disable_ms of them not at all."""

    failures: int = 5
    open_ms: int = 60_000
    disable_ms: int = _DAY_MS


class WebhookQueue:
    def __init__(self, pool: Pool, circuit: Circuit) -> None:
        self._sessions = Sessions(pool)
        self._circuit = circuit

    async def claim(
        self, now_ms: int, lease_ms: int, of_each: int, limit: int, under_way: Mapping[UUID, int]
    ) -> list[tuple[Delivery, Endpoint]]:
        """At most `limit`; of each endpoint as many as with those that this process has under way already make
        `of_each`, or one if it has just failed. Nobody else gets them until the lease has run out."""

        async def work(connection: Connection) -> list[tuple[Delivery, Endpoint]]:
            busy = (list(under_way), list(under_way.values()))
            rows = await connection.fetch(_CLAIM, now_ms, lease_ms, of_each, limit, *busy)
            claimed = [delivery_from(row) for row in rows]
            keys = sorted(
                {(each.merchant_id, each.endpoint_id) for each in claimed}, key=lambda key: (key[0], key[1].int)
            )
            found = await connection.fetch(_ENDPOINTS, [key[0] for key in keys], [key[1] for key in keys])
            endpoints = {(row["merchant_id"], row["id"].int): endpoint_from(row) for row in found}
            return [(each, endpoints[each.merchant_id, each.endpoint_id.int]) for each in claimed]

        return await self._sessions.transaction(work)

    async def record(self, delivery: Delivery, attempt: Attempt, state: DeliveryState, due_time_ms: int) -> bool:
        """What came of one attempt. False: another worker has the message by now, and nothing was recorded."""

        async def work(connection: Connection) -> bool:
            key = (delivery.merchant_id, delivery.id)
            ended_ms = attempt.time_ms if state is not DeliveryState.WAITING else 0
            number = await connection.fetchval(
                _RECORD, *key, delivery.fence, state, attempt.number, due_time_ms, ended_ms
            )
            if number is None:
                return False
            await connection.execute(
                _LOG, *key, attempt.number, attempt.time_ms, attempt.latency_ms, attempt.status, attempt.failure,
                attempt.answer,
            )  # fmt: skip
            await self._health(connection, delivery, attempt)
            return True

        return await self._sessions.transaction(work)

    async def _health(self, connection: Connection, delivery: Delivery, attempt: Attempt) -> None:
        key = (delivery.merchant_id, delivery.endpoint_id)
        if attempt.failure:
            circuit = self._circuit
            await connection.execute(_FAILED, *key, attempt.time_ms, circuit.failures, circuit.open_ms)
        else:
            await connection.execute(_TAKEN, *key)

    async def disable_failing(self, now_ms: int) -> list[tuple[str, UUID]]:
        """(merchant_id, endpoint id) of those that took nothing for so long, switched off by this call."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_DISABLE, now_ms, self._circuit.disable_ms))
        return [(row["merchant_id"], UUID(int=row["id"].int)) for row in rows]

    async def expire(self, now_ms: int, limit: int = 1_000) -> int:
        """How many were given up."""
        rows = await self._sessions.run(lambda connection: connection.fetch(_EXPIRE, now_ms, limit))
        return len(rows)
