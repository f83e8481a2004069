"""The rounds: everything measured in turn, several times over, so that a slow minute slows all of it; medians."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.hsm import delay
from benchmarks.hsm.delay import Delay
from benchmarks.hsm.own import OPERATIONS, Operation
from benchmarks.hsm.peers import PEERS, Peer, rate_of
from benchmarks.hsm.through import bare_rate, client_rate
from hsm.direct import DirectHsm
from hsm.processes import HsmProcesses
from hsm.remote import RemoteHsm

ONE_CALL = "direct, one call"
BATCHED = "direct, batches"
PROCESS = "process, batches"
IN_FLIGHT = 4
SCALED = OPERATIONS[0]
SCALING_BATCH = 256


@dataclass(slots=True)
class Measured:
    """rates: operation → way or peer → items a second, one number a round. scaling: processes → items a second. alone,
    beside_signatures: single translations through a process."""

    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    scaling: dict[int, list[float]] = field(default_factory=dict)
    alone: list[Delay] = field(default_factory=list)
    beside_signatures: list[Delay] = field(default_factory=list)

    def note(self, operation: str, way: str, rate: float) -> None:
        self.rates.setdefault(operation, {}).setdefault(way, []).append(rate)

    def rate(self, operation: str, way: str) -> float | None:
        found = self.rates.get(operation, {}).get(way)
        return median(found) if found else None

    def ratio(self, operation: str, way: str, peer: str) -> float | None:
        """Median of the ratios of each round; None where one of the two was not measured."""
        ours, theirs = self.rates.get(operation, {}).get(way), self.rates.get(operation, {}).get(peer)
        return median(a / b for a, b in zip(ours, theirs, strict=True)) if ours and theirs else None

    @property
    def scaling_ratio(self) -> float:
        """Two processes to one: the median of the rounds."""
        return median(two / one for one, two in zip(self.scaling[1], self.scaling[2], strict=True))


def run(directory: Path, seconds: float, rounds: int, operations: Sequence[Operation] = OPERATIONS) -> Measured:
    """Measure on the token of a directory that has the keys of `own.provide`. seconds: of each measurement."""
    measured = Measured()
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(name)) for name in PEERS]
        direct = DirectHsm.open(directory)
        stack.callback(direct.close)
        for _ in range(rounds):
            for operation in operations:
                _measure_direct(measured, direct, operation, seconds)
                for peer in peers:
                    if operation.name in peer.operations:
                        measured.note(operation.name, peer.name, peer.rate(operation.name, seconds))
            asyncio.run(_measure_processes(measured, directory, operations, seconds))
    return measured


def _measure_direct(measured: Measured, direct: DirectHsm, operation: Operation, seconds: float) -> None:
    one, many = operation.items(1), operation.items(operation.batch)
    for result in direct.run_now(operation.command, many):
        if isinstance(result, Exception):
            raise result
    measured.note(operation.name, ONE_CALL, rate_of(lambda: direct.run_now(operation.command, one), seconds))
    batches = rate_of(lambda: direct.run_now(operation.command, many), seconds)
    measured.note(operation.name, BATCHED, batches * operation.batch)


async def _measure_processes(
    measured: Measured, directory: Path, operations: Sequence[Operation], seconds: float
) -> None:
    processes = HsmProcesses(directory, fast=2)
    try:
        await processes.start()
        first, second, signing = processes.sockets
        hsm = RemoteHsm([first, signing])
        await hsm.start()
        for operation in operations:
            rate = await client_rate(hsm, operation, operation.batch, seconds, IN_FLIGHT)
            measured.note(operation.name, PROCESS, rate)
        measured.alone.append(await delay.measure(hsm, seconds * 2, signing=False))
        measured.beside_signatures.append(await delay.measure(hsm, seconds * 2, signing=True))
        await hsm.close()
        for sockets in ([first], [first, second]):
            rate = await asyncio.to_thread(bare_rate, sockets, SCALED, SCALING_BATCH, seconds * 2)
            measured.scaling.setdefault(len(sockets), []).append(rate)
    finally:
        await processes.close()
