"""The commands of an HSM behind a unix socket: one event loop, fast commands inline, slow ones in threads.

Whoever connects must be of an admitted user (SO_PEERCRED). What arrives together is worked on together and answered in
one write. Bounded: connections, a frame, requests that wait or run for a connection, and what a peer leaves unread,
after which nothing more is read from it.

A request that is malformed, or whose items have the wrong shape, is answered with InvalidCommand; a stream that cannot
be read any further is closed. Neither ends the process, nor does a bug in a command. Nothing of a request is logged but
the name of a command that exists.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from hsm.commands import COMMANDS, SLOW
from hsm.direct import DirectHsm
from hsm.errors import HsmError, InvalidCommand
from hsm.housekeeping import Housekeeping
from hsm.roles import Role
from hsm.wire import BadFrame, Codec, Request, WireLimits

log = logging.getLogger("hsm")

_FINISH_S: Final = 5.0
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """connections: at once. running: requests of one connection that run beside the loop. unsent_bytes: answers a peer
    has not read, after which nothing more is read from it."""

    wire: WireLimits = field(default_factory=WireLimits)
    connections: int = 64
    running: int = 64
    unsent_bytes: int = 1024 * 1024


@dataclass(slots=True)
class Served:
    """What was done since the start."""

    requests: int = 0
    items: int = 0
    refused: int = 0
    connections: int = 0


class HsmServer:
    """role: which commands are run here. admitted: user ids that may connect."""

    def __init__(
        self,
        hsm: DirectHsm,
        role: Role = Role.ALL,
        admitted: frozenset[int] = frozenset({os.getuid()}),
        limits: ServerLimits = ServerLimits(),
    ) -> None:
        self.hsm = hsm
        self.role = role
        self.admitted = admitted
        self.limits = limits
        self.housekeeping = Housekeeping(hsm, role)
        self.served = Served()
        self._connections: set[_Connection] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closing = False
        self._emptied = asyncio.Event()

    async def start(self, listener: socket.socket) -> None:
        """Serve on a listening unix socket; takes it over."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=listener)
        self._watch = asyncio.create_task(self.housekeeping.keys.watch(), name="key files")

    async def close(self) -> None:
        """Accept and read no more, finish what runs, send the answers, close."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        if self._watch is not None:
            self._watch.cancel()
        for connection in self._connections:
            connection.stop_reading()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=_FINISH_S)
            if late:
                log.error("%d requests did not end in %g s", len(late), _FINISH_S)
        for connection in list(self._connections):
            connection.close()
        if not self._connections:
            self._emptied.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_S):
                await self._emptied.wait()

    # --- for the connections ------------------------------------------------------------------------------------------

    def admit(self, connection: "_Connection", peer: socket.socket) -> bool:
        try:
            uid = peer_uid(peer)
        except OSError:
            return False  # it is gone already
        if uid not in self.admitted:
            log.warning("a process of user %d was refused", uid)
            return False
        if len(self._connections) >= self.limits.connections:
            log.warning("a connection was refused: there are %d", len(self._connections))
            return False
        self._connections.add(connection)
        self.served.connections += 1
        return True

    def forget(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        if self._closing and not self._connections:
            self._emptied.set()

    def run_now(self, command: str, items: Sequence[Any]) -> list[Any] | HsmError | None:
        """The results, or an error for all of them; None if the command has to be awaited: `run_beside`."""
        if command in self.housekeeping.commands:
            return None
        if command not in COMMANDS:
            return InvalidCommand("there is no such command")
        if not self.role.runs(command):
            return InvalidCommand(f"{command} is not run by this process, which is for {self.role} commands")
        if command in SLOW:
            return None
        try:
            return self.hsm.run_now(command, items)
        except Exception as error:
            return _refusal(command, error)

    def run_beside(self, command: str, items: Sequence[Any], done: Callable[[list[Any] | HsmError], None]) -> None:
        """Run it as a task; `done` takes what `run_now` would have returned."""
        task = asyncio.create_task(self._run_beside(command, items, done))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_beside(
        self, command: str, items: Sequence[Any], done: Callable[[list[Any] | HsmError], None]
    ) -> None:
        housekeeping = self.housekeeping.commands.get(command)
        running: Awaitable[list[Any]] = self.hsm.run(command, items) if housekeeping is None else housekeeping(items)
        try:
            done(await running)
        except Exception as error:
            done(_refusal(command, error))


def _refusal(command: str, error: Exception) -> HsmError:
    """What a command that raised is answered with. The text of a foreign exception may hold data."""
    if isinstance(error, HsmError):
        return error
    log.error("%s raised %s", command, type(error).__name__)
    return InvalidCommand(f"{command} takes no items of this shape ({type(error).__name__})")


class _Connection(asyncio.Protocol):
    """One peer."""

    def __init__(self, server: HsmServer) -> None:
        self._server = server
        self._codec = Codec(server.limits.wire)
        self._reader = self._codec.reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[bytes] = deque()
        """Bodies that have arrived and were not begun."""
        self._outgoing: list[bytes] = []
        self._running = 0
        self._admitted = False
        self._peer_reads = True
        self._reads = True
        self._stopping = False

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape but not the type.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(self._server.limits.unsent_bytes)
        self._admitted = self._server.admit(self, transport.get_extra_info("socket"))
        if not self._admitted:
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if not self._admitted or self._stopping:
            return
        self._waiting.extend(self._reader.feed(data))
        self._work()
        if self._reader.broken:
            self._break_off("a frame is longer than it may be")

    def pause_writing(self) -> None:
        self._peer_reads = False
        self._read_or_not()

    def resume_writing(self) -> None:
        self._peer_reads = True
        self._work()

    # --- work ---------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Begin what waits, as far as the limits let it; send what is answered, in one write."""
        while self._waiting and self._may_begin:
            self._begin(self._waiting.popleft())
        self._send()
        self._read_or_not()

    @property
    def _may_begin(self) -> bool:
        return self._peer_reads and not self._stopping and self._running < self._server.limits.running

    def _begin(self, body: bytes) -> None:
        served = self._server.served
        try:
            request = self._codec.read_request(body)
        except BadFrame as error:
            served.refused += 1
            if error.number is None:
                self._break_off(str(error))
            else:
                self._outgoing.append(self._codec.answer(error.number, InvalidCommand(str(error))))
            return
        served.requests += 1
        served.items += len(request.items)
        results = self._server.run_now(request.command, request.items)
        if results is None:
            self._begin_beside(request)
        else:
            self._outgoing.append(self._codec.answer(request.number, results))

    def _begin_beside(self, request: Request) -> None:
        def done(results: list[Any] | HsmError) -> None:
            self._running -= 1
            if self._transport is not None:
                self._outgoing.append(self._codec.answer(request.number, results))
                self._work()

        self._running += 1
        self._server.run_beside(request.command, request.items, done)

    def _send(self) -> None:
        if self._outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _read_or_not(self) -> None:
        wanted = self._may_begin and not self._waiting and not self._stopping
        if self._transport is None or self._transport.is_closing() or wanted == self._reads:
            return
        self._reads = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _break_off(self, reason: str) -> None:
        """Nothing that follows can be understood."""
        if self._transport is not None and not self._transport.is_closing():
            log.warning("a connection is closed: %s", reason)
            self._waiting.clear()
            self._send()
            self._transport.close()

    def stop_reading(self) -> None:
        self._stopping = True
        self._read_or_not()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def peer_uid(peer: socket.socket) -> int:
    """The user at the other end of a unix socket, as the kernel saw it connect. Raises OSError."""
    if sys.platform == "linux":
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    # struct xucred of macOS and the BSDs: version, uid, groups.
    credentials = peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
    return int(struct.unpack_from("=II", credentials)[1])
