"""The end of a process: SIGTERM or SIGINT, then a graceful drain in steps whose time is bounded.

1. announce: health says NOT_SERVING, issuers get their Drain frame; then `grace_s`, so that balancers have seen it.
2. finish: stop accepting and let what is in flight end.
3. close: what was opened, last opened first.
A second signal skips the waiting of 1 and 2. What is left unfinished is durable, and another process recovers it.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

Action = Callable[[], Awaitable[object]]

EXIT_CLEAN = 0
EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    action: Action
    timeout_s: float


class Lifecycle:
    """Waits for the end and leads through it. grace_s: between NOT_SERVING and refusing new calls.

    Register the steps while starting, then `await run()`, which returns the exit code.
    """

    def __init__(self, grace_s: float = 1.0) -> None:
        self._grace_s = grace_s
        self._announcements: list[_Step] = []
        self._finishers: list[_Step] = []
        self._closers: list[_Step] = []
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._exit_code = EXIT_CLEAN

    def on_announce(self, name: str, action: Action, timeout_s: float = 1.0) -> None:
        """Tell the world that this process goes."""
        self._announcements.append(_Step(name, action, timeout_s))

    def on_finish(self, name: str, action: Action, timeout_s: float) -> None:
        """Stop accepting and finish; the steps run in the order of registration, each at most `timeout_s`."""
        self._finishers.append(_Step(name, action, timeout_s))

    def on_close(self, name: str, action: Action, timeout_s: float = 5.0) -> None:
        """Call it where the thing is opened: closers run last opened first."""
        self._closers.append(_Step(name, action, timeout_s))

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def install_signals(self) -> None:
        """SIGTERM and SIGINT stop the running loop's process; `run` takes the handlers away again."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.stop, each.name)

    def stop(self, reason: str) -> None:
        """Begin to drain; a second call hurries."""
        if self._stopping.is_set():
            log.warning("drain_hurried", reason=reason)
            self._hurry.set()
        else:
            log.info("drain_started", reason=reason)
            self._stopping.set()

    def fail(self, reason: str) -> None:
        """Begin to drain because the process cannot go on (a lost lease, a dead task); the exit code will say so."""
        log.error("process_failed", reason=reason)
        self._exit_code = EXIT_FAILED
        if not self._stopping.is_set():
            self.stop(reason)

    async def run(self) -> int:
        """Wait for the end, drain, and return the exit code: 0 if every step ended well, else 1."""
        await self._stopping.wait()
        try:
            for step in self._announcements:
                await self._take(step)
            await self._unless_hurried(asyncio.sleep(self._grace_s))
            for step in self._finishers:
                await self._unless_hurried(self._take(step))
            for step in reversed(self._closers):
                await self._take(step)
        finally:
            self._remove_signals()
        log.info("drained", exit_code=self._exit_code)
        return self._exit_code

    async def _take(self, step: _Step) -> None:
        try:
            async with asyncio.timeout(step.timeout_s):
                await step.action()
        except TimeoutError:
            self._exit_code = EXIT_FAILED
            log.error("drain_step_timed_out", step=step.name, timeout_s=step.timeout_s)
        except Exception:  # whatever one step does, the next ones still have to run
            self._exit_code = EXIT_FAILED
            log.exception("drain_step_failed", step=step.name)

    async def _unless_hurried(self, waiting: Awaitable[None]) -> None:
        work, hurry = asyncio.ensure_future(waiting), asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({work, hurry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (work, hurry):
                each.cancel()
            await asyncio.wait({work, hurry})

    def _remove_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
