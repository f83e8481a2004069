"""Where an embedded server lives: its directory, a socket path short enough to bind, and who is using it."""

import contextlib
import fcntl
import hashlib
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# sockaddr_un.sun_path holds 104 bytes on macOS and 108 on Linux, the terminating zero included.
LONGEST_SOCKET_PATH = 103


class EmbeddedServerError(Exception):
    """An embedded server could not be started or stopped; the text says what to do."""


class InUse:
    """Counts the processes that use a server, by file locks, so that a killed process is forgotten by itself.

    `starting` serializes start and stop; a shared lock is held for as long as the server is used, and whoever leaves
    last is told so and stops the server.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shared: int | None = None

    @contextlib.contextmanager
    def starting(self, patience_s: float = 120.0) -> Iterator[None]:
        descriptor = _open_lock(self._directory / "start.lock")
        try:
            give_up = time.monotonic() + patience_s
            while not _try_lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > give_up:
                    raise EmbeddedServerError(f"another process has been starting {self._directory} for too long")
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def enter(self) -> None:
        if self._shared is None:
            self._shared = _open_lock(self._directory / "use.lock")
            fcntl.flock(self._shared, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Whether nobody else uses the server. Called while `starting` is held."""
        if self._shared is None:
            return False
        alone = _try_lock(self._shared, fcntl.LOCK_EX)
        os.close(self._shared)
        self._shared = None
        return alone


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise EmbeddedServerError(
            f"{path.parent} belongs to another user; remove it or choose another state directory"
        ) from error


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_directory(directory: Path, socket_name: str) -> Path:
    """`directory`/run, or a private directory under the temporary one when that path is too long to bind.

    The short one is named by a hash of the path and the directory's inode: a server left behind by a directory that
    was deleted and made again is not in the way.
    """
    inside = directory / "run"
    if len(os.fsencode(inside / socket_name)) <= LONGEST_SOCKET_PATH:
        return inside
    identity = f"{directory}:{directory.stat().st_ino}:{os.geteuid()}"
    short_name = "payswitch-" + hashlib.sha256(identity.encode()).hexdigest()[:12]
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - made 0700 and its owner checked before use
        short = Path(base) / short_name
        if len(os.fsencode(short / socket_name)) <= LONGEST_SOCKET_PATH:
            return short
    raise EmbeddedServerError(f"no path short enough for a unix socket beside {directory}")


def forget_socket_directory(used: Path, directory: Path) -> None:
    """Remove what `socket_directory` chose outside of `directory`, once its server has stopped."""
    if used.parent != directory:
        with contextlib.suppress(OSError):  # not empty: something is left to look at
            used.rmdir()


def make_private(directory: Path, owner: tuple[int, int]) -> None:
    """Make a 0700 directory of (uid, gid) `owner`. A link, or another user's directory, is refused."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner[0], os.geteuid()):
        raise EmbeddedServerError(f"{directory} belongs to another user; remove it or choose another state directory")
    if (found.st_uid, found.st_gid) != owner and os.geteuid() == 0:
        os.chown(directory, *owner)
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)


def command_line(pid: int) -> str:
    """What process `pid` was started as; "" if there is none. Tells our server from a stranger that got its pid."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    shown = subprocess.run(  # noqa: S603 - fixed program, the argument is a number
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout


def last_lines(path: Path, count: int = 12) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
