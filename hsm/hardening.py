"""What an HSM process does at its start so that its memory is hard to come by.

What this gives: no core dump of the process has its memory, whoever writes it; another process of the same user can
neither trace it nor read `/proc/<pid>/mem`, `environ` or `fd`; its pages are not swapped out; files it makes are its
user's alone; it carries no settings of others in its environment.

What it does not give: root, and whoever has CAP_SYS_PTRACE, still reads all of it; so does the hypervisor. A process is
not a certified secure cryptographic device. Except for the umask, the size of dumps and the environment these are
Linux's; elsewhere they are skipped, and the log says so.
"""

import ctypes
import logging
import os
import resource
import sys
from collections.abc import Container
from pathlib import Path
from typing import Final

log = logging.getLogger("hsm")

_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_CAP_IPC_LOCK: Final = 14

KEPT_VARIABLES: Final = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "PAYSWITCH_PKCS11_MODULE", "NOTIFY_SOCKET"}
)
"""What the process, the PKCS #11 module and systemd's protocol have a use for; none is a secret."""


def harden() -> None:
    """All of it, before anything secret is in memory. What cannot be had is logged, not fatal."""
    os.umask(0o077)
    forget_environment(KEPT_VARIABLES)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        log.warning("hardening: the size of core dumps cannot be limited: %s", error)
    if sys.platform != "linux":
        log.warning("hardening: this system lets its memory be traced, dumped by root and swapped")
        return
    empty_dumps()
    forbid_tracing()
    lock_memory()


def forget_environment(kept: Container[str]) -> None:
    """Remove every other variable, so that no password of a database is looked after here."""
    for name in [each for each in os.environ if each not in kept]:
        del os.environ[name]


def empty_dumps() -> None:
    """A dump that a privileged handler forces has no memory of ours. Call it before `forbid_tracing`.

    The handler at the end of a pipe (`core_pattern`) disregards RLIMIT_CORE; the filter it cannot disregard.
    """
    try:
        Path("/proc/self/coredump_filter").write_text("0")
    except OSError as error:
        log.warning("hardening: the filter of core dumps cannot be set: %s", error.strerror)


def forbid_tracing() -> None:
    """PR_SET_DUMPABLE 0: not traceable but by root, and `/proc/<pid>` is root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("hardening: prctl(PR_SET_DUMPABLE): %s", os.strerror(ctypes.get_errno()))


def lock_memory() -> None:
    """Keep every page, now and later, out of swap, where the limit allows it.

    Under a finite RLIMIT_MEMLOCK a later allocation would fail once the limit is reached, so all is locked only where
    there is none, or with CAP_IPC_LOCK. Host keys have locked pages of their own either way.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _has_capability(_CAP_IPC_LOCK):
        log.warning("hardening: not all memory is locked, since RLIMIT_MEMLOCK is %d bytes; pages of keys are", soft)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # On fault: the untouched part of a thread's stack needs no memory.
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        log.warning("hardening: mlockall: %s", os.strerror(ctypes.get_errno()))


def _has_capability(number: int) -> bool:
    """Whether it is in the effective set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> number & 1)
    return False
