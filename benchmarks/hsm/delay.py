"""Whether signatures hold up PINs: the time of single PIN translations, alone and while signatures are made."""

import asyncio
import statistics
import time
from dataclasses import dataclass

from benchmarks.hsm.own import OPERATIONS, Operation
from hsm.remote import RemoteHsm

PAUSE_S = 0.002
SIGNERS = 2
_BY_NAME = {each.name: each for each in OPERATIONS}
TRANSLATION = _BY_NAME["PIN translation 0→0, TDES"]
SIGNATURE = _BY_NAME["RSA-2048 signature"]


@dataclass(frozen=True, slots=True)
class Delay:
    """Microseconds of one translation through the process; signatures made meanwhile, a second."""

    median_us: float
    p99_us: float
    signatures_per_s: float


async def measure(hsm: RemoteHsm, seconds: float, *, signing: bool) -> Delay:
    """One translation every PAUSE_S, in the loop's own time; with `signing`, SIGNERS keep a signature open each.

    Two translations at least, however little time there is: fewer have no quantiles.
    """
    until_s = time.perf_counter() + seconds
    signed = [asyncio.create_task(_keep_signing(hsm, SIGNATURE, until_s)) for _ in range(SIGNERS if signing else 0)]
    times_us: list[float] = []
    while time.perf_counter() < until_s or len(times_us) < 2:
        begun_s = time.perf_counter()
        [result] = await hsm.run(TRANSLATION.command, TRANSLATION.items(1))
        times_us.append((time.perf_counter() - begun_s) * 1e6)
        if isinstance(result, Exception):
            raise result
        await asyncio.sleep(PAUSE_S)
    made = sum(await asyncio.gather(*signed))
    return Delay(statistics.median(times_us), statistics.quantiles(times_us, n=100)[98], made / seconds)


async def _keep_signing(hsm: RemoteHsm, operation: Operation, until_s: float) -> int:
    made = 0
    while time.perf_counter() < until_s:
        [result] = await hsm.run(operation.command, operation.items(1))
        if isinstance(result, Exception):
            raise result
        made += 1
    return made
