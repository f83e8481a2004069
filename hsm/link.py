"""One HSM process as its client sees it: a connection that is made anew whenever it is lost.

A lost connection fails all that is outstanding on it at once, and nothing more is sent to the process until it has
answered a greeting: `ping`, then `reload`, so that it has every key which this client stored elsewhere meanwhile. A
process that says nothing at all for a whole time limit is treated as lost, too: it costs one command its time limit,
not every command.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from hsm.errors import HsmError, HsmUnavailable
from hsm.roles import Role
from hsm.wire import LARGEST_NUMBER, Answer, BadFrame, Codec, WireLimits

log = logging.getLogger("hsm")

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
_SWEEPS_PER_LIMIT: Final = 10


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """time_limit_s: of a command. key_time_limit_s: of one that stores a key. requests: outstanding at once.
    unsent_bytes: written and not taken by the process, after which nothing more is sent."""

    wire: WireLimits = field(default_factory=WireLimits)
    time_limit_s: float = 1.0
    key_time_limit_s: float = 10.0
    requests: int = 1024
    unsent_bytes: int = 4 * 1024 * 1024


@dataclass(slots=True)
class _Pending:
    future: "asyncio.Future[list[Any]]"
    items: int
    sent_s: float
    deadline_s: float


Failed = Callable[[str], None]
"""Is told why a request failed: lost, time_limit."""


class Connection(asyncio.Protocol):
    """Requests out, answers in, until it is lost."""

    def __init__(self, limits: LinkLimits, failed: Failed) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._failed = failed
        self._codec = Codec(limits.wire)
        self._reader = self._codec.reader()
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._heard_s = self._loop.time()
        self._sweep: asyncio.TimerHandle | None = None
        self._taken = True
        self.outstanding_items = 0
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def usable(self) -> bool:
        """Whether one more request may be sent."""
        return self._transport is not None and self._taken and len(self._pending) < self._limits.requests

    def ask(self, command: str, items: Sequence[Any], time_limit_s: float) -> "asyncio.Future[list[Any]]":
        """Raises HsmUnavailable at once if it is lost, FrameTooLarge, InvalidCommand; the future, any HsmError."""
        if self._transport is None:
            raise HsmUnavailable("the connection to the HSM process is lost")
        number = self._number = (self._number + 1) & LARGEST_NUMBER
        frame = self._codec.request(number, command, items)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        now_s = self._loop.time()
        self._pending[number] = _Pending(future, len(items), now_s, now_s + time_limit_s)
        self.outstanding_items += len(items)
        self._transport.write(frame)
        if self._sweep is None:
            self._sweep_later()
        return future

    def give_up(self, reason: str) -> None:
        """As `close`, and say why."""
        if self._transport is not None:
            log.warning("a connection to an HSM process is given up: %s", reason)
        self.close()

    def close(self) -> None:
        """Now; all that is outstanding fails."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._fail_all()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape but not the type.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(self._limits.unsent_bytes)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail_all()
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        try:
            for body in self._reader.feed(data):
                self._settle(self._codec.read_answer(body))
        except BadFrame as error:
            self.give_up(f"an answer is no answer: {error}")
        if self._reader.broken:
            self.give_up("an answer is longer than a frame may be")

    def pause_writing(self) -> None:
        self._taken = False

    def resume_writing(self) -> None:
        self._taken = True

    # --- what is outstanding ------------------------------------------------------------------------------------------

    def _settle(self, answer: Answer) -> None:
        pending = self._pending.pop(answer.number, None)
        if pending is None:
            return  # its time limit had passed
        self.outstanding_items -= pending.items
        if pending.future.done():
            return  # the caller went away
        if isinstance(answer.results, HsmError):
            pending.future.set_exception(answer.results)
        else:
            pending.future.set_result(answer.results)

    def _fail_all(self) -> None:
        outstanding, self._pending = list(self._pending.values()), {}
        self.outstanding_items = 0
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for each in outstanding:
            self._fail(each, "lost", "the connection to the HSM process was lost; nothing is known about the command")

    def _fail(self, pending: _Pending, reason: str, message: str) -> None:
        if not pending.future.done():
            self._failed(reason)
            pending.future.set_exception(HsmUnavailable(message))

    def _sweep_later(self) -> None:
        self._sweep = self._loop.call_later(self._limits.time_limit_s / _SWEEPS_PER_LIMIT, self._sweep_now)

    def _sweep_now(self) -> None:
        """One timer for all: a timer for each request would cost more than the request."""
        self._sweep = None
        now_s = self._loop.time()
        late = [number for number, each in self._pending.items() if each.deadline_s <= now_s]
        silent = False
        for number in late:
            pending = self._pending.pop(number)
            self.outstanding_items -= pending.items
            silent = silent or self._heard_s < pending.sent_s
            self._fail(pending, "time_limit", "the HSM process did not answer in time")
        if silent:
            self.give_up("the process is silent")
        elif self._pending:
            self._sweep_later()


class Link:
    """Keeps a connection to the process behind one socket. `outstanding_items` says how busy it is."""

    def __init__(
        self,
        name: str,
        path: Path,
        limits: LinkLimits,
        generation: Callable[[], int],
        failed: Failed,
        randomness: random.Random,
    ) -> None:
        """generation: grows whenever this client stored a key through any link."""
        self.name = name
        self.path = path
        self.role: Role | None = None
        self.connections = 0
        self._limits = limits
        self._generation = generation
        self._failed = failed
        self._randomness = randomness
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._complaint = ""

    def __repr__(self) -> str:
        return f"<Link {self.path} {self.role or 'unknown'} {'ready' if self.ready else 'not ready'}>"

    @property
    def ready(self) -> bool:
        """Whether a command may be sent now."""
        return self._connection is not None and self._connection.usable

    @property
    def outstanding_items(self) -> int:
        return 0 if self._connection is None else self._connection.outstanding_items

    def runs(self, command: str) -> bool:
        return self.role is not None and self.role.runs(command)

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"hsm {self.name}")

    async def until_ready(self) -> None:
        while not self.ready:
            await self._changed.wait()
            self._changed.clear()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def ask(self, command: str, items: Sequence[Any], time_limit_s: float | None = None) -> "asyncio.Future[list[Any]]":
        """See `Connection.ask`."""
        if self._connection is None:
            raise HsmUnavailable("the HSM process is not connected")
        return self._connection.ask(command, items, time_limit_s or self._limits.time_limit_s)

    async def reload(self) -> None:
        """Return when the process has reloaded its keys; if it cannot, it is not used until it could."""
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.ask("reload", (), self._limits.time_limit_s)
        except HsmError as error:
            connection.give_up(f"reload failed: {error}")

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            connection = await self._connect()
            if connection is not None:
                pause_s = FIRST_PAUSE_S
                await self._use(connection)
            await asyncio.sleep(pause_s * self._randomness.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _use(self, connection: Connection) -> None:
        """Until it is lost."""
        self._connection = connection
        self.connections += 1
        self._complaint = ""
        self._changed.set()
        try:
            await connection.lost
        finally:
            self._connection = None
            connection.close()
        log.warning("the connection to the HSM process %s is lost", self.name)

    async def _connect(self) -> Connection | None:
        """A connection whose process was greeted, or None."""
        loop = asyncio.get_running_loop()
        connection = Connection(self._limits, self._failed)
        try:
            async with asyncio.timeout(self._limits.time_limit_s):
                await loop.create_unix_connection(lambda: connection, str(self.path))
            await self._greet(connection)
        except (OSError, TimeoutError, HsmError, ValueError, TypeError) as error:
            connection.close()
            self._complain(f"{type(error).__name__}: {error}")
            return None
        except asyncio.CancelledError:
            connection.close()
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        [(role, _)] = await connection.ask("ping", [()], self._limits.time_limit_s)
        self.role = Role(role)
        generation = -1
        while generation != self._generation():
            generation = self._generation()
            await connection.ask("reload", (), self._limits.key_time_limit_s)

    def _complain(self, complaint: str) -> None:
        """Once, not at every try."""
        if complaint != self._complaint:
            log.warning("no connection to the HSM process %s: %s", self.name, complaint)
            self._complaint = complaint
