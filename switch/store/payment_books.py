"""What the ledger has of single payments, for whoever enters more of them."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from switch.domain.entering import PaymentBooks, postings_of
from switch.domain.ledger import FEES, MERCHANT, PostingKind
from switch.store.sessions import Connection

# PAYMENT, REFUND, UNDOING and PRICING are entered under this lock alone: what was read of a payment is still so when
# more of it is entered.
CLAIM: Final = "SELECT position FROM ledger_followed WHERE one FOR UPDATE"

# Scalar and lateral subqueries: look-ups by key, also in a plan that was made while the tables were empty.
_VOLUMES = """
SELECT merchant_id, currency, month, COALESCE((
    SELECT v.volume_minor FROM ledger_volumes AS v
    WHERE v.merchant_id = w.merchant_id AND v.currency = w.currency AND v.month = w.month), 0) AS volume_minor
FROM unnest($1::text[], $2::text[], $3::text[]) AS w (merchant_id, currency, month)
"""
# The order, which OFFSET keeps, is the primary key's: left to the statistics, the planner reads all that the merchant
# ever had by (merchant_id, day), for each payment.
_BOOKS = f"""
SELECT w.merchant_id, w.authorization_id, b.kind, b.gross_minor, b.taken_minor, b.returned_minor
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[]) AS w (merchant_id, authorization_id, low, high)
CROSS JOIN LATERAL (
    SELECT e.kind,
           COALESCE(sum(e.amount_minor) FILTER (WHERE e.account NOT IN ('{MERCHANT}', '{FEES}')), 0)::bigint
               AS gross_minor,
           COALESCE(-sum(e.amount_minor) FILTER (WHERE e.account = '{FEES}' AND e.amount_minor < 0), 0)::bigint
               AS taken_minor,
           COALESCE(sum(e.amount_minor) FILTER (WHERE e.account = '{FEES}' AND e.amount_minor > 0), 0)::bigint
               AS returned_minor
    FROM (SELECT * FROM ledger_entries AS of_payment
          WHERE of_payment.merchant_id = w.merchant_id AND of_payment.transaction_id BETWEEN w.low AND w.high
          ORDER BY of_payment.transaction_id, of_payment.leg OFFSET 0) AS e
    WHERE e.authorization_id = w.authorization_id
          AND e.kind IN ({PostingKind.PAYMENT:d}, {PostingKind.REFUND:d}, {PostingKind.UNDOING:d},
                         {PostingKind.PRICING:d})
    GROUP BY e.kind
) AS b
"""  # noqa: S608

PaymentKey = tuple[str, UUID]
"""(merchant_id, authorization_id)."""

VolumeKey = tuple[str, str, str]
"""(merchant_id, currency, month YYYY-MM)."""


async def books_of(connection: Connection, payments: Iterable[PaymentKey]) -> dict[PaymentKey, PaymentBooks]:
    """Of all that are asked for, empty ones where nothing was entered yet."""
    books = {each: PaymentBooks() for each in payments}
    if not books:
        return books
    wanted = [(merchant, identity, *postings_of(identity)) for merchant, identity in books]
    for row in await connection.fetch(_BOOKS, *map(list, zip(*wanted, strict=True))):
        one = books[row["merchant_id"], row["authorization_id"]]
        one.fee_minor += row["taken_minor"]
        one.returned_minor += row["returned_minor"]
        if row["kind"] == PostingKind.PAYMENT:
            one.captured_minor = row["gross_minor"]
        else:
            one.refunded_minor -= row["gross_minor"]
            one.undone = one.undone or row["kind"] == PostingKind.UNDOING
    return books


async def volumes_of(connection: Connection, months: Iterable[VolumeKey]) -> dict[VolumeKey, int]:
    """What merchants were paid in those months; 0 where nothing."""
    volumes = dict.fromkeys(months, 0)
    if volumes:
        for row in await connection.fetch(_VOLUMES, *map(list, zip(*volumes, strict=True))):
            volumes[row["merchant_id"], row["currency"], row["month"]] = row["volume_minor"]
    return volumes
