"""Risk control's judgements: rows of `risk_judgements`, written with the intent that they are of."""

from collections.abc import Mapping
from uuid import UUID

from switch.domain.authorization import Authorization
from switch.domain.risk import Judged
from switch.store.rows import Row


def judgement_rows(records: Mapping[UUID, Authorization], judged: Mapping[UUID, Judged]) -> list[Row]:
    return [_row(record, judged[identity]) for identity, record in records.items() if identity in judged]


def _row(record: Authorization, judged: Judged) -> Row:
    """In the order of the SQL type `risk_judgement_row`."""
    judgement = judged.judgement
    return (
        record.merchant_id,
        record.id,
        judgement.outcome,
        judgement.response_code,
        judgement.score,
        judgement.model_score,
        judgement.rules_version,
        judgement.model_version,
        judgement.fired,
        judgement.shadow,
        judgement.absent,
        judgement.failed,
        judged.packed_facts,
        judged.packed_subjects,
        record.money.amount_minor,
        record.money.currency,
        record.created_time_ms,
    )
