"""The listener for terminals: sockets, frames, limits. What a message means is the desk's.

Everything of a peer is bounded: connections, the size of a message and the time it takes to arrive, silence, messages
under way, answers it does not read. What cannot be read as a message ends the connection.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from adapters.unionpay.pos.codec import Message, decode, frame
from adapters.unionpay.pos.format import MalformedMessage
from adapters.unionpay.pos.frame import Framer
from switch.ops.metrics import TERMINAL_CONNECTIONS, TERMINAL_REFUSALS
from switch.ports.signals import UNHEARD, Signal, SignalKind, Signals
from switch.terminals.desk import Desk
from switch.terminals.refusals import HangUp
from switch.terminals.settings import DoorLimits

log = structlog.get_logger()

_READ_BYTES = 4096
_UNREADABLE = frozenset({"frame", "malformed", "truncated"})


class TerminalDoor:
    """`start`, then `drain` and `close`."""

    def __init__(self, desk: Desk, limits: DoorLimits, signals: Signals = UNHEARD) -> None:
        self._signals = signals
        self._desk = desk
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._addresses: Counter[str] = Counter()
        self._draining = False

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Processes on one machine share it."""
        self._server = await asyncio.start_server(self._connected, host, port, reuse_port=True)
        return int(self._server.sockets[0].getsockname()[1])

    async def drain(self, timeout_s: float) -> bool:
        """Accept and read no more, answer what was read; False if time ran out."""
        self._draining = True
        if self._server is not None:
            self._server.close()
        for each in self._connections.values():
            each.stop()
        if not self._connections:
            return True
        _, late = await asyncio.wait(self._connections, timeout=timeout_s)
        return not late

    async def close(self) -> None:
        await self.drain(0.1)
        for each in self._connections:
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # --- one connection -----------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if (refusal := self._refusal(address)) is not None:
            _refuse(refusal)
            writer.transport.abort()
            return
        connection = _Connection(self._desk, self._limits, reader, writer, partial(self._broken_off, address))
        task = asyncio.create_task(connection.serve(), name="terminal")
        self._connections[task] = connection
        self._addresses[address] += 1
        TERMINAL_CONNECTIONS.inc()
        try:
            await asyncio.wait([task])
        finally:
            del self._connections[task]
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            TERMINAL_CONNECTIONS.dec()

    def _broken_off(self, address: str, cause: str) -> None:
        """A network of terminals may share an address: it is told of, and never turned away for it."""
        _refuse(cause)
        if cause in _UNREADABLE:
            self._signals.report(Signal(SignalKind.MALFORMED, address=address, participant="terminal"))

    def _refusal(self, address: str) -> str | None:
        if self._draining:
            return "draining"
        if len(self._connections) >= self._limits.connections:
            return "too_many_connections"
        if self._addresses[address] >= self._limits.connections_per_address:
            return "too_many_of_address"
        return None


class _Connection:
    """Reads until the peer ends, breaks a rule or falls silent, or until `stop`; then answers what it has read."""

    def __init__(
        self, desk: Desk, limits: DoorLimits, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        broken_off: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._broken_off = broken_off
        self._desk = desk
        self._limits = limits
        self._reader = reader
        self._writer = writer
        self._framer = Framer(limits.message_bytes)
        self._room = asyncio.Semaphore(limits.in_flight)
        self._answering: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        self._reading = asyncio.create_task(self._read(), name="terminal reading")
        try:
            await asyncio.wait([self._reading])
            if self._answering:
                await asyncio.wait(self._answering)
        finally:
            for each in (self._reading, *self._answering):
                each.cancel()
            self._writer.close()

    def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            await self._read_on()
        except HangUp as reason:
            self._broken_off(reason.cause)
        except ConnectionError:
            pass

    async def _read_on(self) -> None:
        """Raises HangUp."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._limits.idle_s
        while True:
            begun = self._framer.pending > 0
            try:
                data = await asyncio.wait_for(self._reader.read(_READ_BYTES), until_s - loop.time())
            except TimeoutError:
                raise HangUp("slow" if begun else "idle") from None
            if not data:
                if begun:
                    raise HangUp("truncated")
                return
            for message in self._framer.feed(data):
                await self._begin(message)
                begun = False
            if self._framer.broken:
                raise HangUp("frame")
            if not self._framer.pending:
                until_s = loop.time() + self._limits.idle_s
            elif not begun:
                # From a message's first byte on its time runs, however it trickles in.
                until_s = loop.time() + self._limits.message_s

    async def _begin(self, data: bytes) -> None:
        try:
            message = decode(data)
        except MalformedMessage as error:
            log.info("terminal_message_malformed", reason=str(error))
            raise HangUp("malformed") from None
        await self._room.acquire()
        task = asyncio.create_task(self._answer(message), name="terminal message")
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._answering.discard(task)
        self._room.release()

    async def _answer(self, message: Message) -> None:
        """Whatever goes wrong here, a terminal without an answer reverses: the connection is closed."""
        try:
            self._writer.write(frame(await self._desk.answer(message)))
            await asyncio.wait_for(self._writer.drain(), self._limits.message_s)
        except HangUp as reason:
            _refuse(reason.cause)
            self._writer.close()
        except TimeoutError:
            _refuse("unread")
            self._writer.transport.abort()
        except ConnectionError:
            pass
        except Exception as error:
            _refuse("internal")
            log.error("terminal_message_failed", reason=type(error).__name__)
            self._writer.close()


def _refuse(cause: str) -> None:
    TERMINAL_REFUSALS.labels(cause).inc()
