"""Days of used codes are made ahead, and dropped when no repeat can ask for them any more."""

from uuid import uuid4

import asyncpg

from switch.domain.code_device import CodeClaim
from switch.domain.dynamic_code import STEP_MS
from switch.store.code_days import ensure_code_days
from switch.store.payment_codes import PostgresPaymentCodes

_DAY_MS = 86_400_000
_NOON_MS = 2_000_000_000_000 // _DAY_MS * _DAY_MS + _DAY_MS // 2  # far from every other test's codes


async def test_days_are_made_and_dropped(database: asyncpg.Pool) -> None:
    store = PostgresPaymentCodes(database)
    try:
        made = await ensure_code_days(database, _NOON_MS)
        assert len(made) == 8
        assert await ensure_code_days(database, _NOON_MS) == []
        one, two = (CodeClaim(n, (_NOON_MS + n * _DAY_MS) // STEP_MS, 0, uuid4()) for n in (0, 1))
        assert await store.claim([one, two]) == [one.authorization_id, two.authorization_id]
        assert (
            await database.fetchval("SELECT tableoid::regclass::text FROM payment_code_claims WHERE number = 1")
            == made[1]
        )

        later = await ensure_code_days(database, _NOON_MS + 2 * _DAY_MS)
        assert made[0] not in later  # two days are kept
        assert await store.claim([CodeClaim(0, one.step, 0, uuid4())]) == [one.authorization_id]
        assert made[0] in await ensure_code_days(database, _NOON_MS + 3 * _DAY_MS)
        assert await store.claim([CodeClaim(0, one.step, 0, uuid4(), fresh=False)]) == [None]
        assert await store.claim([CodeClaim(1, two.step, 0, uuid4())]) == [two.authorization_id]
    finally:
        await ensure_code_days(database, _NOON_MS + 9 * _DAY_MS)
        for table in ("payment_code_claims", "handover_claims"):
            rows = await database.fetch(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass", table
            )
            for name in [row["name"] for row in rows if not row["name"].endswith("_rest")]:
                await database.execute(f"DROP TABLE {name}")


async def test_of_two_claims_of_a_code_in_one_batch_the_first_has_it(database: asyncpg.Pool) -> None:
    store, number = PostgresPaymentCodes(database), uuid4().int % 10**11
    first, second, old = uuid4(), uuid4(), uuid4()
    claims = [
        CodeClaim(number, 1, 0, first),
        CodeClaim(number, 1, 0, second),
        CodeClaim(number, 2, 0, old, fresh=False),
    ]
    assert await store.claim(claims) == [first, first, None]
    assert await store.claim(list(reversed(claims))) == [None, first, first]
