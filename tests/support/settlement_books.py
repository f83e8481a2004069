"""A day of settlement as tests see it: its clock, its tables, and the ledger's balances."""

import itertools
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from switch.domain.authorization import Authorization
from switch.domain.identity import computed_id
from switch.domain.money import Money
from switch.domain.states import Decision, EntryMode, Operation, State
from switch.settlement.bill_file import day_of
from switch.store.rows import authorization_row

DAY = date(2026, 11, 20)
NOON_MS = day_of(DAY, 0).from_ms + 12 * 3_600_000
TABLES = (
    *("bills", "bill_lines", "reconciliations", "channel_fees", "bill_edges", "breaks", "break_notes"),
    *("ledger_entries", "audit_trail", "disputes", "dispute_evidence", "follow_ons"),
    *("webhook_endpoints", "webhook_deliveries"),
)

_numbers = itertools.count()

_INSERT = """
INSERT INTO authorizations (
    merchant_id, id, acquirer_id, terminal_id, merchant_category_code, operation, amount_minor, currency, entry,
    masked_credential, fingerprint, payer_key, sealed_credential, state, decision, response_code, reason, stage,
    channel, attempt, route_explanation, trace, approval_code, retrieval_reference, channel_reference,
    emv_response, approved_minor, captured_minor, refunded_minor, owner, created_time_ms, answered_time_ms)
SELECT * FROM unnest($1::authorization_row[])
"""


class SetClock:
    """now_ms is what tests say."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms


async def balances(books: asyncpg.Pool, merchant_id: str | None = None) -> dict[tuple[str, str], int]:
    """(merchant, account) -> minor units, without those that are zero, of one merchant or all; every transaction is
    checked to balance."""
    rows = await books.fetch(
        "SELECT merchant_id, transaction_id, account, amount_minor, currency FROM ledger_entries"
        " WHERE $1::text IS NULL OR merchant_id = $1",
        merchant_id,
    )
    found: dict[tuple[str, str], int] = {}
    sums: dict[tuple[str, UUID, str], int] = {}
    for row in rows:
        key = row["merchant_id"], row["account"]
        found[key] = found.get(key, 0) + row["amount_minor"]
        one = row["merchant_id"], row["transaction_id"], row["currency"]
        sums[one] = sums.get(one, 0) + row["amount_minor"]
    assert not any(sums.values())
    return {key: amount for key, amount in found.items() if amount}


async def sell(
    books: asyncpg.Pool,
    name: str,
    amount_minor: int = 1_000,
    state: State = State.APPROVED,
    time_ms: int = NOON_MS,
    **fields: Any,
) -> Authorization:
    """A sale as the journal has it in the end; name: its out_trade_no."""
    merchant, paid = fields.pop("merchant_id", "m1"), amount_minor if state is State.APPROVED else 0
    values: dict[str, Any] = {
        "id": computed_id("acq", merchant, time_ms, f"k{next(_numbers)}"), "acquirer_id": "acq",
        "merchant_id": merchant, "terminal_id": "t1", "merchant_category_code": "5411",
        "operation": Operation.SALE, "money": Money(amount_minor, "CNY"), "entry": EntryMode.PAYER_CODE,
        "masked_credential": "28****", "state": state, "decision": Decision.APPROVED if paid else Decision.DECLINED,
        "channel": "pay", "trace": {"out_trade_no": name}, "approved_minor": paid, "captured_minor": paid,
        "created_time_ms": time_ms, "answered_time_ms": time_ms,
    }  # fmt: skip
    record = Authorization(**(values | fields))
    await books.execute(_INSERT, [authorization_row(record)])
    return record
