"""An HTTP listener for strangers: few connections, each with one request, few bytes and a short life."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

_CLOSING: Final = "closing"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """connections: open at once. life_s: from its opening to its end, whoever is slow. body_bytes: of a request.

    headers: how many; header_bytes: one of them, and the request line.
    """

    connections: int = 256
    life_s: float = 10.0
    body_bytes: int = 64 * 1024
    headers: int = 64
    header_bytes: int = 4 * 1024


class Listener:
    """`handle` answers each request. Without TLS: a proxy in front speaks it.

    refused: told why a connection was cut, or brought no request: too_many, too_slow, too_large, no_request.
    Several processes may listen at the same address; the kernel chooses one for a connection.
    """

    def __init__(self, handle: Handler, bounds: Bounds, refused: Callable[[str], None]) -> None:
        self.bounds = bounds
        self.refused = refused
        self.connections: dict[object, _Connection] = {}
        self.port = 0
        self._handle = handle
        self._runner: web.ServerRunner | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises OSError if the address is taken."""
        bounds = self.bounds
        web_server = web.Server(
            self._answer, access_log=None, auto_decompress=False, max_line_size=bounds.header_bytes,
            max_field_size=bounds.header_bytes, max_headers=bounds.headers, lingering_time=0.0,
        )  # fmt: skip
        self._runner = web.ServerRunner(web_server, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, web_server()), host, port, backlog=self.bounds.connections, reuse_port=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self.connections.get(request.transport)
        if connection is not None:
            connection.served = True
        response = await self._handle(request)
        response.force_close()
        return response

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Let what is being answered end, within a second, and cut the rest."""
        self.stop_accepting()
        if self._runner is not None:
            await self._runner.cleanup()
        for each in list(self.connections.values()):
            each.cut(_CLOSING)


class _Connection(asyncio.Protocol):
    """Stands before aiohttp's protocol, which knows no limit on a connection's life, and counts what comes in."""

    def __init__(self, listener: Listener, inner: asyncio.Protocol) -> None:
        self.served = False
        self._listener = listener
        self._inner = inner
        self._transport: asyncio.Transport
        self._received_bytes = 0
        self._reason = ""
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only
        listener = self._listener
        if len(listener.connections) >= listener.bounds.connections:
            self.cut("too_many")
            return
        listener.connections[transport] = self
        self._end = asyncio.get_running_loop().call_later(listener.bounds.life_s, self.cut, "too_slow")
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._reason:
            return
        self._received_bytes += len(data)
        bounds = self._listener.bounds
        if self._received_bytes > bounds.body_bytes + bounds.headers * bounds.header_bytes:
            self.cut("too_large")
            return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._end is not None else None

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._end is not None:  # else it was never let in
            self._end.cancel()
            self._listener.connections.pop(self._transport, None)
            self._inner.connection_lost(error)
        if not self._reason and self._received_bytes and not self.served:
            self._reason = "no_request"
        if self._reason not in ("", _CLOSING):
            self._listener.refused(self._reason)

    def cut(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._transport.abort()
