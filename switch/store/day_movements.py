"""The movements of one channel within a time, as the journal tells them. Read in chunks, changed nowhere."""

from collections.abc import AsyncIterator
from typing import Final

from asyncpg import Record

from switch.domain.bill import BillKind
from switch.domain.identity import lowest_id_at
from switch.domain.money import Money
from switch.domain.movement import Movement, Standing, reference_in
from switch.domain.states import Decision, Operation, State
from switch.store.rows import trace_from
from switch.store.sessions import Connection

_CHUNK: Final = 2_000

# A row is begun at most so long before it is answered (a payer scans an order), and its id at most so long before that
# (DESIGN 3.4). Both only bound what is read.
_LONGEST_WAIT_MS: Final = 24 * 3_600_000
_OLDEST_TRANSMISSION_MS: Final = 25 * 3_600_000

# Sales (1) and orders (9). What is being reversed (5, 8) may stand reversed in the bill already.
_PAYMENTS = """
SELECT a.merchant_id, a.id, a.state, a.decision, a.response_code, a.amount_minor, a.approved_minor, a.currency, a.trace,
       CASE WHEN a.answered_time_ms > 0 THEN a.answered_time_ms ELSE a.created_time_ms END AS time_ms,
       f.trace AS reversal_trace
FROM authorizations AS a
LEFT JOIN follow_ups AS f ON a.state IN (5, 8) AND f.merchant_id = a.merchant_id AND f.authorization_id = a.id
    AND f.operation = 6
WHERE a.channel = $1 AND a.operation IN (1, 9)
  AND a.id >= $4 AND a.id < $5 AND a.created_time_ms >= $6 AND a.created_time_ms < $3
  AND CASE WHEN a.answered_time_ms > 0 THEN a.answered_time_ms ELSE a.created_time_ms END >= $2
  AND CASE WHEN a.answered_time_ms > 0 THEN a.answered_time_ms ELSE a.created_time_ms END < $3
"""

# Captures (3) and refunds (5); voids (4) and reversals (6) that have not ended (1, 5).
_FOLLOW_ONS = """
SELECT n.merchant_id, n.id, n.authorization_id, n.operation, n.state, n.response_code, n.amount_minor, n.currency,
       n.trace,
       CASE WHEN n.answered_time_ms > 0 THEN n.answered_time_ms ELSE n.created_time_ms END AS time_ms,
       a.trace AS original_trace, a.amount_minor AS original_minor, f.trace AS reversal_trace
FROM follow_ons AS n
JOIN authorizations AS a ON a.merchant_id = n.merchant_id AND a.id = n.authorization_id
LEFT JOIN follow_ups AS f ON n.operation IN (4, 6) AND f.merchant_id = n.merchant_id
    AND f.authorization_id = n.authorization_id AND f.operation = 6
WHERE a.channel = $1 AND n.created_time_ms >= $4 AND n.created_time_ms < $3
  AND (n.operation IN (3, 5) OR (n.operation IN (4, 6) AND n.state IN (1, 5) AND a.operation IN (1, 9)))
  AND CASE WHEN n.answered_time_ms > 0 THEN n.answered_time_ms ELSE n.created_time_ms END >= $2
  AND CASE WHEN n.answered_time_ms > 0 THEN n.answered_time_ms ELSE n.created_time_ms END < $3
"""

# Payments that were undone: by the acquirer's void or reversal, or by the resolver. The first that succeeded did it;
# later ones found nothing to undo.
_UNDONE = """
WITH ended AS (
    SELECT merchant_id, authorization_id FROM follow_ons
    WHERE operation IN (4, 6) AND state = 3 AND created_time_ms >= $4 AND created_time_ms < $3
      AND answered_time_ms >= $2 AND answered_time_ms < $3
    UNION
    SELECT merchant_id, authorization_id FROM follow_ups
    WHERE operation = 6 AND state = 2 AND ended_time_ms >= $2 AND ended_time_ms < $3),
undone AS (
    SELECT e.merchant_id, e.authorization_id,
           least(min(n.answered_time_ms), min(f.ended_time_ms)) AS time_ms, min(f.trace) AS reversal_trace,
           array_agg(DISTINCT n.trace) FILTER (WHERE n.trace IS NOT NULL) AS traces
    FROM ended AS e
    LEFT JOIN follow_ons AS n ON n.merchant_id = e.merchant_id AND n.authorization_id = e.authorization_id
        AND n.operation IN (4, 6) AND n.state = 3
    LEFT JOIN follow_ups AS f ON f.merchant_id = e.merchant_id AND f.authorization_id = e.authorization_id
        AND f.operation = 6 AND f.state = 2 AND f.ended_time_ms > 0
    GROUP BY e.merchant_id, e.authorization_id)
SELECT a.merchant_id, a.id, a.decision, a.amount_minor, a.approved_minor, a.currency, a.trace, u.time_ms,
       u.reversal_trace, u.traces
FROM undone AS u
JOIN authorizations AS a ON a.merchant_id = u.merchant_id AND a.id = u.authorization_id
WHERE a.channel = $1 AND a.operation IN (1, 9) AND a.state IN (6, 7) AND u.time_ms >= $2 AND u.time_ms < $3
"""

_PAYMENT_STANDS = {
    State.SENT: Standing.OPEN,
    State.AWAITING_PAYER: Standing.OPEN,
    State.UNKNOWN: Standing.OPEN,
    State.DEAD_LETTER: Standing.OPEN,
    State.APPROVED: Standing.DONE,
    State.DECLINED: Standing.REFUSED,
    State.VOIDED: Standing.UNDONE,
    State.REVERSED: Standing.UNDONE,
}
_FOLLOW_ON_STANDS = {
    State.SENT: Standing.OPEN,
    State.UNKNOWN: Standing.OPEN,
    State.APPROVED: Standing.DONE,
    State.DECLINED: Standing.REFUSED,
}
_KINDS = {Operation.CAPTURE: BillKind.PAYMENT, Operation.REFUND: BillKind.REFUND}


async def day_movements(connection: Connection, channel: str, from_ms: int, until_ms: int) -> AsyncIterator[Movement]:
    """Of [from_ms, until_ms), in no order, all of one moment. The connection must allow long statements."""
    lowest = lowest_id_at(max(0, from_ms - _LONGEST_WAIT_MS - _OLDEST_TRANSMISSION_MS))
    highest = lowest_id_at(until_ms + 3_600_000)
    begun_ms = from_ms - _LONGEST_WAIT_MS
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        payments = (_PAYMENTS, (channel, from_ms, until_ms, lowest, highest, begun_ms), _payments_of)
        follow_ons = (_FOLLOW_ONS, (channel, from_ms, until_ms, begun_ms), _follow_on_of)
        undone = (_UNDONE, (channel, from_ms, until_ms, begun_ms), _undoing_of)
        for statement, arguments, read in (payments, follow_ons, undone):
            cursor = await connection.cursor(statement, *arguments)
            while rows := await cursor.fetch(_CHUNK):
                for row in rows:
                    for movement in read(row):
                        yield movement


def _payments_of(row: Record) -> list[Movement]:
    reference = reference_in(trace_from(row["trace"]))
    state = State(row["state"])
    standing = _PAYMENT_STANDS[state]
    record = f"sale {row['merchant_id']}/{row['id']} {state.name} {row['response_code']}".rstrip()
    money = _money_of(row)
    if standing is Standing.UNDONE and row["decision"] != Decision.APPROVED:
        standing = Standing.DOUBTFUL
    of = row["merchant_id"], row["id"]
    found = [Movement(BillKind.PAYMENT, reference, money, row["time_ms"], standing, "", record, (), *of)]
    if state in (State.UNKNOWN, State.DEAD_LETTER):
        also = _names(row["reversal_trace"])
        found.append(
            Movement(
                BillKind.REVERSAL, reference, money, row["time_ms"], Standing.POSSIBLE, reference,
                f"reversal of {record}", also, *of,
            )
        )  # fmt: skip
    return found


def _follow_on_of(row: Record) -> list[Movement]:
    operation, state = Operation(row["operation"]), State(row["state"])
    reference, original = (reference_in(trace_from(row[name])) for name in ("trace", "original_trace"))
    # A void or reversal may name no amount: it is of all.
    money = Money(row["amount_minor"] or row["original_minor"], row["currency"])
    record = f"{operation.words} {row['merchant_id']}/{row['id']} {state.name} {row['response_code']}".rstrip()
    kind = _KINDS.get(operation, BillKind.REVERSAL)
    also = (original, *_names(row["reversal_trace"])) if kind is BillKind.REVERSAL else ()
    standing, of = _FOLLOW_ON_STANDS[state], (row["merchant_id"], row["authorization_id"])
    return [Movement(kind, reference, money, row["time_ms"], standing, original, record, also, *of)]


def _undoing_of(row: Record) -> list[Movement]:
    original = reference_in(trace_from(row["trace"]))
    names = tuple(name for trace in (row["reversal_trace"], *(row["traces"] or ())) for name in _names(trace))
    standing = Standing.UNDONE if row["decision"] == Decision.APPROVED else Standing.DOUBTFUL
    record = f"undoing {row['merchant_id']}/{row['id']}"
    reference, *also = dict.fromkeys((*names, original))
    return [
        Movement(
            BillKind.REVERSAL, reference, _money_of(row), row["time_ms"], standing, original, record, tuple(also),
            row["merchant_id"], row["id"],
        )
    ]  # fmt: skip


def _money_of(row: Record) -> Money:
    """What was approved, or what was asked where no answer said."""
    approved = row["decision"] == Decision.APPROVED and row["approved_minor"] > 0
    return Money(row["approved_minor"] if approved else row["amount_minor"], row["currency"])


def _names(trace: str | None) -> tuple[str, ...]:
    name = reference_in(trace_from(trace)) if trace else ""
    return (name,) if name else ()
