"""A merchant's transaction query with many rows: every kind of filter, in multiples of a look-up by primary key.

    python -m benchmarks.transactions --rows 10000000 --merchants 1

A scratch PostgreSQL of its own, filled by the server itself, set as the embedded one but for fsync. All of it belongs
to one merchant by default, which is the worst case: nothing but the filter's own index narrows the search. Each figure
is one page of 50 through the pool as the switch makes it, everything included. The rows are spread as a day's are not:
each field's values are independent of each other, so that rare combinations exist.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from switch.domain.identity import lowest_id_at
from switch.domain.states import EntryMode, State
from switch.domain.transaction import TransactionFilter
from switch.store.embedded import EmbeddedPostgres
from switch.store.migrate import migrate
from switch.store.pool import create_pool
from switch.store.sessions import Connection, Pool
from switch.store.transactions import PostgresTransactions

FIRST_MS: Final = 1_750_000_000_000
_EVERY_MS: Final = 500
_PAGE: Final = 50
_SETTINGS: Final = {"fsync": "off", "max_wal_size": "2GB", "maintenance_work_mem": "256MB"}
_BATCH: Final = 200_000

# One in 20 declined, one in 100,000 undone by an operator's means (VOIDED); one in 1,000 through a direct issuer;
# amounts are mostly small; 5,000 payers, one of whom pays a tenth of everything.
_FILL: Final = """
INSERT INTO merchant_transactions (
    merchant_id, id, created_time_ms, answered_time_ms, checked_time_ms, amount_minor, approved_minor, captured_minor,
    refunded_minor, operation, entry, state, currency, acquirer_id, terminal_id, channel, response_code, reason,
    approval_code, retrieval_reference, channel_reference, reference, masked_credential, card_first6, card_last4,
    payer_key)
SELECT 'M' || i % $3, (lpad(to_hex($4 + i * $5), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0')
           || 'a' || lpad(to_hex(i), 15, '0'))::uuid,
       $4 + i * $5, $4 + i * $5 + 90, 0, amount, amount, amount, 0, 1, 1 + (h >> 8) % 3,
       CASE WHEN i % 100003 = 8 THEN 7 WHEN h % 20 = 0 THEN 4 ELSE 3 END,
       CASE WHEN i % 50021 = 3 THEN 'USD' ELSE 'CNY' END, 'acquirer', 'T' || (h >> 4) % 200,
       CASE WHEN h % 1000 = 1 THEN 'issuer:demo' WHEN h % 3 = 0 THEN 'unionpay' ELSE 'alipay' END,
       CASE WHEN h % 20 = 0 THEN CASE WHEN h % 400 = 0 THEN '61' ELSE '51' END ELSE '00' END, '',
       lpad(((i * 7919) % 1000000)::text, 6, '0'), lpad(i::text, 12, '0'), '2026' || lpad(i::text, 20, '0'),
       'P' || lpad(i::text, 15, '0'), '622588******' || lpad((h % 10000)::text, 4, '0'), '622588',
       lpad((h % 10000)::text, 4, '0'),
       CASE WHEN h % 10 = 0 THEN '\\x00' ELSE decode(lpad(to_hex(h % 5000), 8, '0'), 'hex') END
FROM (SELECT i, h, 1 + (h * 31 % 1000) * (h * 17 % 1000) AS amount
      FROM (SELECT i, hashint8(i)::bigint & 2147483647 AS h FROM generate_series($1::bigint, $2::bigint) AS i) AS one)
     AS row
"""


def filters(rows: int) -> dict[str, TransactionFilter]:
    """By what they show. Times are in the middle of what was filled."""
    middle_ms = FIRST_MS + rows // 2 * _EVERY_MS
    hour_ms = 3_600_000
    return {
        "none": TransactionFilter(),
        "an hour": TransactionFilter(from_ms=middle_ms, until_ms=middle_ms + hour_ms),
        "state APPROVED (95 %)": TransactionFilter(state=State.APPROVED),
        "state VOIDED (1 in 100,003)": TransactionFilter(state=State.VOIDED),
        "state SENT (none)": TransactionFilter(state=State.SENT),
        "channel alipay (2 in 3)": TransactionFilter(channel="alipay"),
        "channel issuer:demo (1 in 1,000)": TransactionFilter(channel="issuer:demo"),
        "entry NFC (1 in 3)": TransactionFilter(entry=EntryMode.NFC),
        "one terminal (1 in 200)": TransactionFilter(terminal_ids=("T7",)),
        "a store of 50 terminals": TransactionFilter(terminal_ids=tuple(f"T{each}" for each in range(50))),
        "response code 61 (1 in 400)": TransactionFilter(response_code="61"),
        "amount 100 to 200 (rare)": TransactionFilter(currency="CNY", at_least_minor=100, at_most_minor=200),
        "amount from 10,000 (most)": TransactionFilter(currency="CNY", at_least_minor=10_000),
        "currency USD (1 in 50,021)": TransactionFilter(currency="USD"),
        "currency CNY (all)": TransactionFilter(currency="CNY"),
        "approval code": TransactionFilter(approval_code="000007"),
        "retrieval reference": TransactionFilter(retrieval_reference=f"{rows // 2:012d}"),
        "channel reference": TransactionFilter(channel_reference=f"2026{rows // 2:020d}"),
        "our reference": TransactionFilter(reference=f"P{rows // 2:015d}"),
        "card's last four": TransactionFilter(card_last_four="0420"),
        "card's first six (all)": TransactionFilter(card_first_six="622588"),
        "payer (1 in 5,500)": TransactionFilter(payer_key=bytes.fromhex("00000007")),
        "payer (1 in 10)": TransactionFilter(payer_key=b"\0"),
        "state, channel, entry, hour": TransactionFilter(
            from_ms=middle_ms, until_ms=middle_ms + hour_ms, state=State.DECLINED, channel="alipay", entry=EntryMode.NFC
        ),
        "terminal and declined": TransactionFilter(terminal_ids=("T7",), state=State.DECLINED),
        "store and amount range": TransactionFilter(
            terminal_ids=tuple(f"T{each}" for each in range(50)), currency="CNY", at_least_minor=1, at_most_minor=500
        ),
        "approved with code 51 (none)": TransactionFilter(state=State.APPROVED, response_code="51"),
    }


async def fill(connection: Connection, rows: int, merchants: int, log: Callable[[str], None]) -> None:
    """The table first and its indexes after it: ten times as quick as row by row."""
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'merchant_transactions' AND indexname !~ '_pkey$'"
    )
    for row in indexes:
        await connection.execute(f'DROP INDEX "{row["indexname"]}"')
    for first in range(0, rows, _BATCH):
        last = min(first + _BATCH, rows) - 1
        await connection.execute(_FILL, first, last, merchants, FIRST_MS, _EVERY_MS)
    for row in indexes:
        await connection.execute(row["indexdef"])
        log(f"  {row['indexname']}")
    await connection.execute("VACUUM ANALYZE merchant_transactions")


async def _timed(work: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Seconds of each, sorted."""
    taken = []
    for _ in range(times):
        begun_s = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - begun_s)
    return sorted(taken)


def _at(taken: Sequence[float], share: float) -> float:
    return taken[min(len(taken) - 1, int(len(taken) * share))]


async def measure(pool: Pool, rows: int, merchants: int, times: int, log: Callable[[str], None]) -> float:
    """Prints the table; returns the slowest p99 in seconds."""
    store = PostgresTransactions(pool)
    choose = random.Random(7)
    ids = [
        UUID(int=lowest_id_at(FIRST_MS + i * _EVERY_MS).int | 7 << 76 | i % 4096 << 64 | 0xA << 60 | i)
        for i in (choose.randrange(0, rows, merchants) for _ in range(max(times, 200)))
    ]
    keyed = "SELECT * FROM merchant_transactions WHERE merchant_id = $1 AND id = $2"
    wanted = iter(ids * 2)

    async def look_up() -> None:
        async with pool.acquire() as connection:
            assert await connection.fetchrow(keyed, "M0", next(wanted)) is not None

    await _timed(look_up, 20)
    base = await _timed(look_up, len(ids))
    base_s = _at(base, 0.5)
    slow_s = _at(base, 0.99)
    log(f"| look-up by primary key | 1.0 | {slow_s / base_s:.1f} | {base_s * 1000:.2f} | {slow_s * 1000:.2f} | 1 |")
    slowest_s = 0.0
    for name, wanted_filter in filters(rows).items():
        found = await store.search("M0", wanted_filter, None, _PAGE)
        await _timed(lambda f=wanted_filter: store.search("M0", f, None, _PAGE), 3)  # type: ignore[misc]
        taken = await _timed(lambda f=wanted_filter: store.search("M0", f, None, _PAGE), times)  # type: ignore[misc]
        p50, p99 = _at(taken, 0.5), _at(taken, 0.99)
        slowest_s = max(slowest_s, p99)
        more = "" if found.resume is None or len(found.rows) == _PAGE else " and goes on"
        log(
            f"| {name} | {p50 / base_s:.1f} | {p99 / base_s:.1f} | {p50 * 1000:.2f} | {p99 * 1000:.2f} "
            f"| {len(found.rows)}{more} |"
        )
    return slowest_s


async def run(rows: int, merchants: int, times: int, directory: Path, log: Callable[[str], None]) -> float:
    server = EmbeddedPostgres(directory / "postgres", _SETTINGS)
    dsn = await server.start()
    try:
        await migrate(dsn)
        filling = await asyncpg.connect(dsn)
        try:
            await fill(filling, rows, merchants, log)
            size = await filling.fetchval("SELECT pg_total_relation_size('merchant_transactions')")
        finally:
            await filling.close()
        log(f"{rows:,} rows of {merchants} merchant(s), {size / 2**30:.1f} GiB with indexes; a page of {_PAGE}")
        log("| filter | p50, look-ups | p99, look-ups | p50, ms | p99, ms | rows |\n|---|---|---|---|---|---|")
        pool = await create_pool(dsn, size=2)
        try:
            return await measure(pool, rows, merchants, times, log)
        finally:
            await pool.close()
    finally:
        await server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--merchants", type=int, default=1, help="among whom the rows are dealt")
    parser.add_argument("--times", type=int, default=200, help="pages of each filter")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="payswitch-bench-", ignore_cleanup_errors=True) as directory:
        asyncio.run(run(given.rows, given.merchants, given.times, Path(directory), print))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
