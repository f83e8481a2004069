"""Setting money aside for a settlement batch: what is there to settle, a batch's rows and postings."""

from collections.abc import Mapping
from datetime import date

from switch.domain.business_day import day_at
from switch.domain.ledger import MERCHANT, PostingKind
from switch.domain.settlement import Batch, Drafted, set_aside
from switch.store.ledger import post
from switch.store.sessions import Connection
from switch.store.settlement_rows import PAYOUT, columns_of

# Payments count once their day is closed, everything else at once.
_AVAILABLE = f"""
SELECT merchant_id, sum(minor)::bigint AS minor
FROM (
    SELECT merchant_id, -balance_minor AS minor FROM ledger_balances WHERE account = '{MERCHANT}' AND currency = $1
    UNION ALL
    SELECT merchant_id, -sum(amount_minor) FROM ledger_entries
    WHERE day > COALESCE((SELECT closed_through FROM ledger_books WHERE one), '-infinity')
          AND account = '{MERCHANT}' AND currency = $1 AND kind <> {PostingKind.PAYMENT:d}
    GROUP BY merchant_id
) AS parts
GROUP BY merchant_id HAVING sum(minor) <> 0
"""  # noqa: S608
_ADD_BATCH = """
INSERT INTO settlement_batches (
    id, currency, through_day, state, payouts, total_minor, reserve_minor, created_by, created_time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_ADD_PAYOUTS = f"""
INSERT INTO settlement_payouts ({PAYOUT}, sealed_number)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::text[],
                     $15::bytea[])
"""  # noqa: S608
_ADD_LEFT_OUT = """
INSERT INTO settlement_left_out (batch_id, merchant_id, balance_minor, reason)
SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[])
"""
_ADD_RESERVES = """
INSERT INTO settlement_reserves (batch_id, merchant_id, currency, amount_minor, release_day)
SELECT $1, merchant_id, $2, amount_minor, release_day
FROM unnest($3::text[], $4::bigint[], $5::date[]) AS r (merchant_id, amount_minor, release_day)
"""


async def available(connection: Connection, currency: str) -> dict[str, int]:
    """merchant_id -> what may be settled, minor units; no zeros."""
    return {row["merchant_id"]: row["minor"] for row in await connection.fetch(_AVAILABLE, currency)}


async def add_batch(connection: Connection, batch: Batch, drafted: Drafted, sealed: Mapping[str, bytes]) -> None:
    """sealed: merchant_id -> account number. Whoever sets money aside has his turn (`settlement_turn`)."""
    payouts, left_out = drafted.payouts, drafted.left_out
    day = date.fromisoformat(batch.through_day)
    await connection.execute(
        _ADD_BATCH, batch.id, batch.currency, day, batch.state.value, batch.payouts, batch.total_minor,
        batch.reserve_minor, batch.created_by, batch.created_time_ms,
    )  # fmt: skip
    await connection.execute(_ADD_PAYOUTS, *columns_of(payouts), [sealed[each.merchant_id] for each in payouts])
    if left_out:
        await connection.execute(
            _ADD_LEFT_OUT, batch.id, [each.merchant_id for each in left_out],
            [each.balance_minor for each in left_out], [each.reason for each in left_out],
        )  # fmt: skip
    held = [each for each in payouts if each.reserve_minor]
    if held:
        await connection.execute(
            _ADD_RESERVES, batch.id, batch.currency, [each.merchant_id for each in held],
            [each.reserve_minor for each in held],
            [date.fromisoformat(drafted.release_days[each.merchant_id]) for each in held],
        )  # fmt: skip
    today = day_at(batch.created_time_ms)
    await post(connection, [set_aside(each, today, batch.created_time_ms) for each in payouts])
