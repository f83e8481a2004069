"""The wiring of the audit chain: every process of `operations` follows, one works; checkpoints are signed and exported.

A checkpoint leaves the database twice: as a line of the log, and as a line of a file. Whoever can write the database
can cut its table and its checkpoints short, and those lines still say how long it was.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from hsm.errors import HsmError
from switch.config import Settings
from switch.domain.audit_chain import Checkpoint
from switch.ops.metrics import AUDIT_CHAINED, AUDIT_CHECKPOINTS
from switch.ports import Hsm, StoreUnavailable
from switch.store.audit_chain import PostgresAuditChain
from switch.wiring.foundation import Foundation

log = structlog.get_logger()

SIGNING_KEY: Final = "audit/sign"
_POLL_S: Final = 0.5
_FAILED_PAUSE_S: Final = 5.0
_TAIL_BYTES: Final = 4096  # a line has fewer than 1000


class CheckpointFile:
    """A line of JSON for each checkpoint, only ever added, each with a later sequence than the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Checkpoint]:
        """Raises OSError, and ValueError naming the line. A last line that a crash cut off is passed over."""
        lines = self._path.read_text().split("\n")
        found = []
        for number, line in enumerate(lines[:-1], 1):
            try:
                found.append(Checkpoint.from_json(line))
            except ValueError as error:
                raise ValueError(f"{self._path}, line {number}: {error}") from None
        return found

    def last_sequence(self) -> int:
        """Of the last whole line; 0 without any. Raises OSError, ValueError."""
        if not self._path.exists():
            return 0
        whole = self._tail().rpartition(b"\n")[0].rpartition(b"\n")[2]
        return Checkpoint.from_json(whole.decode()).sequence if whole else 0

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """On the disk on return. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_off = len(self._tail().rpartition(b"\n")[2]) if self._path.exists() else 0
        with self._path.open("r+b" if self._path.exists() else "xb") as file:
            file.seek(-cut_off, os.SEEK_END)
            file.truncate()
            file.write("".join(f"{each.as_json()}\n" for each in checkpoints).encode())
            file.flush()
            os.fsync(file.fileno())

    def _tail(self) -> bytes:
        """More than two lines of it."""
        with self._path.open("rb") as file:
            file.seek(-min(file.seek(0, os.SEEK_END), _TAIL_BYTES), os.SEEK_END)
            return file.read()


class AuditFollower:
    """every_s: from one checkpoint to the next, at least; none is made where nothing was added."""

    def __init__(self, chain: PostgresAuditChain, hsm: Hsm, file: CheckpointFile, every_s: float) -> None:
        self._chain = chain
        self._hsm = hsm
        self._file = file
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="audit chain")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def chain(self) -> int:
        """Until none waits; how many got their places. Raises StoreUnavailable."""
        done = 0
        while count := await self._chain.step():
            done += count
        AUDIT_CHAINED.inc(done)
        return done

    async def checkpoint(self) -> Checkpoint | None:
        """Sign how long the chain is, keep and export it. None: nothing was added, or another process was first.

        Raises StoreUnavailable, HsmError and OSError; what was signed and not exported is by the next call.
        """
        due = await self._chain.due_checkpoint(SIGNING_KEY)
        made = None
        if due is not None:
            [signature] = await self._hsm.sign([(SIGNING_KEY, due.statement)])
            if isinstance(signature, Exception):
                raise signature
            signed = Checkpoint(due.sequence, due.hash, due.time_ms, due.key_label, signature)
            if await self._chain.keep(signed):
                made = signed
                AUDIT_CHECKPOINTS.inc()
                log.info("audit_checkpoint", checkpoint=signed.as_json())
        await self._export()
        return made

    async def _export(self) -> None:
        """All that the file lacks, whichever process made them."""
        missing = await self._chain.checkpoints_after(await asyncio.to_thread(self._file.last_sequence))
        if missing:
            await asyncio.to_thread(self._file.append, missing)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            pause_s = _POLL_S
            try:
                await self.chain()
                if loop.time() >= next_s:
                    next_s = loop.time() + self._every_s
                    await self.checkpoint()
            except StoreUnavailable as error:
                log.warning("audit_not_chained", reason=str(error))
            except (HsmError, OSError, ValueError) as error:
                log.error("audit_checkpoint_failed", reason=type(error).__name__)
            except Exception:
                log.exception("audit_chain_failed")
                pause_s = _FAILED_PAUSE_S
            await asyncio.sleep(pause_s)


def follower_of(settings: Settings, chain: PostgresAuditChain, hsm: Hsm) -> AuditFollower:
    return AuditFollower(chain, hsm, CheckpointFile(settings.audit_checkpoint_path), settings.audit.checkpoint_s)


def open_audit(foundation: Foundation) -> None:
    """Closed with the lifecycle."""
    follower = follower_of(foundation.settings, PostgresAuditChain(foundation.pool), foundation.hsm.hsm)
    follower.start()
    foundation.lifecycle.on_close("audit chain", follower.close)
