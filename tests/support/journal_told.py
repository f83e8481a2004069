"""What the journal's rows say, computed row by row in Python: the other opinion about the feed's one statement."""

import json
from collections import defaultdict
from typing import Any

import asyncpg

from switch.domain.journal_event import EventKind
from switch.domain.movement import reference_in
from switch.domain.states import Decision, Operation, State

NIL = "00000000-0000-0000-0000-000000000000"
Told = dict[tuple[str, str, int, str], dict[str, Any]]
OF_FOLLOW_ONS = {
    Operation.CAPTURE: EventKind.CAPTURED,
    Operation.REFUND: EventKind.REFUNDED,
    Operation.INCREMENT: EventKind.INCREMENTED,
}
UNDOING = (Operation.VOID, Operation.REVERSAL)


async def told_by_journal(database: asyncpg.Pool) -> Told:
    """(merchant, authorization, kind, follow-on) -> the event's other fields, but for its position."""
    follow_ons, follow_ups = defaultdict(list), defaultdict(list)
    for row in await database.fetch("SELECT * FROM follow_ons"):
        if row["state"] == State.APPROVED:
            follow_ons[row["merchant_id"], row["authorization_id"]].append(row)
    for row in await database.fetch("SELECT * FROM follow_ups"):
        if row["operation"] == Operation.REVERSAL and row["state"] == 2:
            follow_ups[row["merchant_id"], row["authorization_id"]].append(row)
    told: Told = {}
    for row in await database.fetch("SELECT * FROM authorizations"):
        key = row["merchant_id"], row["id"]
        for kind, follow_on_id, fields in _events(row, follow_ons[key], follow_ups[key]):
            told[row["merchant_id"], str(row["id"]), int(kind), follow_on_id] = _common(row) | fields
    return told


def _events(row: Any, follow_ons: list[Any], follow_ups: list[Any]) -> list[tuple[EventKind, str, dict[str, Any]]]:
    state, decision = State(row["state"]), row["decision"]
    if state is State.DECLINED:
        return [(EventKind.DECLINED, NIL, _answer(row, row["amount_minor"]))]
    if decision == Decision.UNKNOWN:
        return [(EventKind.UNANSWERED, NIL, _answer(row, row["amount_minor"]))]
    if decision != Decision.APPROVED:
        return []
    events = [(EventKind.APPROVED, NIL, _answer(row, row["approved_minor"] - row["incremented_minor"]))]
    captured = refunded = 0
    for each in follow_ons:
        kind = OF_FOLLOW_ONS.get(Operation(each["operation"]))
        if kind is not None:
            events.append((kind, str(each["id"]), _answer(each, each["amount_minor"])))
        captured += each["amount_minor"] if kind is EventKind.CAPTURED else 0
        refunded += each["amount_minor"] if kind is EventKind.REFUNDED else 0
    if state in (State.VOIDED, State.REVERSED):
        if row["operation"] != Operation.PRE_AUTHORIZATION:
            captured = row["approved_minor"] - row["incremented_minor"]
        events.append((EventKind.UNDONE, NIL, _undone(row, follow_ons, follow_ups) | {"amount": captured - refunded}))
    return events


def _answer(row: Any, amount_minor: int) -> dict[str, Any]:
    return {
        "amount": amount_minor,
        "time_ms": row["answered_time_ms"] or row["created_time_ms"],
        "response_code": row["response_code"],
        "reference": reference_in(json.loads(row["trace"])),
    }


def _undone(row: Any, follow_ons: list[Any], follow_ups: list[Any]) -> dict[str, Any]:
    undoing = [each for each in follow_ons if each["operation"] in UNDOING]
    times = [each["answered_time_ms"] for each in undoing] + [each["ended_time_ms"] for each in follow_ups]
    names = [reference_in(json.loads(each["trace"])) for each in follow_ups]
    names += [
        reference_in(json.loads(each["trace"]))
        for each in sorted(undoing, key=lambda each: (each["answered_time_ms"], each["id"]))
    ]
    names.append(reference_in(json.loads(row["trace"])))
    return {"time_ms": min(times), "response_code": "", "reference": next(each for each in names if each)}


def _common(row: Any) -> dict[str, Any]:
    masked = row["masked_credential"]
    return {
        "operation": row["operation"],
        "currency": row["currency"],
        "created_time_ms": row["created_time_ms"],
        "acquirer_id": row["acquirer_id"],
        "terminal_id": row["terminal_id"],
        "channel": row["channel"],
        "entry": row["entry"],
        "payer_key": row["payer_key"] if masked else b"",
        "card_prefix": masked[:6] if masked[:6].isdigit() else "",
    }


async def fed(database: asyncpg.Pool) -> Told:
    """The same of the events that were fed."""
    events: Told = {}
    for row in await database.fetch("SELECT * FROM journal_events"):
        fields = dict(row)
        key = (
            fields.pop("merchant_id"),
            str(fields.pop("authorization_id")),
            fields.pop("kind"),
            str(fields.pop("follow_on_id")),
        )
        fields.pop("position")
        events[key] = fields | {"amount": fields.pop("amount_minor")}
    return events
