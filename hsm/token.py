"""Provisioning and opening a SoftHSM token.

A token directory (0700) holds:

- `softhsm2.conf`: SoftHSM's configuration, written anew at each use, so that the directory may be moved;
- `tokens/`: SoftHSM's own files; it appears by one rename once the token is complete, so its existence means "ready";
- `user-pin`, `officer-pin` (0600): random, read by the core straight into locked memory, never on argv or environment;
- `keys.json` (0600): every key version with its state, and the values of keys on the host under a token key, see
  `hsm.key_file`; `key-audit.jsonl` (0600): what was done to keys, see `hsm.audit`;
- `lock`: the file lock under which processes create the token, log in, make keys and write files.

Only the path of the configuration goes into the environment (`SOFTHSM2_CONF`): SoftHSM knows no other way.
"""

import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hsm import _core
from hsm.errors import HsmUnavailable, LoginRefused

TOKEN_LABEL: Final = "payswitch"  # noqa: S105 — a name, not a secret
MODULE_PATHS: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/opt/softhsm/lib/softhsm/libsofthsm2.so",
)
MODULE_SETTING: Final = "PAYSWITCH_PKCS11_MODULE"
LOGIN_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2)

CONFIGURATION: Final = """\
directories.tokendir = {tokens}
objectstore.backend = file
log.level = ERROR
slots.removable = false
slots.mechanisms = ALL
library.reset_on_fork = false
"""


def find_module(module_path: str | os.PathLike[str] | None = None) -> str:
    """Path of the PKCS #11 module: the argument, else `PAYSWITCH_PKCS11_MODULE`, else where packages put SoftHSM.

    Raises HsmUnavailable if there is none.
    """
    asked = module_path or os.environ.get(MODULE_SETTING)
    candidates = (os.fspath(asked),) if asked else MODULE_PATHS
    for candidate in candidates:
        if Path(candidate).is_file():
            return candidate
    raise HsmUnavailable(
        f"no PKCS #11 module at {', '.join(candidates)}; install SoftHSM (apt install libsofthsm2, "
        f"brew install softhsm) or set {MODULE_SETTING}"
    )


class _Module:
    """The module is open once per process, for one directory; tokens of that directory share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directory: Path | None = None
        self._users = 0

    @contextmanager
    def opened(self, directory: Path, tokens: Path, module_path: str) -> Iterator[None]:
        self.open(directory, tokens, module_path)
        try:
            yield
        finally:
            self.release()

    def open(self, directory: Path, tokens: Path, module_path: str) -> None:
        with self._lock:
            if self._users and self._directory != directory:
                raise HsmUnavailable(f"this process has a token open in {self._directory}; close it first")
            if not self._users:
                configuration = directory / "softhsm2.conf"
                write_atomically(configuration, CONFIGURATION.format(tokens=tokens).encode())
                os.environ["SOFTHSM2_CONF"] = str(configuration)
                _core.initialise(module_path)
                self._directory = directory
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._directory = None
                _core.finalise()


_module = _Module()


class OpenToken:
    """A token this process is logged in to. Made by `open_token`; a context manager."""

    def __init__(self, directory: Path, core: _core.Token) -> None:
        self.directory = directory
        self.core = core
        self._closed = False

    def __repr__(self) -> str:
        return f"<OpenToken {self.directory}>"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory's lock: nobody else changes keys meanwhile."""
        with file_lock(self.directory / "lock"):
            yield

    def close(self) -> None:
        """Wait for running commands, then end the sessions. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.core.close()
        _module.release()

    def __enter__(self) -> "OpenToken":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create_token(directory: str | os.PathLike[str], module_path: str | os.PathLike[str] | None = None) -> Path:
    """Create the directory and the token in it, with random PINs; returns the directory.

    Idempotent: an existing token is left as it is. An interrupted creation is begun anew. Safe to call from several
    processes at once. Raises HsmUnavailable.
    """
    place = Path(directory).absolute()
    module = find_module(module_path)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    with file_lock(place / "lock"):
        if not (place / "tokens").is_dir():
            _create(place, module)
    return place


def _create(place: Path, module: str) -> None:
    unfinished = place / "tokens.unfinished"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    for name in ("officer-pin", "user-pin"):
        write_atomically(place / name, secrets.token_hex(16).encode() + b"\n")
    with _module.opened(place, unfinished, module):
        _core.initialise_token(TOKEN_LABEL, str(place / "officer-pin"), str(place / "user-pin"))
    for folder, _, files in os.walk(unfinished, topdown=False):
        for each in files:
            sync_directory(Path(folder) / each)
        sync_directory(Path(folder))
    unfinished.rename(place / "tokens")
    sync_directory(place)


def open_token(directory: str | os.PathLike[str], module_path: str | os.PathLike[str] | None = None) -> OpenToken:
    """Open the module and log in. One directory per process at a time; the same one may be opened again.

    Raises HsmUnavailable: no token, no module, PINs readable by others; LoginRefused.
    """
    place = Path(directory).absolute()
    tokens, pin = place / "tokens", place / "user-pin"
    if not tokens.is_dir():
        raise HsmUnavailable(f"there is no token in {place}; create it first")
    if not pin.is_file():
        raise HsmUnavailable(f"the token in {place} has lost its PIN file")
    if (place.stat().st_mode | pin.stat().st_mode) & 0o077:
        raise HsmUnavailable(f"{place} and {pin} must be closed to other users (0700, 0600)")
    module = find_module(module_path)
    with file_lock(place / "lock"):
        for pause_s in LOGIN_PAUSES_S:
            try:
                return _log_in(place, module)
            except LoginRefused:
                raise
            except HsmUnavailable:
                time.sleep(pause_s)
        return _log_in(place, module)


def _log_in(place: Path, module: str) -> OpenToken:
    """One process at a time: SoftHSM answered concurrent logins with CKR_GENERAL_ERROR, and a C_Initialize beside a
    login, which rewrites the token's file, did not see the token at all."""
    _module.open(place, place / "tokens", module)
    try:
        return OpenToken(place, _core.Token(TOKEN_LABEL, str(place / "user-pin")))
    except BaseException:
        _module.release()
        raise


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on a file, made 0600 if it is missing. Waits; the kernel frees it if the holder dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file (0600) so that a crash leaves the old content or the new, durably. Call under a lock or not at all
    concurrently: the temporary name is unique, the last rename wins."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
