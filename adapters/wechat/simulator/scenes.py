"""How an answer fails to arrive: booked already, the scenario changes only what the caller gets to see."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from adapters.simulation import Behaviour, Scenario

_HANG_UP_POLL_S = 0.05


async def perform(
    request: web.Request, scenario: Scenario, answer: Callable[[Behaviour], web.StreamResponse]
) -> web.StreamResponse:
    """answer: makes the response; malformed or forged if that is the behaviour it is given."""
    behaviour = scenario.behaviour
    if behaviour is Behaviour.DELAY:
        await asyncio.sleep(scenario.delay_ms / 1000)
    elif behaviour is Behaviour.SILENT:
        await _until_hung_up(request)
    if behaviour in (Behaviour.DISCONNECT, Behaviour.SILENT) and request.transport is not None:
        request.transport.abort()
    return answer(behaviour)


async def _until_hung_up(request: web.Request) -> None:
    """A silent handler must not outlive its caller."""
    while True:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(_HANG_UP_POLL_S)
