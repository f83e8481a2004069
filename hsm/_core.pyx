# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The command core: PKCS #11 fast path, PIN translation, MACs. The typed face is `_core.pyi`; policy is in Python.

One C-level function per command. Clear PINs and clear working keys exist only in locked, wiped C memory. The parts:
`core/memory.pxi` locked memory; `core/module.pxi` the PKCS #11 module; `core/session.pxi` a logged-in token;
`core/sm2.pxi` SM2 keys; `core/key.pxi` keys; `core/pin.pxi` PIN blocks; `core/mac.pxi` MACs; `core/command.pxi` the
commands over lists.
"""

import os
import queue

from hsm.errors import (
    HsmError,
    HsmUnavailable,
    InvalidCommand,
    KeyNotFound,
    KeyUsageError,
    LoginRefused,
    MacMismatch,
    PinFormatError,
)

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    WAIT_LOCK,
)
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcmp, memcpy, memset
from posix.dlfcn cimport RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym
from posix.fcntl cimport O_RDONLY, open as open_file
from posix.unistd cimport close as close_file, read as read_file

from hsm._libcrypto cimport *
from hsm._libcrypto_ec cimport *
from hsm._pkcs11 cimport *

include "core/memory.pxi"
include "core/module.pxi"
include "core/session.pxi"
include "core/sm2.pxi"
include "core/key.pxi"
include "core/pin.pxi"
include "core/mac.pxi"
include "core/command.pxi"
