"""The ledger's checker: from the entries and the journal's events alone, with nothing of what entered them."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Final

from switch.domain.books import Fault
from switch.domain.journal_event import EventKind
from switch.domain.ledger import FEES, MERCHANT, PostingKind
from switch.domain.states import Operation
from switch.store.heavy import HeavyConnections, snapshot
from switch.store.ledger_days import digest_of
from switch.store.sessions import Connection

_MOST: Final = 100  # findings of one rule

_OF_PAYMENTS = f"({PostingKind.PAYMENT:d}, {PostingKind.REFUND:d}, {PostingKind.UNDOING:d})"
_FEES_OF = f"({PostingKind.PAYMENT:d}, {PostingKind.REFUND:d}, {PostingKind.UNDOING:d}, {PostingKind.PRICING:d})"
# Of payments whose day the journal has dropped the events go with it; their entries are kept (docs/retention.md).
_KEPT_FROM: Final = "(SELECT journal_from FROM housekeeping WHERE one)"
_TOLD = f"""
SELECT merchant_id, authorization_id, currency, 'channel:' || channel AS account,
       CASE kind WHEN {EventKind.REFUNDED:d} THEN {PostingKind.REFUND:d} WHEN {EventKind.UNDONE:d}
            THEN {PostingKind.UNDOING:d} ELSE {PostingKind.PAYMENT:d} END AS kind,
       sum(CASE WHEN kind IN ({EventKind.REFUNDED:d}, {EventKind.UNDONE:d}) THEN -amount_minor ELSE amount_minor END)
           AS amount_minor
FROM journal_events
WHERE position <= (SELECT position FROM ledger_followed WHERE one) AND authorization_id >= {_KEPT_FROM}
      AND (kind IN ({EventKind.CAPTURED:d}, {EventKind.REFUNDED:d}, {EventKind.UNDONE:d})
           OR kind = {EventKind.APPROVED:d} AND operation <> {Operation.PRE_AUTHORIZATION:d})
GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608
_ENTERED = f"""
SELECT merchant_id, authorization_id, currency, account, kind, sum(amount_minor) AS amount_minor
FROM ledger_entries WHERE kind IN {_OF_PAYMENTS} AND account NOT IN ('{MERCHANT}', '{FEES}')
      AND (authorization_id IS NULL OR authorization_id >= {_KEPT_FROM})
GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608

# Each gives (subject, detail) of what breaks it. $1: a day, or null for all.
_RULES: Final = {
    "transaction-balances": """
        SELECT merchant_id || '/' || transaction_id, currency || ' ' || sum(amount_minor)
        FROM ledger_entries WHERE $1::date IS NULL OR day = $1
        GROUP BY merchant_id, transaction_id, currency HAVING sum(amount_minor) <> 0
    """,
    "currency-balances": """
        SELECT currency, sum(amount_minor)::text
        FROM ledger_entries WHERE $1::date IS NULL OR day = $1 GROUP BY currency HAVING sum(amount_minor) <> 0
    """,
    "day-is-its-entries": """
        SELECT concat_ws('/', day, merchant_id, currency, account, kind),
               COALESCE(d.amount_minor, 0) || ' summed, ' || COALESCE(e.amount_minor, 0) || ' entered'
        FROM (SELECT * FROM ledger_days WHERE $1::date IS NULL OR day = $1) AS d
        FULL JOIN (
            SELECT merchant_id, day, currency, account, kind, sum(amount_minor) AS amount_minor, count(*) AS entries
            FROM ledger_entries
            WHERE ($1::date IS NULL OR day = $1) AND day <= (SELECT closed_through FROM ledger_books WHERE one)
            GROUP BY merchant_id, day, currency, account, kind
        ) AS e USING (merchant_id, day, currency, account, kind)
        WHERE d.amount_minor IS DISTINCT FROM e.amount_minor OR d.entries IS DISTINCT FROM e.entries
    """,
}
# Of the whole ledger; no parameter.
_WHOLE: Final = {
    "balance-is-its-days": """
        SELECT concat_ws('/', merchant_id, currency, account),
               COALESCE(b.balance_minor, 0) || ' kept, ' || COALESCE(d.amount_minor, 0) || ' summed'
        FROM ledger_balances AS b FULL JOIN (
            SELECT merchant_id, currency, account, sum(amount_minor) AS amount_minor FROM ledger_days GROUP BY 1, 2, 3
        ) AS d USING (merchant_id, currency, account)
        WHERE b.balance_minor IS DISTINCT FROM d.amount_minor
    """,
    "entries-are-the-journal": f"""
        SELECT concat_ws('/', merchant_id, authorization_id, account, currency, kind),
               COALESCE(t.amount_minor, 0) || ' in the journal, ' || COALESCE(e.amount_minor, 0) || ' entered'
        FROM ({_TOLD}) AS t FULL JOIN ({_ENTERED}) AS e USING (merchant_id, authorization_id, currency, account, kind)
        WHERE COALESCE(t.amount_minor, 0) <> COALESCE(e.amount_minor, 0)
    """,  # noqa: S608
    "fee-within-its-payment": f"""
        SELECT concat_ws('/', merchant_id, authorization_id, currency),
               sum(-amount_minor) FILTER (WHERE account = '{FEES}') || ' kept'
        FROM ledger_entries WHERE kind IN {_FEES_OF} AND account <> '{MERCHANT}'
        GROUP BY merchant_id, authorization_id, currency
        HAVING sum(-amount_minor) FILTER (WHERE account = '{FEES}') NOT BETWEEN 0 AND
               COALESCE(sum(amount_minor) FILTER (WHERE account <> '{FEES}' AND kind = {PostingKind.PAYMENT:d}), 0)
    """,  # noqa: S608
}  # fmt: skip
_CLOSINGS = """
SELECT day, previous_day, digest FROM ledger_closings
WHERE closed_time_ms IS NOT NULL AND ($1::date IS NULL OR day = $1) ORDER BY day
"""


class LedgerChecker:
    """Meets `switch.settlement.store.Checker`."""

    def __init__(self, heavy: HeavyConnections) -> None:
        self._heavy = heavy

    async def check(self, day: str) -> list[Fault]:
        """Everything, or what can be said of one day ("": everything), as of one moment. At most 100 of each rule."""
        async with self._heavy.open() as connection, snapshot(connection):
            return [fault async for fault in _faults(connection, date.fromisoformat(day) if day else None)]


async def _faults(connection: Connection, day: date | None) -> AsyncIterator[Fault]:
    for name, statement in _RULES.items():
        for row in await connection.fetch(f"{statement} LIMIT {_MOST}", day):
            yield Fault(name, row[0], row[1])
    if day is None:
        for name, statement in _WHOLE.items():
            for row in await connection.fetch(f"{statement} LIMIT {_MOST}"):
                yield Fault(name, row[0], row[1])
    for row in await connection.fetch(_CLOSINGS, day):
        if await digest_of(connection, row["day"], row["previous_day"]) != row["digest"]:
            yield Fault("day-is-unchanged", str(row["day"]), "the entries are not those that were closed")
