"""Alerts of payments that were reviewed or declined: a consumer of the journal's feed."""

from uuid import UUID

from asyncpg import Record

from switch.domain.risk import Outcome
from switch.ports.risk_cases import AlertsOfPayments, JudgedPayment
from switch.store.feed_consumer import Apply, Span
from switch.store.risk_cases import PaymentAlert, tell_payment
from switch.store.sessions import Connection

CONSUMER = "risk_alerts"

# Answered (APPROVED, DECLINED, UNANSWERED: one of them for each payment); of what was judged a REVIEW or a DECLINE.
_JUDGED = """
SELECT j.merchant_id, j.id, j.outcome, j.score, j.model_score, j.rules_version, j.fired, j.subjects, j.amount_minor,
       j.currency, j.time_ms
FROM journal_events AS e JOIN risk_judgements AS j ON j.merchant_id = e.merchant_id AND j.id = e.authorization_id
WHERE e.position > $1 AND e.position <= $2 AND e.kind IN (1, 2, 3) AND j.outcome IN (2, 4)
ORDER BY e.position
"""


def telling(alerts_of: AlertsOfPayments) -> Apply:
    """For `FeedConsumer`."""

    async def apply(connection: Connection, span: Span) -> None:
        await _tell(connection, span, alerts_of)

    return apply


async def _tell(connection: Connection, span: Span, alerts_of: AlertsOfPayments) -> None:
    payments = [_payment(row) for row in await connection.fetch(_JUDGED, span.after, span.until)]
    alerts = await alerts_of(payments)
    told = [
        PaymentAlert(alert, payment.merchant_id, payment.authorization_id)
        for payment, alert in zip(payments, alerts, strict=True)
        if alert is not None
    ]
    for each in sorted(told, key=lambda one: (one.alert.subject, one.alert.key, one.alert.id)):
        await tell_payment(connection, each)


def _payment(row: Record) -> JudgedPayment:
    return JudgedPayment(
        row["merchant_id"], UUID(int=row["id"].int), Outcome(row["outcome"]), row["score"], row["model_score"],
        row["rules_version"], tuple(row["fired"]), row["subjects"], row["amount_minor"], row["currency"],
        row["time_ms"],
    )  # fmt: skip
