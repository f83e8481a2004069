"""Load for HSM processes: the product's own client, and a bare one whose cost does not count."""

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.hsm.own import Operation
from hsm.remote import RemoteHsm
from hsm.wire import HEADER_BYTES, Codec


async def client_rate(hsm: RemoteHsm, operation: Operation, batch: int, seconds: float, in_flight: int) -> float:
    """Items a second through the product's client, `in_flight` batches open. Raises on the first failed item.

    At least one batch is measured, however little time there is.
    """
    items = operation.items(batch)
    done = 0
    begun_s = time.perf_counter()
    until_s = begun_s + seconds

    async def keep_asking() -> None:
        nonlocal done
        while time.perf_counter() < until_s or not done:
            for result in await hsm.run(operation.command, items):
                if isinstance(result, Exception):
                    raise result
            done += batch

    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    return done / (time.perf_counter() - begun_s)


def _press(path: str, frames: list[bytes], seconds: float, pipe: Connection) -> None:
    """Send frames that were packed before, a window of them open; count the answers by their headers only."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        pipe.send("ready")
        pipe.recv()
        received, answers = bytearray(), 0
        line.sendall(b"".join(frames))
        begun_s = time.perf_counter()
        while time.perf_counter() - begun_s < seconds or not answers:
            received += line.recv(1 << 20)
            complete = 0
            while len(received) >= HEADER_BYTES:
                end = HEADER_BYTES + int.from_bytes(received[:HEADER_BYTES])
                if len(received) < end:
                    break
                del received[:end]
                complete += 1
            if complete:
                line.sendall(b"".join(frames[(answers + index) % len(frames)] for index in range(complete)))
                answers += complete
        pipe.send(answers / (time.perf_counter() - begun_s))


def bare_rate(sockets: Sequence[Path], operation: Operation, batch: int, seconds: float, window: int = 8) -> float:
    """Items a second that the processes of `sockets` do together, each pressed by a bare client of its own."""
    codec = Codec()
    frames = [codec.request(number, operation.command, operation.items(batch)) for number in range(1, window + 1)]
    spawn = multiprocessing.get_context("spawn")
    clients = []
    for path in sockets:
        ours, theirs = spawn.Pipe()
        client = spawn.Process(target=_press, args=(str(path), frames, seconds, theirs), daemon=True)
        client.start()
        clients.append((client, ours))
    for _, pipe in clients:
        pipe.recv()
    for _, pipe in clients:
        pipe.send("go")
    rate = sum(float(pipe.recv()) for _, pipe in clients) * batch
    for client, _ in clients:
        client.join(10)
    return rate
