"""Child processes of the demo. Each ends when its standard input closes, so none outlives a killed parent."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

READY_TIMEOUT_S = 30.0


class ChildFailed(Exception):
    """The child ended, or said nothing in time; its log says why."""


class Child:
    """`python -m module arguments`, whose first line on standard output is a JSON object: it is ready.

    log: where its standard error goes.
    """

    def __init__(self, module: str, *arguments: str, log: Path, environment: Mapping[str, str]) -> None:
        self._module = module
        self._arguments = arguments
        self._log = log
        self._environment = {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ChildFailed(f"{self._module} was not started")
        return self._process.pid

    async def start(self) -> dict[str, Any]:
        """Start and wait until it is ready; returns what it said."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, *self._arguments, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=log, env=self._environment,
                # Ctrl-C reaches the parent alone, which ends its children in order.
                start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await self._process.stdout.readline()
            self.ready = json.loads(line)
        except (TimeoutError, ValueError):
            await self.kill()
            raise ChildFailed(f"{self._module} did not become ready; see {self._log}") from None
        return self.ready

    async def stop(self, timeout_s: float = 15.0) -> int:
        """Ask it to end; kill it if it does not. Returns the exit code."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(timeout_s):
                    await process.wait()
            except TimeoutError:
                process.kill()
        return await self._ended(process)

    async def kill(self) -> None:
        """SIGKILL: no warning, no drain."""
        process = self._process
        if process is not None:
            if process.returncode is None:
                process.kill()
            await self._ended(process)

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        if process.stdin is not None:
            process.stdin.close()
        code = await process.wait()
        self._process = None
        return code


async def until_stdin_closes() -> None:
    """Returns when the parent is gone (or closes our standard input)."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while await reader.read(1024):
            continue
    finally:
        transport.close()


def say_ready(**facts: Any) -> None:
    """The line that `Child.start` waits for."""
    print(json.dumps(facts), flush=True)
