"""Alerts and cases in PostgreSQL: an alert joins the open case of its subject, or opens one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

import asyncpg
from asyncpg import Record

from switch.domain.audit import AuditEntry
from switch.domain.refusals import Missing, NotPossible
from switch.domain.risk import Subject
from switch.domain.risk_case import (
    LABEL_OF,
    MOST_PAYMENTS,
    Case,
    CaseAlert,
    CaseChange,
    CaseEvent,
    CaseFile,
    CaseOutcome,
    CasePayment,
    CaseQueue,
    CaseState,
)
from switch.ports.risk import Alert
from switch.store.audit_trail import append
from switch.store.sessions import Connection, Pool, Sessions

_SHOWN_ALERTS: Final = 200
_SHOWN_CASES: Final = 20

_KNOWN_ALERT = "SELECT case_id FROM risk_alerts WHERE id = $1"
_JOIN_CASE = """
INSERT INTO risk_cases AS c (
    id, subject, key, state, severity, assigned_to, outcome, alerts, opened_time_ms, last_time_ms, closed_time_ms,
    version)
VALUES ($1, $2, $3, 1, $4, '', 0, $5, $6, $6, 0, 1)
ON CONFLICT (subject, key) WHERE state = 1 DO UPDATE SET
    severity = greatest(c.severity, excluded.severity), alerts = c.alerts + excluded.alerts,
    last_time_ms = greatest(c.last_time_ms, excluded.last_time_ms)
RETURNING id
"""
_ADD_ALERT = """
INSERT INTO risk_alerts (id, case_id, kind, severity, text, facts, count, time_ms, last_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7) ON CONFLICT (id) DO NOTHING
"""
_COUNT_ALERT = """
UPDATE risk_alerts SET count = count + 1, severity = greatest(severity, $2), last_time_ms = greatest(last_time_ms, $3)
WHERE id = $1 RETURNING case_id
"""
_COUNT_CASE = """
UPDATE risk_cases SET alerts = alerts + 1, severity = greatest(severity, $2), last_time_ms = greatest(last_time_ms, $3)
WHERE id = $1
"""
_ADD_PAYMENT = f"""
INSERT INTO risk_case_payments (case_id, merchant_id, authorization_id, rule, time_ms)
SELECT $1, $2, $3, $4, $5
WHERE (SELECT count(*) FROM risk_case_payments WHERE case_id = $1) < {MOST_PAYMENTS}
ON CONFLICT DO NOTHING
"""  # noqa: S608
_QUEUE = """
SELECT * FROM risk_cases
WHERE state = $1 AND severity >= $2 AND ($3::text IS NULL OR assigned_to = $3) AND ($4 = '' OR subject = $4)
  AND (severity, id) < ($5, $6)
ORDER BY severity DESC, id DESC LIMIT $7
"""
_FIND = "SELECT * FROM risk_cases WHERE id = $1"
_LOCK = _FIND + " FOR UPDATE"
_ALERTS = "SELECT * FROM risk_alerts WHERE case_id = $1 ORDER BY last_time_ms DESC, id LIMIT $2"
_PAYMENTS = "SELECT * FROM risk_case_payments WHERE case_id = $1 ORDER BY time_ms, authorization_id"
_EVENTS = "SELECT * FROM risk_case_events WHERE case_id = $1 ORDER BY number"
_OTHERS = "SELECT * FROM risk_cases WHERE subject = $1 AND key = $2 AND id <> $3 ORDER BY opened_time_ms DESC LIMIT $4"
_CONFIRMED = """
SELECT * FROM risk_cases WHERE state = 2 AND outcome = 1 AND subject = $1 AND closed_time_ms >= $2
ORDER BY closed_time_ms DESC, id LIMIT $3
"""
_CHANGE = """
UPDATE risk_cases SET state = $2, assigned_to = $3, outcome = $4, closed_time_ms = $5, version = version + 1
WHERE id = $1 RETURNING *
"""
_ADD_EVENT = """
INSERT INTO risk_case_events (case_id, number, who, act, text, time_ms)
SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5 FROM risk_case_events WHERE case_id = $1
"""
_UNLABEL = """
DELETE FROM risk_labels WHERE source = $1 AND (merchant_id, authorization_id) IN (
    SELECT merchant_id, authorization_id FROM risk_case_payments WHERE case_id = $2)
"""
_LABEL = """
INSERT INTO risk_labels (merchant_id, authorization_id, source, label, time_ms)
SELECT merchant_id, authorization_id, $1, $3, $4 FROM risk_case_payments WHERE case_id = $2
ON CONFLICT (merchant_id, authorization_id, source) DO UPDATE SET label = excluded.label, time_ms = excluded.time_ms
"""
# A chargeback for fraud says so until the merchant has won it (state 5).
_LABEL_DISPUTED = """
INSERT INTO risk_labels (merchant_id, authorization_id, source, label, time_ms)
SELECT merchant_id, authorization_id, 'dispute', 2, max(opened_time_ms) FROM disputes
WHERE kind = 2 AND category = 1 AND state <> 5 GROUP BY merchant_id, authorization_id
ON CONFLICT (merchant_id, authorization_id, source) DO NOTHING
"""
_UNLABEL_WON = """
DELETE FROM risk_labels AS l USING disputes AS d
WHERE l.source = 'dispute' AND d.merchant_id = l.merchant_id AND d.authorization_id = l.authorization_id
  AND d.kind = 2 AND d.category = 1 AND d.state = 5
  AND NOT EXISTS (
    SELECT FROM disputes AS o WHERE o.merchant_id = l.merchant_id AND o.authorization_id = l.authorization_id
      AND o.kind = 2 AND o.category = 1 AND o.state <> 5)
"""


@dataclass(frozen=True, slots=True)
class PaymentAlert:
    """An alert about a payment. alert.id names its window: told again within it, it is counted."""

    alert: Alert
    merchant_id: str
    authorization_id: UUID


class PostgresAlerts:
    """Meets `switch.ports.risk.Alerts`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        async def work(connection: Connection) -> None:
            for each in _in_order(alerts):
                if await connection.fetchval(_KNOWN_ALERT, each.id) is None:
                    await _open(connection, each)

        await self._sessions.transaction(work)


async def tell_payment(connection: Connection, told: PaymentAlert) -> None:
    """Within the caller's transaction, which tells each payment once. An alert of a case that was closed within the
    window opens no new one: it was looked at."""
    alert = told.alert
    case_id = await connection.fetchval(_COUNT_ALERT, alert.id, alert.severity, alert.time_ms)
    if case_id is None:
        case_id = await _open(connection, alert)
    else:
        await connection.execute(_COUNT_CASE, case_id, alert.severity, alert.time_ms)
    await connection.execute(_ADD_PAYMENT, case_id, told.merchant_id, told.authorization_id, alert.kind, alert.time_ms)


async def _open(connection: Connection, alert: Alert) -> UUID:
    """Locking the case's row first: of two that tell the same alert the second finds it."""
    case_id: UUID = await connection.fetchval(
        _JOIN_CASE, uuid4(), alert.subject, alert.key, alert.severity, 1, alert.time_ms
    )
    facts = json.dumps(dict(alert.facts), ensure_ascii=False, sort_keys=True, default=str)
    added = await connection.execute(
        _ADD_ALERT, alert.id, case_id, alert.kind, alert.severity, alert.text, facts, alert.time_ms
    )
    if added.endswith(" 0"):  # told meanwhile: it is counted once
        await connection.execute("UPDATE risk_cases SET alerts = alerts - 1 WHERE id = $1", case_id)
    return case_id


def _in_order(alerts: Sequence[Alert]) -> list[Alert]:
    """Whoever locks several cases locks them in one order."""
    return sorted(alerts, key=lambda each: (each.subject, each.key, each.id))


class PostgresCases:
    """Meets `switch.ports.risk_cases.Cases`."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def queue(self, wanted: CaseQueue, behind: Case | None, limit: int) -> list[Case]:
        start = (1001, UUID(int=0)) if behind is None else (behind.severity, behind.id)
        of = "" if wanted.subject is None else wanted.subject.value
        rows = await self._sessions.run(
            lambda each: each.fetch(_QUEUE, wanted.state, wanted.least_severity, wanted.assigned_to, of, *start, limit)
        )
        return [_case(row) for row in rows]

    async def file(self, case_id: UUID) -> CaseFile | None:
        async def work(connection: Connection) -> CaseFile | None:
            row = await connection.fetchrow(_FIND, case_id)
            if row is None:
                return None
            case = _case(row)
            alerts = await connection.fetch(_ALERTS, case_id, _SHOWN_ALERTS)
            payments = await connection.fetch(_PAYMENTS, case_id)
            events = await connection.fetch(_EVENTS, case_id)
            others = await connection.fetch(_OTHERS, case.subject, case.key, case_id, _SHOWN_CASES)
            return CaseFile(
                case,
                tuple(CaseAlert(**{name: each[name] for name in _ALERT_FIELDS}) for each in alerts),
                tuple(CasePayment(**{name: each[name] for name in _PAYMENT_FIELDS}) for each in payments),
                tuple(CaseEvent(**{name: each[name] for name in _EVENT_FIELDS}) for each in events),
                tuple(map(_case, others)),
            )

        return await self._sessions.transaction(work)

    async def confirmed(self, subject: Subject, since_ms: int, limit: int) -> list[Case]:
        rows = await self._sessions.run(lambda each: each.fetch(_CONFIRMED, subject.value, since_ms, limit))
        return [_case(row) for row in rows]

    async def change(self, case_id: UUID, version: int, change: CaseChange, entry: AuditEntry, now_ms: int) -> Case:
        async def work(connection: Connection) -> Case:
            row = await connection.fetchrow(_LOCK, case_id)
            if row is None:
                raise Missing("there is no such case")
            case = _case(row)
            if version and case.version != version:
                raise NotPossible(f"somebody else changed it: it is of version {case.version} by now")
            changed = await _changed(connection, case, change, now_ms)
            await connection.execute(_ADD_EVENT, case_id, entry.who, change.act, change.text, now_ms)
            await append(connection, entry)
            return changed

        return await self._sessions.transaction(work)


class DisputeLabels:
    """What chargebacks for fraud say of their payments, brought up to date."""

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def bring(self) -> None:
        """Raises StoreUnavailable. Done twice it changes nothing."""

        async def work(connection: Connection) -> None:
            await connection.execute(_LABEL_DISPUTED)
            await connection.execute(_UNLABEL_WON)

        await self._sessions.transaction(work)


# --- within a transaction ---------------------------------------------------------------------------------------------


async def _changed(connection: Connection, case: Case, change: CaseChange, now_ms: int) -> Case:
    state, outcome, closed_ms = case.state, case.outcome, case.closed_time_ms
    assigned = case.assigned_to if change.assigned_to is None else change.assigned_to
    if change.reopens:
        if state is CaseState.OPEN:
            raise NotPossible("it is open")
        state, outcome, closed_ms = CaseState.OPEN, None, 0
    elif state is CaseState.CLOSED:
        raise NotPossible("it is closed: reopen it first")
    elif change.closes_as is not None:
        state, outcome, closed_ms = CaseState.CLOSED, change.closes_as, now_ms
    try:
        async with connection.transaction():
            row = await connection.fetchrow(_CHANGE, case.id, state, assigned, outcome or 0, closed_ms)
    except asyncpg.UniqueViolationError:
        raise NotPossible("another case of its subject is open") from None
    if change.reopens or change.closes_as is not None:
        await _label(connection, case.id, change.closes_as, now_ms)
    assert row is not None  # it is locked
    return _case(row)


async def _label(connection: Connection, case_id: UUID, outcome: CaseOutcome | None, now_ms: int) -> None:
    """Each case is a source of its own: two of one payment may say different things, and the latest counts."""
    source = f"case/{case_id}"
    await connection.execute(_UNLABEL, source, case_id)
    label = None if outcome is None else LABEL_OF[outcome]
    if label is not None:
        await connection.execute(_LABEL, source, case_id, label, now_ms)


_ALERT_FIELDS: Final = tuple(CaseAlert.__dataclass_fields__)
_PAYMENT_FIELDS: Final = tuple(CasePayment.__dataclass_fields__)
_EVENT_FIELDS: Final = tuple(CaseEvent.__dataclass_fields__)


def _case(row: Record) -> Case:
    return Case(
        row["id"], Subject(row["subject"]), row["key"], CaseState(row["state"]), row["severity"], row["assigned_to"],
        CaseOutcome(row["outcome"]) if row["outcome"] else None, row["alerts"], row["opened_time_ms"],
        row["last_time_ms"], row["closed_time_ms"], row["version"],
    )  # fmt: skip
