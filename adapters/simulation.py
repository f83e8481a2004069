"""What the simulators share: scenarios (by amount and by control endpoint) and the control endpoint itself.

Only simulators import this. Each keeps a book of its own and speaks its own protocol.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from aiohttp import web


class Behaviour(StrEnum):
    """What a simulator does with a payment it has checked."""

    NORMAL = "normal"  # by the rules of its accounts
    DECLINE = "decline"  # with `code`
    DELAY = "delay"  # processed, answered after `delay_ms`
    SILENT = "silent"  # processed and booked, never answered
    DUPLICATE = "duplicate"  # answered twice
    DISCONNECT = "disconnect"  # processed, then the connection is cut instead of an answer
    MALFORMED = "malformed"  # processed, answered with bytes that do not parse
    FORGED = "forged"  # processed, answered with a wrong MAC or signature
    USER_PAYING = "user_paying"  # the payer confirms after `delay_ms`
    USER_PAYING_DECLINED = "user_paying_declined"  # the payer refuses after `delay_ms`


@dataclass(slots=True)
class Scenario:
    """`code` is an ISO 8583 DE39 value; each simulator says it in its own protocol. `times`: how often; 0 = always.

    It applies to payments of `amount_minor`, or to all when that is None.
    """

    behaviour: Behaviour
    code: str = ""
    delay_ms: int = 0
    amount_minor: int | None = None
    times: int = 0


NORMAL = Scenario(Behaviour.NORMAL)

# 9,900.00 + n: the same amounts mean the same on every channel. 990_1cc declines with code cc.
SCRIPTED_AMOUNTS_FROM_MINOR = 990_000
_SCRIPTED: dict[int, Scenario] = {
    200: Scenario(Behaviour.SILENT),
    201: Scenario(Behaviour.DELAY, delay_ms=80),
    202: Scenario(Behaviour.DELAY, delay_ms=1_000),
    203: Scenario(Behaviour.DUPLICATE),
    204: Scenario(Behaviour.DISCONNECT),
    205: Scenario(Behaviour.MALFORMED),
    206: Scenario(Behaviour.FORGED),
    207: Scenario(Behaviour.USER_PAYING, delay_ms=2_000),
    208: Scenario(Behaviour.USER_PAYING_DECLINED, delay_ms=2_000),
}


def scripted(amount_minor: int) -> Scenario:
    """The scenario that an amount asks for.

    >>> scripted(990_151).code, scripted(990_200).behaviour.value, scripted(100).behaviour.value
    ('51', 'silent', 'normal')
    """
    offset = amount_minor - SCRIPTED_AMOUNTS_FROM_MINOR
    if 100 <= offset < 200:
        return Scenario(Behaviour.DECLINE, code=f"{offset - 100:02d}")
    return _SCRIPTED.get(offset, NORMAL)


class Scenarios:
    """The scenarios set by the control endpoint come before those of the amounts."""

    def __init__(self) -> None:
        self._set: list[Scenario] = []

    def put(self, scenario: Scenario) -> None:
        self._set.append(scenario)

    def clear(self) -> None:
        self._set.clear()

    def listing(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self._set]

    def choose(self, amount_minor: int) -> Scenario:
        if not self._set:
            return scripted(amount_minor)
        for scenario in self._set:
            if scenario.amount_minor is None or scenario.amount_minor == amount_minor:
                if scenario.times:
                    scenario.times -= 1
                    if scenario.times == 0:
                        self._set.remove(scenario)
                return scenario
        return scripted(amount_minor)


def control_routes(prefix: str, scenarios: Scenarios, book: Callable[[], list[dict[str, Any]]]) -> list[web.RouteDef]:
    """The control endpoint of one simulator, below `/{prefix}`.

    GET book: its entries, oldest first. GET, POST, DELETE scenarios: list, add one (the fields of `Scenario`), clear.
    """

    async def get_book(request: web.Request) -> web.Response:
        return web.json_response(book())

    async def get_scenarios(request: web.Request) -> web.Response:
        return web.json_response(scenarios.listing())

    async def post_scenario(request: web.Request) -> web.Response:
        fields = await request.json()
        try:
            scenario = Scenario(**(fields | {"behaviour": Behaviour(fields["behaviour"])}))
        except (TypeError, KeyError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        scenarios.put(scenario)
        return web.json_response(asdict(scenario), status=201)

    async def delete_scenarios(request: web.Request) -> web.Response:
        scenarios.clear()
        return web.Response(status=204)

    return [
        web.get(f"/{prefix}/book", get_book),
        web.get(f"/{prefix}/scenarios", get_scenarios),
        web.post(f"/{prefix}/scenarios", post_scenario),
        web.delete(f"/{prefix}/scenarios", delete_scenarios),
    ]
