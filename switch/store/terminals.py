"""Terminals and what they sent, in PostgreSQL. Every statement names one merchant but the list for an operator."""

from typing import Any

import asyncpg

from switch.domain.authorization import Merchant
from switch.domain.states import Operation
from switch.domain.terminal import BatchTotals, Terminal, TerminalEntry, WorkingKeys
from switch.store.sessions import Connection, Pool, Sessions

_TERMINAL = """
SELECT merchant_id, terminal_id, acquirer_id, merchant_name, merchant_city, merchant_category_code, key, batch,
       signed_on, pin_key, mac_key, previous_pin_key, previous_mac_key
FROM terminals
"""

_FIND = _TERMINAL + "WHERE merchant_id = $1 AND terminal_id = $2"

_ALL = _TERMINAL + "ORDER BY merchant_id, terminal_id"

_KNOWS_MERCHANT = "SELECT 1 FROM terminals WHERE merchant_id = $1 LIMIT 1"

_ADD = """
INSERT INTO terminals (
    merchant_id, terminal_id, acquirer_id, merchant_name, merchant_city, merchant_category_code, key, batch, signed_on,
    pin_key, mac_key, previous_pin_key, previous_mac_key, created_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7,
    (SELECT LEAST(COALESCE(max(batch), 0) + 1, 999999) FROM terminal_entries
     WHERE merchant_id = $1 AND terminal_id = $2),
    false, '', '', '', '', now_ms())
ON CONFLICT DO NOTHING RETURNING batch
"""

_REMOVE = "DELETE FROM terminals WHERE merchant_id = $1 AND terminal_id = $2 RETURNING key"

_SIGN_ON = """
UPDATE terminals SET signed_on = true, previous_pin_key = pin_key, previous_mac_key = mac_key, pin_key = $3,
    mac_key = $4
WHERE merchant_id = $1 AND terminal_id = $2
"""

_SIGN_OFF = "UPDATE terminals SET signed_on = false WHERE merchant_id = $1 AND terminal_id = $2"

_CLOSE_BATCH = """
UPDATE terminals SET batch = CASE WHEN batch = 999999 THEN 1 ELSE batch + 1 END
WHERE merchant_id = $1 AND terminal_id = $2 AND batch = $3
"""

_KEEP = """
INSERT INTO terminal_entries (
    merchant_id, terminal_id, batch, stan, operation, transmission_time_ms, id, authorization_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING RETURNING stan
"""

_ENTRY = """
SELECT merchant_id, terminal_id, batch, stan, operation, transmission_time_ms, id, authorization_id
FROM terminal_entries WHERE merchant_id = $1 AND terminal_id = $2 AND batch = $3 AND stan = $4
"""

# Sales that stand (operation 1, state APPROVED 3), completions (CAPTURE 3) and refunds (REFUND 5) that were approved.
_TOTALS = """
SELECT COALESCE(sum(minor) FILTER (WHERE debit), 0)::bigint AS debit_minor, count(*) FILTER (WHERE debit) AS debits,
       COALESCE(sum(minor) FILTER (WHERE NOT debit), 0)::bigint AS credit_minor,
       count(*) FILTER (WHERE NOT debit) AS credits
FROM (
    SELECT a.approved_minor AS minor, true AS debit
    FROM terminal_entries AS e JOIN authorizations AS a ON a.merchant_id = e.merchant_id AND a.id = e.id
    WHERE e.merchant_id = $1 AND e.terminal_id = $2 AND e.batch = $3 AND e.operation = 1 AND a.state = 3
    UNION ALL
    SELECT f.amount_minor, f.operation = 3
    FROM terminal_entries AS e JOIN follow_ons AS f ON f.merchant_id = e.merchant_id AND f.id = e.id
    WHERE e.merchant_id = $1 AND e.terminal_id = $2 AND e.batch = $3 AND e.operation IN (3, 5) AND f.state = 3
) AS movements
"""


class PostgresTerminals:
    """Meets `switch.terminals.store.TerminalStore`, and serves `payswitch terminals`."""

    def __init__(self, pool: Pool, *, acquire_timeout_s: float = 2.0) -> None:
        self._sessions = Sessions(pool, acquire_timeout_s)

    async def _fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._sessions.run(lambda connection: connection.fetch(statement, *arguments))

    # --- terminals ----------------------------------------------------------------------------------------------------

    async def find(self, merchant_id: str, terminal_id: str) -> Terminal | None:
        rows = await self._fetch(_FIND, merchant_id, terminal_id)
        return _terminal(rows[0]) if rows else None

    async def knows_merchant(self, merchant_id: str) -> bool:
        return bool(await self._fetch(_KNOWS_MERCHANT, merchant_id))

    async def all(self) -> list[Terminal]:
        return [_terminal(each) for each in await self._fetch(_ALL)]

    async def add(self, terminal: Terminal) -> int | None:
        """Its first batch: behind the last of a terminal of the same name that was removed. None: it is there."""
        merchant = terminal.merchant
        rows = await self._fetch(
            _ADD, merchant.id, terminal.terminal_id, terminal.acquirer_id, merchant.name, merchant.city,
            merchant.category_code, terminal.key,
        )  # fmt: skip
        return int(rows[0]["batch"]) if rows else None

    async def remove(self, merchant_id: str, terminal_id: str) -> str | None:
        """The label of its master key, which stays in the HSM; None if there was no such terminal."""
        rows = await self._fetch(_REMOVE, merchant_id, terminal_id)
        return str(rows[0]["key"]) if rows else None

    async def sign_on(self, terminal: Terminal, keys: WorkingKeys) -> None:
        """The keys it had are the previous ones. Durable on return."""
        await self._fetch(_SIGN_ON, terminal.merchant.id, terminal.terminal_id, keys.pin, keys.mac)

    async def sign_off(self, terminal: Terminal) -> None:
        await self._fetch(_SIGN_OFF, terminal.merchant.id, terminal.terminal_id)

    # --- entries ------------------------------------------------------------------------------------------------------

    async def keep(self, entry: TerminalEntry) -> TerminalEntry:
        """What is stored under that name: this one if there was none. Durable on return."""
        arguments = (
            entry.merchant_id, entry.terminal_id, entry.batch, entry.stan, entry.operation.value,
            entry.transmission_time_ms, entry.id, entry.authorization_id,
        )  # fmt: skip

        async def work(connection: Connection) -> TerminalEntry:
            if await connection.fetch(_KEEP, *arguments):
                return entry
            return _entry((await connection.fetch(_ENTRY, *arguments[:4]))[0])

        return await self._sessions.run(work)

    async def entry(self, merchant_id: str, terminal_id: str, batch: int, stan: int) -> TerminalEntry | None:
        rows = await self._fetch(_ENTRY, merchant_id, terminal_id, batch, stan)
        return _entry(rows[0]) if rows else None

    async def totals(self, terminal: Terminal, batch: int) -> BatchTotals:
        [row] = await self._fetch(_TOTALS, terminal.merchant.id, terminal.terminal_id, batch)
        return BatchTotals(row["debit_minor"], row["debits"], row["credit_minor"], row["credits"])

    async def close_batch(self, terminal: Terminal, batch: int) -> None:
        """The next batch is open; nothing if that one was closed before."""
        await self._fetch(_CLOSE_BATCH, terminal.merchant.id, terminal.terminal_id, batch)


def _terminal(row: asyncpg.Record) -> Terminal:
    merchant = Merchant(
        row["merchant_id"], row["merchant_name"], row["merchant_city"], category_code=row["merchant_category_code"]
    )
    return Terminal(
        merchant, row["terminal_id"], row["acquirer_id"], row["key"], row["batch"], row["signed_on"],
        _keys(row["pin_key"], row["mac_key"]), _keys(row["previous_pin_key"], row["previous_mac_key"]),
    )  # fmt: skip


def _keys(pin: bytes, mac: bytes) -> WorkingKeys | None:
    return WorkingKeys(pin, mac) if mac else None


def _entry(row: asyncpg.Record) -> TerminalEntry:
    return TerminalEntry(
        row["merchant_id"], row["terminal_id"], row["batch"], row["stan"], Operation(row["operation"]),
        row["transmission_time_ms"], row["id"], row["authorization_id"],
    )  # fmt: skip
