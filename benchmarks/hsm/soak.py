"""Four clients press two HSM processes while keys are rotated under them: no command may fail.

Each client, a process of its own, translates PINs towards a key that is rotated, makes and verifies MACs under one, and
unseals what it sealed before the rotation. Half way the keys are rotated in the token's directory, as `payswitch keys
rotate` does it; the HSM processes notice by themselves.
"""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.hsm.own import PIN_SOURCE
from benchmarks.hsm.peers import BLOCK, MESSAGE, PAN
from hsm.direct import DirectHsm
from hsm.keys import KeyUsage
from hsm.processes import HsmProcesses
from hsm.remote import RemoteHsm

CLIENTS = 4
BATCH = 32
ROTATED = (("soak/pin", KeyUsage.PIN_KEY), ("soak/mac", KeyUsage.MAC_KEY), ("soak/seal", KeyUsage.SEALING))


@dataclass(frozen=True, slots=True)
class Soaked:
    """items: commands done. failures: by the class of the error. KCVs of the rotated keys before and after."""

    items: int
    failures: dict[str, int]
    before: list[str]
    after: list[str]
    seconds: float


class _Client:
    def __init__(self, hsm: RemoteHsm) -> None:
        self._hsm = hsm
        self.items = 0
        self.failures: Counter[str] = Counter()
        self._sealed: list[bytes] = []

    async def work(self, until_s: float) -> None:
        self._sealed = await self._ask("seal", [("soak/seal", MESSAGE[:64], b"")] * BATCH)
        while time.monotonic() < until_s:
            macs = await self._ask("macs", [("soak/mac", "iso9797-alg3-pad1", MESSAGE)] * BATCH)
            await self._ask("translate_pins", [(PIN_SOURCE, 0, "soak/pin", 0, BLOCK, PAN)] * BATCH)
            await self._ask("verify_macs", [("soak/mac", "iso9797-alg3-pad1", MESSAGE, mac) for mac in macs])
            await self._ask("unseal", [("soak/seal", box, b"") for box in self._sealed])

    async def _ask(self, command: str, items: Sequence[Any]) -> list[Any]:
        self.items += len(items)
        try:
            results = await self._hsm.run(command, items)
        except Exception as error:
            self.failures[type(error).__name__] += len(items)
            return []
        wrong = [type(each).__name__ for each in results if isinstance(each, Exception)]
        self.failures.update(wrong)
        return [each for each in results if not isinstance(each, Exception)]


def _client(sockets: list[Path], seconds: float, pipe: Connection) -> None:
    async def run() -> tuple[int, dict[str, int]]:
        hsm = RemoteHsm(sockets)
        await hsm.start()
        client = _Client(hsm)
        pipe.send("ready")
        await client.work(time.monotonic() + seconds)
        await hsm.close()
        return client.items, dict(client.failures)

    pipe.send(asyncio.run(run()))


async def soak(directory: Path, seconds: float) -> Soaked:
    """Run it on the token of a directory that has the keys of `own.provide`."""
    manager = DirectHsm.open(directory)
    processes = HsmProcesses(directory, fast=2, signing=0)
    spawn = multiprocessing.get_context("spawn")
    clients = []
    begun_s = time.monotonic()
    try:
        for label, usage in ROTATED:
            manager.store.ensure(label, usage)
        before = [manager.store.find(label).kcv for label, _ in ROTATED]
        await processes.start()
        for _ in range(CLIENTS):
            ours, theirs = spawn.Pipe()
            client = spawn.Process(target=_client, args=(processes.sockets, seconds, theirs), daemon=True)
            client.start()
            clients.append((client, ours))
        for _, pipe in clients:
            await asyncio.to_thread(pipe.recv)
        await asyncio.sleep(seconds / 2)
        for label, _ in ROTATED:
            await asyncio.to_thread(manager.store.rotate, label, activate=True)
        found = [await asyncio.to_thread(pipe.recv) for _, pipe in clients]
        after = [manager.store.find(label).kcv for label, _ in ROTATED]
    finally:
        for client, _ in clients:
            client.join(5)
        await processes.close()
        manager.close()
    failures: Counter[str] = Counter()
    for _, each in found:
        failures.update(each)
    return Soaked(sum(items for items, _ in found), dict(failures), before, after, time.monotonic() - begun_s)
