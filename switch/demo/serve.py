"""A switch process as somebody's child: it says that it serves, and ends when its parent does."""

import asyncio
import os
import signal

from switch.app import Addresses, serve
from switch.config import Settings
from switch.demo.processes import say_ready, until_stdin_closes

_watches: set[asyncio.Task[None]] = set()


async def _started(addresses: Addresses) -> None:
    watch = asyncio.create_task(until_stdin_closes(), name="parent")
    watch.add_done_callback(_parent_gone)
    _watches.add(watch)
    say_ready(listen=addresses.authorizations, operations=addresses.operations)


def _parent_gone(watch: "asyncio.Task[None]") -> None:
    # Cancelled: the process is past its drain and ends by itself; a signal now would end it as if it had failed.
    if not watch.cancelled():
        os.kill(os.getpid(), signal.SIGTERM)


def main(settings: Settings) -> int:
    return serve(settings, _started)
