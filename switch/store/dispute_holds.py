"""What running and lost chargebacks hold of a payment: it is given back already and may not be refunded as well."""

from uuid import UUID

from switch.store.sessions import Connection

# Chargebacks (2) that the merchant has not won (5).
_HELD = """
SELECT coalesce(sum(amount_minor), 0)::bigint FROM disputes
WHERE merchant_id = $1 AND authorization_id = $2 AND kind = 2 AND state <> 5
"""


async def disputed_minor(connection: Connection, merchant_id: str, authorization_id: UUID) -> int:
    """Minor units. Under the payment's row lock it stays so until the transaction ends."""
    held: int = await connection.fetchval(_HELD, merchant_id, authorization_id)
    return held
