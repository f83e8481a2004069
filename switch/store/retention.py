"""What is old goes: the journal's days as partitions, everything else in bounded batches (docs/retention.md).

The ledger, its closings, the audit trail, disputes, bills and settlements are nobody's here: nothing of them goes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from switch.domain.identity import lowest_id_at
from switch.store.heavy import HeavyConnections
from switch.store.journal_days import READ_BY_ALL, JournalDay, JournalDays
from switch.store.sessions import Connection, Pool, Sessions

log = structlog.get_logger()

_DAY_MS: Final = 86_400_000
_LEASE_MS: Final = 600_000
# Days dropped in one housekeeping: each looks through much.
MOST_DAYS: Final = 31

_CLAIM = """
UPDATE housekeeping SET lease_until_ms = now_ms() + $1, fence = fence + 1
WHERE one AND lease_until_ms <= now_ms() AND done_time_ms < $2 RETURNING fence
"""
_RENEW = "UPDATE housekeeping SET lease_until_ms = now_ms() + $1 WHERE one AND fence = $2 RETURNING 1"
_DONE = "UPDATE housekeeping SET lease_until_ms = 0, done_time_ms = now_ms() WHERE one AND fence = $1"

_FROM = "(SELECT journal_from FROM housekeeping WHERE one)"
# By table: which rows are old. $1: Unix ms, where it says so; what is the journal's goes after its day, and only then:
# the feed tells everything of a payment anew when something happens to it, and must find what it told before.
_OF_DROPPED_DAYS: Final = {
    "journal_events": f"authorization_id < {_FROM} AND position <= {READ_BY_ALL}",
    "follow_ons": f"authorization_id < {_FROM} AND state NOT IN (1, 2, 5, 8)",
    "follow_ups": f"authorization_id < {_FROM} AND state = 2",
}
_OLD_WEBHOOKS: Final = {
    "webhook_deliveries": "created_time_ms < $1 AND state <> 1",
    "webhook_alerts": "time_ms < $1",
}
# Of one merchant ($2), below an id ($1): what may still change, is disputed or being refunded stays.
_OLD_TRANSACTIONS: Final = """
t.merchant_id = $2 AND t.id < $1 AND t.state NOT IN (1, 2, 5, 8)
AND NOT EXISTS (SELECT 1 FROM disputes AS d
                WHERE d.merchant_id = t.merchant_id AND d.authorization_id = t.id AND d.state IN (1, 2, 3, 4))
AND NOT EXISTS (SELECT 1 FROM merchant_refunds AS r
                WHERE r.merchant_id = t.merchant_id AND r.authorization_id = t.id AND r.state IN (1, 2, 3))
"""
_NEXT_MERCHANT = "SELECT merchant_id FROM merchant_transactions WHERE merchant_id > $1 ORDER BY merchant_id LIMIT 1"


@dataclass(frozen=True, slots=True)
class Rules:
    """Days that are kept; 0: for ever."""

    journal_days: int
    transactions_days: int
    webhooks_days: int


@dataclass(frozen=True, slots=True)
class Old:
    """What would go. before_ms: Unix ms, 0 where it is of days that are dropped already. held: why not."""

    what: str
    before_ms: int
    rows: int | None
    held: str = ""


class Retention:
    def __init__(self, heavy: HeavyConnections, rules: Rules, now_ms: Callable[[], int]) -> None:
        self._heavy = heavy
        self._rules = rules
        self._now_ms = now_ms
        self.days = JournalDays(heavy)

    def _before_ms(self, days: int) -> int | None:
        return self._now_ms() - days * _DAY_MS if days else None

    async def old_days(self) -> list[JournalDay]:
        before_ms = self._before_ms(self._rules.journal_days)
        return [] if before_ms is None else await self.days.old(before_ms, MOST_DAYS)

    async def show(self) -> list[Old]:
        """As of now; changes nothing. Of the days to be dropped what goes with them is not counted."""
        found = [Old(f"journal day {each.day}", each.until_ms, None, each.held) for each in await self.old_days()]
        async with self._heavy.open() as connection:
            for table, old in _OF_DROPPED_DAYS.items():
                found.append(Old(table, 0, await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {old}")))  # noqa: S608
            webhooks_ms = self._before_ms(self._rules.webhooks_days)
            for table, old in _OLD_WEBHOOKS.items() if webhooks_ms is not None else ():
                counted = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {old}", webhooks_ms)  # noqa: S608
                found.append(Old(table, webhooks_ms or 0, counted))
            transactions_ms = self._before_ms(self._rules.transactions_days)
            if transactions_ms is not None:
                rows = await _counted_transactions(connection, lowest_id_at(transactions_ms))
                found.append(Old("merchant_transactions", transactions_ms, rows))
        return found

    async def delete_of_dropped_days(self, limit: int) -> int:
        """At most so many rows of each table; how many went. Raises StoreUnavailable, as the next two do."""
        async with self._heavy.open() as connection:
            return sum([await _delete(connection, table, old, limit) for table, old in _OF_DROPPED_DAYS.items()])

    async def delete_webhooks(self, limit: int) -> int:
        before_ms = self._before_ms(self._rules.webhooks_days)
        if before_ms is None:
            return 0
        async with self._heavy.open() as connection:
            removed = await _delete_deliveries(connection, before_ms, limit)
            return removed + await _delete(
                connection, "webhook_alerts", _OLD_WEBHOOKS["webhook_alerts"], limit, before_ms
            )

    async def delete_transactions(self, after: str, limit: int) -> tuple[int, str | None]:
        """Of the merchants after that one: (rows, the last merchant that is done), None after the last."""
        before_ms = self._before_ms(self._rules.transactions_days)
        if before_ms is None:
            return 0, None
        async with self._heavy.open() as connection:
            return await _delete_transactions(connection, lowest_id_at(before_ms), after, limit)


async def _delete(connection: Connection, table: str, old: str, limit: int, *values: object) -> int:
    """By where the rows lie; looked at again, since one may have changed meanwhile."""
    place = f"${len(values) + 1}"
    found = f"SELECT ctid FROM {table} WHERE {old} LIMIT {place}"  # noqa: S608 - of the constants above
    statement = f"DELETE FROM {table} WHERE ctid = ANY (ARRAY({found})) AND {old}"  # noqa: S608
    return _count(await connection.execute(statement, *values, limit))


async def _delete_deliveries(connection: Connection, before_ms: int, limit: int) -> int:
    """With their attempts."""
    old = _OLD_WEBHOOKS["webhook_deliveries"]
    statement = f"""
        WITH gone AS (
            DELETE FROM webhook_deliveries
            WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhook_deliveries WHERE {old} LIMIT $2)) AND {old}
            RETURNING merchant_id, id),
        attempts AS (
            DELETE FROM webhook_attempts AS a USING gone AS g
            WHERE a.merchant_id = g.merchant_id AND a.delivery_id = g.id)
        SELECT count(*) FROM gone
    """  # noqa: S608
    removed: int = await connection.fetchval(statement, before_ms, limit)
    return removed


async def _delete_transactions(
    connection: Connection, below: UUID, after: str, limit: int
) -> tuple[int, str | None]:  # fmt: skip
    """Until the limit is reached; a merchant that has more is not done."""
    removed, merchant_id = 0, after
    while removed < limit:
        following = await connection.fetchval(_NEXT_MERCHANT, merchant_id)
        if following is None:
            return removed, None
        found = f"SELECT t.ctid FROM merchant_transactions AS t WHERE {_OLD_TRANSACTIONS} LIMIT $3"  # noqa: S608
        statement = f"DELETE FROM merchant_transactions AS t WHERE ctid = ANY (ARRAY({found})) AND {_OLD_TRANSACTIONS}"  # noqa: S608
        gone = _count(await connection.execute(statement, below, following, limit - removed))
        removed += gone
        if removed < limit:
            merchant_id = following
    return removed, merchant_id


async def _counted_transactions(connection: Connection, below: UUID) -> int:
    counted, merchant_id = 0, ""
    statement = f"SELECT count(*) FROM merchant_transactions AS t WHERE {_OLD_TRANSACTIONS}"  # noqa: S608
    while (following := await connection.fetchval(_NEXT_MERCHANT, merchant_id)) is not None:
        counted += await connection.fetchval(statement, below, following)
        merchant_id = following
    return counted


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])


class Housekeeping:
    """Once a day, by one process of several: whoever has the lease. Bounded batches, with pauses between them."""

    def __init__(self, pool: Pool, retention: Retention, batch: int, pause_s: float) -> None:
        self._sessions = Sessions(pool)
        self._retention = retention
        self._batch = batch
        self._pause_s = pause_s

    async def look(self, due_ms: int, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> int | None:
        """Do it unless it was done since `due_ms` (Unix ms). How many rows and days went; None: not due, or another
        process is at it, or has taken over. Raises StoreUnavailable."""
        fence = await self._sessions.run(lambda connection: connection.fetchval(_CLAIM, _LEASE_MS, due_ms))
        if fence is None:
            return None
        done = await self._drop_days(fence)
        for delete in (self._retention.delete_of_dropped_days, self._retention.delete_webhooks):
            removed = 1
            while removed:
                if not await self._renewed(fence):
                    return None
                removed = await delete(self._batch)
                done += removed
                await pause(self._pause_s)
        merchant: str | None = ""
        while merchant is not None:
            if not await self._renewed(fence):
                return None
            removed, merchant = await self._retention.delete_transactions(merchant, self._batch)
            done += removed
            await pause(self._pause_s)
        await self._sessions.run(lambda connection: connection.execute(_DONE, fence))
        log.info("housekeeping_done", rows_and_days=done)
        return done

    async def _drop_days(self, fence: int) -> int:
        dropped = 0
        for day in await self._retention.old_days():
            held = day.held or (await self._retention.days.drop(day) if await self._renewed(fence) else "lease")
            if held:
                log.warning("journal_day_held", day=str(day.day), reason=held)
                break
            dropped += 1
        return dropped

    async def _renewed(self, fence: int) -> bool:
        return bool(await self._sessions.run(lambda connection: connection.fetchval(_RENEW, _LEASE_MS, fence)))
