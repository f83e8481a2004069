"""Rows to records and back. Reading goes by column name, so that a column added later disturbs nobody."""

import json
from typing import Any

from asyncpg import Record

from switch.domain.authorization import Authorization, FollowOn
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State

Row = tuple[Any, ...]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def trace_text(trace: dict[str, str]) -> str:
    """
    >>> trace_text({"stan": "000001"}), trace_text({})
    ('{"stan":"000001"}', '{}')
    """
    return _encode(trace) if trace else "{}"


def trace_from(text: str) -> dict[str, str]:
    trace: dict[str, str] = json.loads(text)
    return trace


def authorization_row(record: Authorization) -> Row:
    """In the order of the SQL type `authorization_row`."""
    return (
        record.merchant_id,
        record.id,
        record.acquirer_id,
        record.terminal_id,
        record.merchant_category_code,
        record.operation,
        record.money.amount_minor,
        record.money.currency,
        record.entry,
        record.masked_credential,
        record.fingerprint,
        record.payer_key,
        record.sealed_credential,
        record.state,
        record.decision,
        record.response_code,
        record.reason,
        record.stage,
        record.channel,
        record.attempt,
        record.route_explanation,
        trace_text(record.trace),
        record.approval_code,
        record.retrieval_reference,
        record.channel_reference,
        record.emv_response,
        record.approved_minor,
        record.captured_minor,
        record.refunded_minor,
        record.owner,
        record.created_time_ms,
        record.answered_time_ms,
    )


def outcome_row(record: Authorization, follow_up_after_s: float) -> Row:
    """In the order of the SQL type `authorization_outcome`."""
    return (
        record.merchant_id,
        record.id,
        record.owner,
        record.state,
        record.decision,
        record.response_code,
        record.reason,
        record.stage,
        record.approval_code,
        record.retrieval_reference,
        record.channel_reference,
        record.emv_response,
        record.approved_minor,
        record.captured_minor,
        record.answered_time_ms,
        int(follow_up_after_s * 1000),
    )


def answer_row(record: Authorization, follow_up_after_s: float) -> Row:
    """In the order of the SQL type `authorization_answer`."""
    return (*outcome_row(record, follow_up_after_s), record.order_code)


def attempt_row(record: Authorization) -> Row:
    """In the order of the SQL type `authorization_attempt`."""
    return (
        record.merchant_id,
        record.id,
        record.owner,
        record.channel,
        record.attempt,
        record.route_explanation,
        trace_text(record.trace),
    )


def authorization_from(row: Record) -> Authorization:
    decision = row["decision"]
    return Authorization(
        id=row["id"],
        acquirer_id=row["acquirer_id"],
        merchant_id=row["merchant_id"],
        terminal_id=row["terminal_id"],
        merchant_category_code=row["merchant_category_code"],
        operation=Operation(row["operation"]),
        money=Money(row["amount_minor"], row["currency"]),
        entry=EntryMode(row["entry"]),
        masked_credential=row["masked_credential"],
        fingerprint=row["fingerprint"],
        payer_key=row["payer_key"],
        sealed_credential=row["sealed_credential"],
        state=State(row["state"]),
        decision=None if decision is None else Decision(decision),
        response_code=row["response_code"],
        reason=row["reason"],
        stage=row["stage"],
        channel=row["channel"],
        attempt=row["attempt"],
        route_explanation=row["route_explanation"],
        trace=trace_from(row["trace"]),
        approval_code=row["approval_code"],
        retrieval_reference=row["retrieval_reference"],
        channel_reference=row["channel_reference"],
        emv_response=row["emv_response"],
        order_code=row["order_code"],
        approved_minor=row["approved_minor"],
        captured_minor=row["captured_minor"],
        refunded_minor=row["refunded_minor"],
        incremented_minor=row["incremented_minor"],
        owner=row["owner"],
        created_time_ms=row["created_time_ms"],
        answered_time_ms=row["answered_time_ms"],
    )


def follow_on_row(record: FollowOn) -> Row:
    """In the order of the columns of `follow_ons`."""
    return (
        record.merchant_id,
        record.id,
        record.authorization_id,
        record.acquirer_id,
        record.operation,
        record.money.amount_minor,
        record.money.currency,
        record.fingerprint,
        record.state,
        record.response_code,
        record.reason,
        record.channel_reference,
        trace_text(record.trace),
        record.created_time_ms,
        record.answered_time_ms,
    )


def follow_on_from(row: Record) -> FollowOn:
    return FollowOn(
        id=row["id"],
        authorization_id=row["authorization_id"],
        acquirer_id=row["acquirer_id"],
        merchant_id=row["merchant_id"],
        operation=Operation(row["operation"]),
        money=Money(row["amount_minor"], row["currency"]),
        fingerprint=row["fingerprint"],
        state=State(row["state"]),
        response_code=row["response_code"],
        reason=row["reason"],
        channel_reference=row["channel_reference"],
        trace=trace_from(row["trace"]),
        created_time_ms=row["created_time_ms"],
        answered_time_ms=row["answered_time_ms"],
    )
