"""What a password hash costs on this machine: `python -m benchmarks.passwords`.

Argon2id is hard because it needs memory and time; each set of parameters below is one that somebody recommends. Choose
the strongest of which as many as log in at the busiest moment can be computed by the threads, and whose memory, times
the threads, is there. One hash at a time; "cpu" is what the process used of the cores, whatever else they did.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import argon2

_ROUNDS: Final = 7


@dataclass(frozen=True, slots=True)
class Parameters:
    """memory_kib, passes, lanes: RFC 9106's m, t, p."""

    name: str
    memory_kib: int
    passes: int
    lanes: int


RECOMMENDED: Final = (
    Parameters("OWASP 1", 47_104, 1, 1),
    Parameters("OWASP 2", 19_456, 2, 1),
    Parameters("OWASP 5", 7_168, 5, 1),
    Parameters("RFC 9106, second, one lane", 65_536, 3, 1),
    Parameters("RFC 9106, second", 65_536, 3, 4),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians. resident_kib: by how much the process's peak memory grew."""

    wall_ms: float
    cpu_ms: float
    resident_kib: int


def measure(parameters: Parameters, rounds: int = _ROUNDS) -> Cost:
    hasher = argon2.PasswordHasher(parameters.passes, parameters.memory_kib, parameters.lanes)
    before_kib = _peak_kib()
    encoded = hasher.hash("correct horse battery")
    wall_ms, cpu_ms = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        hasher.verify(encoded, "correct horse battery")
        wall_ms.append((time.perf_counter() - wall) * 1000)
        cpu_ms.append((time.process_time() - cpu) * 1000)
    return Cost(statistics.median(wall_ms), statistics.median(cpu_ms), _peak_kib() - before_kib)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_alone(parameters: Parameters, rounds: int) -> Cost:
    """In a process of its own, whose memory was no other set's before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, parameters, rounds).result()


def report(
    sets: Sequence[Parameters] = RECOMMENDED,
    rounds: int = _ROUNDS,
    run: Callable[[Parameters, int], Cost] = measure_alone,
) -> list[str]:
    lines = [f"{'parameters':28}{'memory KiB':>11}{'passes':>8}{'lanes':>7}{'wall ms':>9}{'cpu ms':>9}{'peak KiB':>10}"]
    for each in sets:
        cost = run(each, rounds)
        lines.append(
            f"{each.name:28}{each.memory_kib:>11}{each.passes:>8}{each.lanes:>7}{cost.wall_ms:>9.1f}"
            f"{cost.cpu_ms:>9.1f}{cost.resident_kib:>+10}"
        )
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(report()) + "\n")
