"""Entering into the ledger: within the caller's transaction, each posting exactly once."""

from collections.abc import Sequence
from datetime import date

from switch.domain.ledger import Posting
from switch.store.sessions import Connection

# A posting's legs are inserted by one statement, so it is there whole or not at all.
_POST = """
INSERT INTO ledger_entries (
    merchant_id, transaction_id, leg, day, kind, account, amount_minor, currency, authorization_id, source, time_ms)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::smallint[], $4::date[], $5::smallint[], $6::text[], $7::bigint[],
                     $8::text[], $9::uuid[], $10::text[], $11::bigint[])
ON CONFLICT DO NOTHING
"""


async def post(connection: Connection, postings: Sequence[Posting]) -> None:
    """What was entered before, by its (merchant_id, id), is left as it is."""
    rows = [
        (
            each.merchant_id, each.id, number, date.fromisoformat(each.day), each.kind, leg.account, leg.amount_minor,
            each.currency, each.authorization_id, each.source, each.time_ms,
        )
        for each in postings
        for number, leg in enumerate(each.legs)
    ]  # fmt: skip
    if rows:
        await connection.execute(_POST, *map(list, zip(*rows, strict=True)))
