"""A day of settlement as tests see it: its clock, its tables, and the ledger's balances."""

from datetime import date
from uuid import UUID

import asyncpg

from switch.settlement.bill_file import day_of

DAY = date(2026, 11, 20)
NOON_MS = day_of(DAY, 0).from_ms + 12 * 3_600_000
TABLES = (
    *("bills", "bill_lines", "reconciliations", "channel_fees", "bill_edges", "breaks", "break_notes"),
    *("ledger_entries", "audit_trail"),
)


class SetClock:
    """now_ms is what tests say."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms


async def balances(books: asyncpg.Pool) -> dict[tuple[str, str], int]:
    """(merchant, account) -> minor units, without those that are zero; every transaction is checked to balance."""
    rows = await books.fetch("SELECT merchant_id, transaction_id, account, amount_minor, currency FROM ledger_entries")
    found: dict[tuple[str, str], int] = {}
    sums: dict[tuple[str, UUID, str], int] = {}
    for row in rows:
        key = row["merchant_id"], row["account"]
        found[key] = found.get(key, 0) + row["amount_minor"]
        one = row["merchant_id"], row["transaction_id"], row["currency"]
        sums[one] = sums.get(one, 0) + row["amount_minor"]
    assert not any(sums.values())
    return {key: amount for key, amount in found.items() if amount}
