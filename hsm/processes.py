"""Starts HSM processes, keeps them running, and stops them.

Each is started by exec (a fork of a process with an open token would inherit its sessions), with an environment that
holds nothing but what it needs. It ends when the pipe to the process that started it is closed: because that asks it
to, or is gone. A SIGTERM for the whole group does not end it first.

One that dies is started again after a pause that grows while it keeps dying; what keeps dying is named in `report`. One
whose token refuses the PIN is not started again: the next try could lock the PIN of a hardware module.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import hsm
from hsm.errors import HsmUnavailable
from hsm.hardening import KEPT_VARIABLES
from hsm.roles import Role
from hsm.serve import EXIT_LOGIN_REFUSED, LONGEST_SOCKET_PATH, READY

log = logging.getLogger("hsm")

_LEVELS: Final = {name: logging.getLevelName(name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_NEVER_PASSED_ON: Final = frozenset({"PYTHONPATH", "NOTIFY_SOCKET"})


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """start_s: until a process serves. stop_s: until it ends when asked to, then SIGKILL. first_pause_s: before it is
    started again; doubles up to longest_pause_s while it does not live for healthy_s."""

    start_s: float = 30.0
    stop_s: float = 8.0
    first_pause_s: float = 0.05
    longest_pause_s: float = 5.0
    healthy_s: float = 10.0


class HsmProcesses:
    """fast, signing: how many of each. `start`, then connect to `sockets`, then `close`.

    restarted: is told the name of a process that is started again.
    """

    def __init__(
        self,
        directory: Path,
        module_path: str = "",
        *,
        fast: int = 1,
        signing: int = 1,
        limits: ProcessLimits = ProcessLimits(),
        restarted: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._place = _socket_directory()
        roles = [("fast", Role.FAST, fast), ("signing", Role.SLOW, signing)]
        self._kept = [
            KeptProcess(
                f"{name}-{index}", role, count, directory.absolute(), self._place / f"{name}-{index}.sock", module_path,
                limits, restarted,
            )
            for name, role, count in roles
            for index in range(count)
        ]  # fmt: skip

    @property
    def sockets(self) -> list[Path]:
        return [each.socket for each in self._kept]

    @property
    def pids(self) -> dict[str, int]:
        """Of those that run now, by name: fast-0, signing-0."""
        return {each.name: each.pid for each in self._kept if each.pid}

    @property
    def report(self) -> str:
        """What an operator must know: which processes keep dying, or are not started any more. "" if none."""
        return "; ".join(each.complaint for each in self._kept if each.complaint)

    async def start(self) -> None:
        """Return when all serve. Raises HsmUnavailable if one does not; `close` is to be called all the same."""
        started = await asyncio.gather(*(each.start() for each in self._kept), return_exceptions=True)
        for each in started:
            if isinstance(each, BaseException):
                raise each

    async def close(self) -> None:
        """Stop them, and remove their sockets."""
        await asyncio.gather(*(each.close() for each in self._kept))
        shutil.rmtree(self._place, ignore_errors=True)


class KeptProcess:
    """One process, under one name, as often as it takes."""

    def __init__(
        self,
        name: str,
        role: Role,
        one_of: int,
        directory: Path,
        socket: Path,
        module_path: str,
        limits: ProcessLimits,
        restarted: Callable[[str], None],
    ) -> None:
        self.name = name
        self.socket = socket
        self.complaint = ""
        self._arguments = ["--directory", str(directory), "--socket", str(socket), "--only", str(role)]
        self._arguments += ["--one-of", str(one_of)]
        self._arguments += ["--module", module_path] if module_path else []
        self._limits = limits
        self._restarted = restarted
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._relay: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """0 if it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def start(self) -> None:
        """Start it and wait until it serves. Raises HsmUnavailable."""
        if not await self._spawn():
            raise HsmUnavailable(f"the HSM process {self.name} did not start ({self._ending()}); its log says why")
        self._keeper = asyncio.create_task(self._keep(), name=f"hsm process {self.name}")

    async def close(self) -> None:
        """Let it finish what runs; SIGKILL if it does not end in time."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await self._end()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        limits = self._limits
        pause_s, deaths, serves = limits.first_pause_s, 0, True
        while True:
            since_s = loop.time()
            if serves:
                await self._lives(limits.healthy_s)
            lived_s = loop.time() - since_s
            await self._end()
            if serves and lived_s >= limits.healthy_s:
                pause_s, deaths = limits.first_pause_s, 0
            deaths += 1
            log.error("the HSM process %s ended (%s)", self.name, self._ending())
            if self._code == EXIT_LOGIN_REFUSED:
                self.complaint = f"{self.name}: the token refuses its PIN; it is not started again"
                log.error("%s", self.complaint)
                return
            if deaths > 1:
                self.complaint = f"{self.name} ended {deaths} times in a row ({self._ending()})"
                log.error("%s", self.complaint)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, limits.longest_pause_s)
            self._restarted(self.name)
            serves = await self._spawn()

    async def _lives(self, healthy_s: float) -> None:
        """Until it ends. What has lived long enough is not complained of any more."""
        process = self._process
        assert process is not None
        ending = asyncio.ensure_future(process.wait())
        try:
            done, _ = await asyncio.wait([ending], timeout=healthy_s)
            if not done:
                self.complaint = ""
                await ending
        finally:
            ending.cancel()

    async def _spawn(self) -> bool:
        """Whether it serves."""
        # -P: nothing is imported from the working directory; our own code comes from where this process has it.
        command = [sys.executable, "-P", "-m", "hsm.serve", *self._arguments, "--ready-fd", "1", "--with-parent"]
        self._process = None
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                # Ctrl-C reaches the parent alone, which ends its children in order.
                start_new_session=True,
            )
        except OSError as error:
            log.error("the HSM process %s cannot be started: %s", self.name, error.strerror)
            return False
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._relay = asyncio.create_task(self._log_lines(self._process.stderr), name=f"hsm log {self.name}")
        try:
            async with asyncio.timeout(self._limits.start_s):
                serves = await self._process.stdout.readline() == READY
                if not serves:
                    await self._process.wait()
                return serves
        except TimeoutError:
            log.error("the HSM process %s does not serve after %g s", self.name, self._limits.start_s)
            return False

    async def _end(self) -> None:
        """Make sure that it has ended."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            try:
                async with asyncio.timeout(self._limits.stop_s):
                    await process.wait()
            except TimeoutError:
                log.error("the HSM process %s is killed: it did not end in %g s", self.name, self._limits.stop_s)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await process.wait()
        if self._relay is not None:
            await asyncio.wait([self._relay])

    async def _log_lines(self, lines: asyncio.StreamReader) -> None:
        """What the process logs is logged here, so that all of it has one form."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:
                continue  # longer than anything it has to say; that part is gone
            if not line:
                return
            level, _, text = line.decode(errors="replace").rstrip().partition(" ")
            number = _LEVELS.get(level)
            if number is None:  # not by `logging`: a traceback, or a library
                number, text = logging.ERROR, f"{level} {text}"
            log.log(number, "%s: %s", self.name, text)

    @property
    def _code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def _ending(self) -> str:
        if self._process is None:
            return "it could not be started"
        code = self._code
        if code is None:
            return "it runs, but does not serve"
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment() -> dict[str, str]:
    """What the process needs of ours, and where our code is."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES - _NEVER_PASSED_ON}
    return {**kept, "PYTHONPATH": str(Path(hsm.__file__).parent.parent)}


def _socket_directory() -> Path:
    """0700, new, with a path short enough."""
    made = Path(tempfile.mkdtemp(prefix="payswitch-hsm-"))
    if len(os.fsencode(made)) + len("/signing-999.sock") > LONGEST_SOCKET_PATH:
        made.rmdir()
        made = Path(tempfile.mkdtemp(prefix="payswitch-hsm-", dir="/tmp"))
    return made
