"""A day of payments for the settlement benchmark: written straight into journal_events, as the feed would have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from switch.domain.business_day import begins_ms
from switch.domain.contract import Contract, Rate
from switch.domain.merchant import MerchantProfile, MerchantState

# The channels take turns. Of a hundred payments five are refunded in part and one is undone.
_FILL: Final = """
INSERT INTO journal_events
SELECT merchant_id, id, kind, follow_on, position, 1, amount, 'CNY', time_ms, time_ms - 20, 'bench', 'T1', channel, 1,
       '00', id::text, '\\x00', '622588'
FROM (
    SELECT 'M' || lpad((n % $2::bigint)::text, 6, '0') AS merchant_id,
           (lpad(to_hex($3::bigint + n * 86300000 / $1::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid AS id,
           (100 + (n * 7919) % 50000)::bigint AS paid, $3::bigint + n * 86300000 / $1::bigint AS time_ms,
           (ARRAY['unionpay', 'alipay', 'wechat', 'issuer:bank-1'])[n % 4 + 1] AS channel, n
    FROM generate_series(0, $1::bigint - 1) AS n
) AS payments
CROSS JOIN LATERAL (
    VALUES (1::smallint, '00000000-0000-0000-0000-000000000000'::uuid, n * 2 + 1, paid, true),
           (5::smallint, md5('refund' || n)::uuid, n * 2 + 2, paid / 3, n % 20 = 7),
           (6::smallint, '00000000-0000-0000-0000-000000000000'::uuid, n * 2 + 2, paid, n % 100 = 13)
) AS events (kind, follow_on, position, amount, present)
WHERE present
ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Merchants:
    """Every merchant under the same contract, with a tier."""

    async def profile(self, merchant_id: str) -> MerchantProfile | None:
        return MerchantProfile(merchant_id, "Shop", "Shanghai", "CN", "5411", "bench", MerchantState.ACTIVE)

    async def contracts(self, merchant_ids: Sequence[str], day: str) -> dict[str, Contract]:
        rates = (Rate("", "", 0, 60), Rate("", "", 100_000_000, 55), Rate("alipay", "", 0, 38, minimum_minor=1))
        return {
            each: Contract(
                each, 1, "2020-01-01", "CNY", rates, 500, 30, True, "Shop " + each, "6222000000000000", "BKCHCNBJ"
            )
            for each in merchant_ids
        }

    async def stores_of_terminals(self, merchant_id: str) -> dict[str, str]:
        return {}


async def fill(dsn: str, day: str, payments: int, merchants: int) -> int:
    """Returns how many events there are."""
    connection = await asyncpg.connect(dsn)
    try:
        status = await connection.execute(_FILL, payments, merchants, begins_ms(day), timeout=900)
        await connection.execute("ANALYZE journal_events")
        return int(status.rpartition(" ")[2])
    finally:
        await connection.close()
