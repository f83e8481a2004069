"""Rows of the settlement tables, as values and back."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from switch.domain.settlement import Batch, Debtor, LeftOut, Payout, PayoutState

BATCH: Final = (
    "id, currency, through_day, state, payouts, total_minor, reserve_minor, created_by, created_time_ms, decided_by,"
    " decided_time_ms, reason, execution_day, debtor_name, debtor_account, debtor_bank_code"
)
PAYOUT: Final = (
    "merchant_id, batch_id, currency, state, net_minor, reserve_minor, payout_minor, account_name, masked_number,"
    " bank_code, end_to_end_id, created_time_ms, changed_time_ms, reason"
)


def batch_from(row: Record) -> Batch:
    return Batch(
        UUID(int=row["id"].int), row["currency"], row["through_day"].isoformat(), PayoutState(row["state"]),
        row["payouts"], row["total_minor"], row["reserve_minor"], row["created_by"], row["created_time_ms"],
        row["decided_by"], row["decided_time_ms"], row["reason"],
        row["execution_day"].isoformat() if row["execution_day"] else "",
        Debtor(row["debtor_name"], row["debtor_account"], row["debtor_bank_code"]),
    )  # fmt: skip


def payout_from(row: Record) -> Payout:
    values = dict(row.items())
    values["batch_id"] = UUID(int=row["batch_id"].int)
    values["state"] = PayoutState(row["state"])
    return Payout(**values)


def left_out_from(row: Record) -> LeftOut:
    return LeftOut(row["merchant_id"], row["balance_minor"], row["reason"])


def columns_of(payouts: Sequence[Payout]) -> list[list[Any]]:
    """In the order of PAYOUT."""
    names = PAYOUT.split(", ")
    return [[getattr(each, name) for each in payouts] for name in names]
