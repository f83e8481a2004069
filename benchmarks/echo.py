"""The yardstick: a bare `grpc.aio` unary echo in a process of its own, that does nothing but return the bytes it got.

Run as `python -m benchmarks.echo [CA CERTIFICATE KEY]`: prints its port, serves until its standard input closes.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple
from pathlib import Path

import grpc
import uvloop

from benchmarks.config import TlsFiles

ECHO = "/payswitch.bench.Echo/Echo"
_HOST = "127.0.0.1"
_START_TIMEOUT_S = 20.0


async def _echo(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
    return request


def server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """mTLS: a client without a certificate of `tls.ca` is refused."""
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], tls.ca.read_bytes(), require_client_auth=True)


async def serve(tls: TlsFiles | None) -> None:
    service, _, method = ECHO[1:].partition("/")
    handler = grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(_echo)})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    address = f"{_HOST}:0"
    port = (
        server.add_insecure_port(address) if tls is None else server.add_secure_port(address, server_credentials(tls))
    )
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


@asynccontextmanager
async def echo_process(tls: TlsFiles | None) -> AsyncIterator[tuple[str, int]]:
    """(target, process id) of a running echo; it ends with the block, or with this process."""
    arguments = [str(path.absolute()) for path in astuple(tls)] if tls else []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.echo",
        *arguments,
        cwd=Path(__file__).parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the echo has no pipes")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_TIMEOUT_S)
        if not line:
            raise RuntimeError(f"the echo ended with status {await process.wait()}")
        yield f"{_HOST}:{int(line)}", process.pid
    finally:
        process.stdin.close()
        with suppress(BrokenPipeError, ConnectionResetError):  # it ended before us: there is nothing left to tell it
            await process.stdin.wait_closed()
        await process.wait()


if __name__ == "__main__":
    files = [Path(argument) for argument in sys.argv[1:]]
    uvloop.run(serve(TlsFiles(*files) if files else None))
