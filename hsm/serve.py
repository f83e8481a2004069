"""One HSM process: `python -m hsm.serve --directory D --socket S`.

It opens the token of the directory and serves its commands on the socket until SIGTERM or SIGINT; SIGHUP reloads the
keys, and so does a change of their files. With `--with-parent` it ends when its standard input is closed, and only
then: a SIGTERM for the whole group must not take the HSM away from a switch that drains.

The socket is 0600 in a directory of 0700, and only the same user may connect; `--admit` names further users, and then
both are open to the process's group (0660, 0750), which lets the token's directory belong to a user that the switch is
not.

Exit codes: 0 ended as asked; 1 failed; 2 the command line is wrong; 3 the token refuses its PIN (starting again would
lose another try, so nobody should).
"""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import signal
import socket
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import uvloop

from hsm import hardening
from hsm.direct import DirectHsm
from hsm.errors import HsmError, HsmUnavailable, LoginRefused
from hsm.guard import GuardLimits
from hsm.roles import Role
from hsm.server import HsmServer, ServerLimits

log = logging.getLogger("hsm")

EXIT_FAILED: Final = 1
EXIT_LOGIN_REFUSED: Final = 3
READY: Final = b"ready\n"
# sockaddr_un.sun_path holds 104 bytes on macOS and 108 on Linux, the terminating zero included.
LONGEST_SOCKET_PATH: Final = 103
LOG_FORMAT: Final = "%(levelname)s %(message)s"
_BACKLOG: Final = 128
_STDERR: Final = 2


class SocketRefused(HsmUnavailable):
    """The socket cannot be made where it was asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    options = _parser().parse_args(arguments)
    _occupy_standard_descriptors()
    # Who started it puts its own time and name before each line.
    own = LOG_FORMAT if options.with_parent else f"%(asctime)s hsm {options.socket.name} {LOG_FORMAT}"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=own)
    hardening.harden()
    try:
        return uvloop.run(_serve(options))
    except LoginRefused as error:
        log.error("%s", error)
        return EXIT_LOGIN_REFUSED
    except (HsmError, OSError) as error:
        log.error("%s", error)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hsm.serve", description="One HSM process on a unix socket.")
    parser.add_argument("--directory", type=Path, required=True, help="the token's")
    parser.add_argument("--socket", type=Path, required=True, help="path of the socket to make")
    parser.add_argument("--module", default="", help="PKCS #11 module; default: SoftHSM's")
    parser.add_argument("--only", type=Role, choices=list(Role), default=Role.ALL, help="which commands to run")
    parser.add_argument(
        "--admit", type=_user, action="append", default=[], metavar="USER", help="another user, by name or id"
    )
    parser.add_argument("--connections", type=_positive, default=ServerLimits().connections, help="at once, at most")
    parser.add_argument(
        "--one-of", type=_positive, default=1, help="processes among which verifications are shared out, see hsm.guard"
    )
    parser.add_argument("--ready-fd", type=int, default=None, help="say so here once it serves, and close it")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed, not by a signal")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _user(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise argparse.ArgumentTypeError(f"no user is called {text}") from None


async def _serve(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, (lambda: None) if options.with_parent else stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until there are keys to reload
    admitted = frozenset({os.getuid(), *options.admit})
    with ListeningPlace(options.socket, shared=bool(options.admit)) as place:
        hsm = DirectHsm.open(options.directory, options.module or None, GuardLimits().shared(options.one_of))
        try:
            server = HsmServer(hsm, options.only, admitted, ServerLimits(connections=options.connections))
            reloads: set[asyncio.Task[None]] = set()

            def reload() -> None:
                task = asyncio.create_task(server.housekeeping.keys.reload_or_log("SIGHUP"))
                reloads.add(task)
                task.add_done_callback(reloads.discard)

            loop.add_signal_handler(signal.SIGHUP, reload)
            await server.start(place.listen())
            log.info("serves %s commands with %d keys", options.only, len(hsm.store.inventory()))
            _say_ready(options.ready_fd)
            parent = asyncio.create_task(_until_stdin_closes(stop)) if options.with_parent else None
            await stop.wait()
            if parent is not None and not parent.cancel():
                place.forsaken = True
            await server.close()
            log.info("ends: %d requests, %d items", server.served.requests, server.served.items)
        finally:
            hsm.close()
    return 0


class ListeningPlace:
    """A path where this process alone may listen: a lock beside it says so, and whatever a dead one left is removed.

    shared: the socket is the group's, too. forsaken: nobody will serve here again, so the directory goes with the last
    who does. A context manager; `listen` makes the socket. Raises SocketRefused.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        self.path = path.absolute()
        self._shared = shared
        self._lock: int | None = None
        self._made = False
        self.forsaken = False

    def __enter__(self) -> "ListeningPlace":
        if len(os.fsencode(self.path)) > LONGEST_SOCKET_PATH:
            raise SocketRefused(f"{self.path} is longer than a socket's path may be ({LONGEST_SOCKET_PATH} bytes)")
        self._prepare_directory()
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SocketRefused(f"another process serves on {self.path}") from None
        self._lock = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        if self._made:
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
        if self.forsaken:
            self._lock_path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are still there
                self.path.parent.rmdir()

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    def listen(self) -> socket.socket:
        """A listening socket, never open to more than it will be."""
        self._remove_what_is_left()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Until it listens nobody can connect, so the mode is in force before the first peer.
            listener.bind(os.fspath(self.path))
            self._made = True
            self.path.chmod(0o660 if self._shared else 0o600)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def _prepare_directory(self) -> None:
        directory = self.path.parent
        directory.mkdir(mode=0o750 if self._shared else 0o700, parents=True, exist_ok=True)
        found = directory.stat()
        too_open = 0o027 if self._shared else 0o077
        if found.st_uid != os.getuid() or found.st_mode & too_open:
            raise SocketRefused(
                f"{directory} must be this user's and closed to others ({'0750' if self._shared else '0700'})"
            )

    def _remove_what_is_left(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise SocketRefused(f"{self.path} exists and is no socket")
        self.path.unlink()


def _say_ready(descriptor: int | None) -> None:
    """To who started us: on a descriptor, and to systemd (sd_notify)."""
    if descriptor is not None:
        os.write(descriptor, READY)
        _let_go(descriptor)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


def _let_go(descriptor: int) -> None:
    """Close it; one of the standard three points to nowhere from then on.

    Else a connection would take its number: whatever is printed would go to that peer, and libuv never closes it.
    """
    if descriptor > _STDERR:
        os.close(descriptor)
        return
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _occupy_standard_descriptors() -> None:
    """Whoever started us may have closed them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


async def _until_stdin_closes(stop: asyncio.Event) -> None:
    """A process that was started by the switch does not outlive it, however that ended."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while await reader.read(1024):
            continue
    finally:
        transport.close()
    stop.set()


def run() -> NoReturn:
    sys.exit(main())


if __name__ == "__main__":
    run()
