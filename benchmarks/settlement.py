"""`python -m benchmarks.settlement`: a day of payments followed by the ledger, closed, checked and settled.

In a scratch PostgreSQL with its default settings (fsync on), the journal's events written beforehand. Closing is what
an operator waits for; the ledger follows while the day runs.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processor import family, family_s, postmaster_of
from benchmarks.settlement_day import Merchants, fill
from hsm.direct import DirectHsm
from hsm.token import create_token
from hsm.usages import KeyUsage
from switch.domain.access import Caller, Role
from switch.domain.business_day import begins_ms, later
from switch.domain.settlement import Debtor
from switch.routing.card_types import BinCardTypes
from switch.settlement.batches import SettlementRules, Settlements
from switch.settlement.close import DayClose
from switch.store.embedded import EmbeddedPostgres
from switch.store.heavy import HeavyConnections
from switch.store.ledger_check import LedgerChecker
from switch.store.ledger_days import PostgresDays
from switch.store.ledger_follower import LedgerFollower
from switch.store.merchants import SEAL_KEY
from switch.store.migrate import migrate
from switch.store.pool import create_pool
from switch.store.settlement import PostgresBatches

DAY = "2026-03-02"
_SAMPLE_S = 0.2


@dataclass(slots=True)
class Figures:
    """seconds: by step, (on the clock, of processor time: ours and PostgreSQL's together).

    memory_mb: this process's highest resident set. server_mb: of all of PostgreSQL's processes, shared pages counted
    once (PSS), at the highest of five samples a second while the day was closed.
    """

    payments: int
    events: int = 0
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    memory_mb: float = 0.0
    server_mb: float = 0.0

    def page(self) -> str:
        rows = [f"{self.payments:,} payments, {self.events:,} events", ""]
        rows += ["| step | s | events/s | processor s |", "|---|---|---|---|"]
        for step, (took, worked) in self.seconds.items():
            rows.append(f"| {step} | {took:.2f} | {self.events / max(took, 1e-9):,.0f} | {worked:.2f} |")
        rows += ["", f"this process: {self.memory_mb:.0f} MB; PostgreSQL while closing: {self.server_mb:.0f} MB"]
        return "\n".join(rows)


class Stopwatch:
    def __init__(self, figures: Figures, step: str, postmaster: int) -> None:
        self._figures, self._step, self._postmaster = figures, step, postmaster
        self._begun, self._worked = 0.0, 0.0

    def __enter__(self) -> None:
        self._begun, self._worked = time.perf_counter(), self._processor_s()

    def __exit__(self, *_: object) -> None:
        took, worked = time.perf_counter() - self._begun, self._processor_s() - self._worked
        self._figures.seconds[self._step] = (took, worked)

    def _processor_s(self) -> float:
        return time.process_time() + family_s(self._postmaster)


class AfterTheDay:
    def time_ms(self) -> int:
        return begins_ms(later(DAY, 1)) + 3_600_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class NothingLeft:
    """The feed has found everything."""

    async def complete_day(self, day: Any) -> int:
        return 0


class ServerMemory:
    """Samples in a thread: the loop is at work."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server memory", daemon=True)
        self.highest_kb = 0

    def __enter__(self) -> "ServerMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.highest_kb = max(self.highest_kb, sum(map(_pss_kb, family(self._postmaster))))


def _pss_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


@contextmanager
def _sealing_hsm() -> Iterator[DirectHsm]:
    with tempfile.TemporaryDirectory(prefix="payswitch-bench-") as folder:
        hsm = DirectHsm.open(create_token(Path(folder) / "token"))
        try:
            hsm.store.ensure(SEAL_KEY, KeyUsage.SEALING)
            yield hsm
        finally:
            hsm.close()


async def run(dsn: str, postmaster: int, payments: int, merchants: int) -> Figures:
    with _sealing_hsm() as hsm:
        return await _run(dsn, postmaster, payments, merchants, hsm)


async def _run(dsn: str, postmaster: int, payments: int, merchants: int, hsm: DirectHsm) -> Figures:
    await migrate(dsn)
    figures = Figures(payments)
    figures.events = await fill(dsn, DAY, payments, merchants)
    pool = await create_pool(dsn, size=2, command_timeout_s=30.0)
    heavy, register, clock = HeavyConnections(dsn), Merchants(), AfterTheDay()
    follower = LedgerFollower(pool, register, BinCardTypes(tuple), clock)
    with Stopwatch(figures, "follow", postmaster):
        await follower.catch_up()
    batches, days = PostgresBatches(pool, heavy, hsm), PostgresDays(pool, heavy)
    close = DayClose(days, batches, NothingLeft(), follower, clock)
    with Stopwatch(figures, "close", postmaster), ServerMemory(postmaster) as memory:
        await close.close(DAY, "finance/ann")
    figures.server_mb = memory.highest_kb / 1024
    settlements = Settlements(batches, register, clock, SettlementRules(Debtor("Us", "6222", "BKCHCNBJ")))
    with Stopwatch(figures, "settle", postmaster):
        await _settle(settlements)
    with Stopwatch(figures, "check", postmaster):
        faults = await LedgerChecker(heavy).check("")
    if faults:
        raise AssertionError(f"the ledger does not hold: {faults[0]}")
    figures.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    await pool.close()
    return figures


async def _settle(settlements: Settlements) -> None:
    ann, bob = (Caller(f"finance/{name}", frozenset({Role.FINANCE})) for name in ("ann", "bob"))
    batch = await settlements.create("bench", "CNY", ann)
    await settlements.release(batch.id, bob)
    await settlements.payout_file(batch.id, "pain.001", bob)
    await settlements.confirm(batch.id, [], bob)


async def scratch(payments: int, merchants: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="payswitch-bench-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        dsn = await server.start()
        try:
            return await run(dsn, await postmaster_of(dsn), payments, merchants)
        finally:
            await server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.settlement", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--merchants", type=int, default=500)
    options = parser.parse_args(arguments)
    print(asyncio.run(scratch(options.payments, options.merchants)).page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
