"""`python -m benchmarks.reconciliation`: a channel's day of many payments reconciled, three breaks among them.

A PostgreSQL of its own is filled with a day of sales; the bill has a line for each but one, one of another amount and
one that is nobody's. What is timed is what a running switch does: keep the bill, read the day's records past it, enter
what it came to; then the same again with the bill that was kept.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import asyncpg

from switch.domain.bill import Bill, BillKind, BillLine
from switch.domain.money import Money
from switch.domain.packed_lines import PackedLines
from switch.domain.reconciliation import Run
from switch.settlement.bill_file import day_of
from switch.settlement.reconcile import Reconciliations, Rules
from switch.store.embedded import EmbeddedPostgres
from switch.store.migrate import migrate
from switch.store.pool import create_pool
from switch.store.reconciliation import PostgresReconciliation
from switch.store.sessions import Connection
from switch.wiring.foundation import SystemClock

CHANNEL = "pay"
DAY = date(2026, 1, 2)
_MERCHANTS = 1_000
_FROM_MS, _SPREAD_MS = 3_600_000, 75_000_000
_FILL = """
INSERT INTO authorizations (
    merchant_id, id, acquirer_id, terminal_id, merchant_category_code, operation, amount_minor, currency, entry,
    masked_credential, fingerprint, payer_key, sealed_credential, state, decision, response_code, reason, stage,
    channel, attempt, route_explanation, trace, approval_code, retrieval_reference, channel_reference,
    emv_response, approved_minor, captured_minor, refunded_minor, owner, created_time_ms, answered_time_ms)
SELECT 'm' || n % $3::bigint,
       (lpad(to_hex($1::bigint + n % $5::bigint), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
       'acq', 't1', '5411', 1, 100 + n % 9999, 'CNY', 2, '28****', sha256('f'), sha256('p'), sha256('s'), 3, 1, '00',
       '', 'send', $4, 1, 'wallet', '{"out_trade_no":"' || lpad(n::text, 32, '0') || '"}', '', '', '20260102' || n, '',
       100 + n % 9999, 100 + n % 9999, 0, NULL, $1::bigint + n % $5::bigint, $1::bigint + n % $5::bigint
FROM generate_series(0, $2::bigint - 1) AS n
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds, first_cpu_s of this process's own work. Memory: the largest resident set of this process in MiB, and
    what it was before the bill."""

    lines: int
    fill_s: float
    first_s: float
    first_cpu_s: float
    again_s: float
    before_mib: float
    peak_mib: float
    run: Run


def bill_of(count: int) -> PackedLines:
    """A line for each sale but the first; the second of another amount; one more that is nobody's."""
    first_ms = day_of(DAY, 0).from_ms + _FROM_MS
    lines = PackedLines()
    for n in range(1, count):
        money = Money(100 + n % 9999 + (n == 1), "CNY")
        time_ms, fee_minor = first_ms + n % _SPREAD_MS, money.amount_minor // 100
        lines.append(BillLine(BillKind.PAYMENT, f"{n:032d}", money, time_ms, "", f"20260102{n}", fee_minor))
    lines.append(BillLine(BillKind.PAYMENT, "x" * 32, Money(1, "CNY"), first_ms))
    return lines


class _Channel:
    name = CHANNEL

    def __init__(self, lines: PackedLines) -> None:
        self.lines: PackedLines | None = lines

    async def bill(self, day: date) -> Bill:
        """Handed over: what is left of it afterwards is the reconciliation's."""
        lines, self.lines = self.lines, None
        assert lines is not None
        return Bill(CHANNEL, day, lines)


async def measure(count: int, directory: Path) -> Figures:
    server = EmbeddedPostgres(directory / "postgres")
    dsn = await server.start()
    try:
        await migrate(dsn)
        pool = await create_pool(dsn, size=2)
        try:
            return await measured(count, dsn, pool)
        finally:
            await pool.close()
    finally:
        await server.stop()


async def measured(count: int, dsn: str, pool: asyncpg.Pool) -> Figures:
    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        connection = await asyncpg.connect(dsn)
        try:
            yield connection
        finally:
            await connection.close()

    started = time.perf_counter()
    async with connect() as connection:
        first_ms = day_of(DAY, 0).from_ms + _FROM_MS
        await connection.execute(_FILL, first_ms, count, _MERCHANTS, CHANNEL, _SPREAD_MS)
        await connection.execute("VACUUM (ANALYZE) authorizations")
    fill_s, before_mib = time.perf_counter() - started, _peak_mib()
    store = PostgresReconciliation(pool, connect)
    work = Reconciliations(store, {CHANNEL: _Channel(bill_of(count))}, SystemClock(), Rules())
    started, cpu_s = time.perf_counter(), time.process_time()
    run = await work.run(CHANNEL, DAY, "benchmark")
    first_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    started = time.perf_counter()
    again = await Reconciliations(store, {}, SystemClock(), Rules()).run(CHANNEL, DAY, "benchmark")
    again_s = time.perf_counter() - started
    if (again.counts, again.sides) != (run.counts, run.sides):
        raise AssertionError("the second run found something else")
    return Figures(count, fill_s, first_s, cpu_s, again_s, before_mib, _peak_mib(), run)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def page(figures: Figures) -> str:
    found = ", ".join(f"{name} {count:,}" for name, count in sorted(figures.run.counts.items()))
    return "\n".join(
        (
            f"{figures.lines:,} lines against {figures.lines:,} records (filled in {figures.fill_s:.1f} s): {found}",
            "| | |",
            "|---|---|",
            f"| bill kept, compared, entered | {figures.first_s:.1f} s, {figures.first_cpu_s:.1f} s of them ours |",
            f"| the same again, from the kept bill | {figures.again_s:.1f} s |",
            f"| largest resident set | {figures.peak_mib:.0f} MiB, {figures.before_mib:.0f} before the bill |",
        )
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconciliation", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="payswitch-reconciliation-", ignore_cleanup_errors=True) as directory:
        print(page(asyncio.run(measure(given.lines, Path(directory)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
