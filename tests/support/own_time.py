"""Time that passes only while there is nothing to do, for worlds in memory: how busy the machine is decides nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest


@pytest.fixture
async def own_time() -> AsyncIterator[None]:
    """The loop's clock stands while anything is ready to run, and then moves to the next timer at once.

    So what takes no time in the world takes none on its clock, and a wait of minutes is over in no time. Not for tests
    that wait for a socket or a thread: the clock would not.
    """
    loop: Any = asyncio.get_running_loop()
    selector, now_s = loop._selector, loop.time()
    select = selector.select

    def move_on(timeout_s: float | None) -> Any:
        nonlocal now_s
        ready = select(timeout_s if timeout_s is None else 0)
        if not ready and timeout_s:
            now_s += timeout_s
        return ready

    loop.time, selector.select = lambda: now_s, move_on
    yield
    del loop.time, selector.select
