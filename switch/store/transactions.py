"""The merchants' list of payments: kept by the journal's events, and read row by row or by `transaction_search`."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from switch.domain.audit import AuditEntry
from switch.domain.authorization import Authorization, FollowOn
from switch.domain.journal_event import EventKind, JournalEvent
from switch.domain.states import Operation, State
from switch.domain.transaction import Page, TransactionFilter
from switch.store import audit_trail
from switch.store.feed_consumer import Span, events_of
from switch.store.rows import authorization_from, follow_on_from
from switch.store.sessions import Connection, Pool, Sessions
from switch.store.transaction_search import Search

# What a capture (3) or refund (5) that is SENT (1) or UNKNOWN (5) has reserved is not captured or refunded yet.
_PROJECT = """
INSERT INTO merchant_transactions AS t (
    merchant_id, id, created_time_ms, answered_time_ms, checked_time_ms, amount_minor, approved_minor, captured_minor,
    refunded_minor, operation, entry, state, currency, acquirer_id, terminal_id, channel, response_code, reason,
    approval_code, retrieval_reference, channel_reference, reference, masked_credential, card_first6, card_last4,
    payer_key)
SELECT a.merchant_id, a.id, a.created_time_ms, a.answered_time_ms, now_ms(), a.amount_minor, a.approved_minor,
       greatest(0, a.captured_minor - pending.captures), greatest(0, a.refunded_minor - pending.refunds), a.operation,
       a.entry, a.state, a.currency, a.acquirer_id, a.terminal_id, a.channel, a.response_code, a.reason,
       a.approval_code, a.retrieval_reference, a.channel_reference, e.reference, a.masked_credential,
       CASE WHEN card.is_one THEN left(a.masked_credential, 6) ELSE '' END,
       CASE WHEN card.is_one THEN right(a.masked_credential, 4) ELSE '' END, a.payer_key
FROM PAYMENTS AS e
JOIN authorizations AS a ON a.merchant_id = e.merchant_id AND a.id = e.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(f.amount_minor) FILTER (WHERE f.operation = 3), 0)::bigint AS captures,
           coalesce(sum(f.amount_minor) FILTER (WHERE f.operation = 5), 0)::bigint AS refunds
    FROM follow_ons AS f
    WHERE f.merchant_id = a.merchant_id AND f.authorization_id = a.id AND f.state IN (1, 5)) AS pending
CROSS JOIN LATERAL (SELECT a.masked_credential ~ '^[0-9]{6}[*]+[0-9]{4}$' AS is_one) AS card
ON CONFLICT (merchant_id, id) DO UPDATE
SET answered_time_ms = excluded.answered_time_ms, checked_time_ms = excluded.checked_time_ms,
    approved_minor = excluded.approved_minor, captured_minor = excluded.captured_minor,
    refunded_minor = excluded.refunded_minor, state = excluded.state, response_code = excluded.response_code,
    reason = excluded.reason, channel = excluded.channel, approval_code = excluded.approval_code,
    retrieval_reference = excluded.retrieval_reference, channel_reference = excluded.channel_reference,
    reference = CASE excluded.reference WHEN '' THEN t.reference ELSE excluded.reference END
RETURNING merchant_id, id
"""
_PROJECT_NAMED: Final = _PROJECT.replace("PAYMENTS", "unnest($1::text[], $2::uuid[], $3::text[])").replace(
    "AS e\n", "AS e (merchant_id, id, reference)\n"
)

# Each payment of the events once, with the last reference of its own. In the order in which the sweep of open rows
# locks them, too.
_PROJECT_TOLD: Final = f"""
WITH told AS MATERIALIZED (
    SELECT merchant_id, authorization_id AS id,
           coalesce((array_agg(reference ORDER BY position DESC) FILTER (
               WHERE reference <> '' AND follow_on_id = '00000000-0000-0000-0000-000000000000'))[1], '') AS reference
    FROM journal_events WHERE position > $1 AND position <= $2
    GROUP BY merchant_id, authorization_id ORDER BY merchant_id COLLATE "C", authorization_id),
written AS ({_PROJECT.replace("PAYMENTS", "told")})
SELECT (SELECT count(*) FROM told) - (SELECT count(*) FROM written)
"""  # noqa: S608, constants

# Of payments that the journal has no more; scalar, to be a look-up whatever the statistics say. Nothing is dropped
# between the two statements: that would wait for this transaction.
_GONE: Final = """
SELECT * FROM journal_events AS e
WHERE position > $1 AND position <= $2
  AND (SELECT a.state FROM authorizations AS a WHERE a.merchant_id = e.merchant_id AND a.id = e.authorization_id)
      IS NULL
ORDER BY position
"""

# Where the journal's row is gone: what the events themselves say, added up. Each event comes once.
_FOLD = """
INSERT INTO merchant_transactions AS t (
    merchant_id, id, created_time_ms, answered_time_ms, checked_time_ms, amount_minor, approved_minor, captured_minor,
    refunded_minor, operation, entry, state, currency, acquirer_id, terminal_id, channel, response_code, reason,
    approval_code, retrieval_reference, channel_reference, reference, masked_credential, card_first6, card_last4,
    payer_key)
VALUES ($1, $2, $3, $4, now_ms(), $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, '', '', '', '', $17, '', $18,
        '', $19)
ON CONFLICT (merchant_id, id) DO UPDATE
SET answered_time_ms = greatest(t.answered_time_ms, excluded.answered_time_ms),
    approved_minor = t.approved_minor + excluded.approved_minor,
    captured_minor = CASE excluded.state WHEN 6 THEN t.refunded_minor
                     ELSE t.captured_minor + excluded.captured_minor END,
    refunded_minor = t.refunded_minor + excluded.refunded_minor,
    state = CASE excluded.state WHEN 6 THEN excluded.state ELSE t.state END
"""

# SENT, AWAITING_PAYER, UNKNOWN, DEAD_LETTER: they may change without an event.
_DUE = """
SELECT merchant_id, id FROM merchant_transactions WHERE state IN (1, 2, 5, 8) AND checked_time_ms < now_ms() - $1
ORDER BY checked_time_ms LIMIT $2 FOR UPDATE SKIP LOCKED
"""

_CHECKED = """
UPDATE merchant_transactions AS t SET checked_time_ms = now_ms()
FROM unnest($1::text[], $2::uuid[]) AS c (merchant_id, id) WHERE t.merchant_id = c.merchant_id AND t.id = c.id
"""

_FIND = "SELECT * FROM authorizations WHERE merchant_id = $1 AND id = $2"
_FOLLOW_ONS = """
SELECT * FROM follow_ons WHERE merchant_id = $1 AND authorization_id = $2 ORDER BY created_time_ms, id
"""
_REFERENCE = "SELECT reference FROM merchant_transactions WHERE merchant_id = $1 AND id = $2"
# The journal may have dropped its day, and the list may not have it yet.
_PAYER = """
SELECT coalesce((SELECT payer_key FROM merchant_transactions WHERE merchant_id = $1 AND id = $2),
                (SELECT payer_key FROM authorizations WHERE merchant_id = $1 AND id = $2))
"""

_STATE_OF: Final = {
    EventKind.DECLINED: State.DECLINED,
    EventKind.UNANSWERED: State.UNKNOWN,
    EventKind.UNDONE: State.REVERSED,
}
_RAISES: Final = frozenset({EventKind.APPROVED, EventKind.INCREMENTED})


async def project(connection: Connection, span: Span) -> None:
    """The rows of those events' payments, as the journal has them now. Within the feed consumer's transaction."""
    if await connection.fetchval(_PROJECT_TOLD, span.after, span.until):
        folded = [_folded(event) for event in await events_of(connection, _GONE, span)]
        await connection.executemany(_FOLD, folded)


async def _project(connection: Connection, keys: Sequence[tuple[str, UUID]]) -> set[tuple[str, UUID]]:
    """Those that the journal has."""
    rows = await connection.fetch(_PROJECT_NAMED, [key[0] for key in keys], [key[1] for key in keys], [""] * len(keys))
    return {(row["merchant_id"], row["id"]) for row in rows}


def _folded(event: JournalEvent) -> tuple[object, ...]:
    moved_minor = event.moved_minor
    own = not event.follow_on_id.int
    return (
        event.merchant_id, event.authorization_id, event.created_time_ms, event.time_ms, event.money.amount_minor,
        event.money.amount_minor if event.kind in _RAISES else 0, max(0, moved_minor),
        event.money.amount_minor if event.kind is EventKind.REFUNDED else 0, event.operation, event.entry,
        _STATE_OF.get(event.kind, State.APPROVED), event.money.currency, event.acquirer_id, event.terminal_id,
        event.channel, event.response_code if own else "", event.reference if own else "", event.card_prefix,
        event.payer_key,
    )  # fmt: skip


class PostgresTransactions:
    """Reads. A search takes `budget_s` and then says where it goes on (`transaction_search`)."""

    def __init__(self, pool: Pool, budget_s: float = 0.02) -> None:
        self._sessions = Sessions(pool)
        self._budget_s = budget_s

    async def search(self, merchant_id: str, wanted: TransactionFilter, before: UUID | None, size: int) -> Page:
        """At most `size` rows, newest first, of those before that id. Raises StoreUnavailable."""
        search = Search(merchant_id, wanted, size, self._budget_s)
        return await self._sessions.transaction(lambda connection: search.page(connection, before))

    async def find(self, merchant_id: str, authorization_id: UUID) -> tuple[Authorization, list[FollowOn], str] | None:
        """The journal's row, what was done later (oldest first), and our reference at the channel, once it is known."""

        async def work(connection: Connection) -> tuple[Authorization, list[FollowOn], str] | None:
            row = await connection.fetchrow(_FIND, merchant_id, authorization_id)
            if row is None:
                return None
            later = await connection.fetch(_FOLLOW_ONS, merchant_id, authorization_id)
            reference = await connection.fetchval(_REFERENCE, merchant_id, authorization_id)
            return authorization_from(row), [follow_on_from(each) for each in later], reference or ""

        return await self._sessions.run(work)

    async def payer_key(self, merchant_id: str, authorization_id: UUID) -> bytes | None:
        """b"" where there was no credential, None where there is no such payment."""
        key: bytes | None = await self._sessions.run(
            lambda connection: connection.fetchval(_PAYER, merchant_id, authorization_id)
        )
        return key

    async def refresh_open(self, older_than_ms: int, limit: int) -> int:
        """Compare rows that may have changed without an event with the journal; returns how many were looked at.

        An UNKNOWN that was given back moved no money: the journal has no event of it.
        """

        async def work(connection: Connection) -> int:
            due = [(row["merchant_id"], row["id"]) for row in await connection.fetch(_DUE, older_than_ms, limit)]
            if due:
                due.sort(key=lambda key: (key[0], key[1].int))
                found = await _project(connection, due)
                gone = [key for key in due if key not in found]
                await connection.execute(_CHECKED, [key[0] for key in gone], [key[1] for key in gone])
            return len(due)

        return await self._sessions.transaction(work)


def refunded_and_captured(record: Authorization, follow_ons: Sequence[FollowOn]) -> tuple[int, int]:
    """(captured, refunded) without what is on its way, minor units."""
    on_the_way = [each for each in follow_ons if each.state in (State.SENT, State.UNKNOWN)]
    captures = sum(each.money.amount_minor for each in on_the_way if each.operation is Operation.CAPTURE)
    refunds = sum(each.money.amount_minor for each in on_the_way if each.operation is Operation.REFUND)
    return max(0, record.captured_minor - captures), max(0, record.refunded_minor - refunds)


async def append_audit(pool: Pool, entry: AuditEntry) -> None:
    """One entry of what changes nothing: that data were taken along."""
    await Sessions(pool).transaction(lambda connection: audit_trail.append(connection, entry))
