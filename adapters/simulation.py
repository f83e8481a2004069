"""What the simulators share: scenarios (by amount and by control endpoint), the control endpoint itself, the doors they
listen at, and the notifications they send.

Only simulators import this. Each keeps a book of its own and speaks its own protocol.
"""

import asyncio
import json
import math
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import UnionType
from typing import Any

import aiohttp
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

LONGEST_DELAY_MS = 600_000
FARTHEST_AHEAD_S = 10 * 366 * 86_400  # how far a simulator's clock may be put ahead
_RESPONSE_CODE = re.compile(r"[0-9A-Z]{2}")


def read_scenario(body: bytes) -> Scenario:
    """From the JSON object that the control endpoint is given. Raises ValueError: what is wrong with it.

    >>> read_scenario(b'{"behaviour": "delay", "delay_ms": 80}')
    Scenario(behaviour=<Behaviour.DELAY: 'delay'>, code='', delay_ms=80, amount_minor=None, times=0)
    """
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("must be a JSON object")
    unknown = fields.keys() - set(Scenario.__slots__)
    if unknown:
        raise ValueError(f"no such field: {', '.join(sorted(unknown))}; there are {', '.join(Scenario.__slots__)}")
    if fields.get("behaviour") not in list(Behaviour):
        raise ValueError(f"behaviour must be one of {', '.join(Behaviour)}")
    scenario = Scenario(**(fields | {"behaviour": Behaviour(fields["behaviour"])}))
    if not isinstance(scenario.code, str) or (scenario.code and not _RESPONSE_CODE.fullmatch(scenario.code)):
        raise ValueError("code must be a DE39 value: two digits or capital letters")
    if scenario.behaviour is Behaviour.DECLINE and not scenario.code:
        raise ValueError("decline needs a code")
    for name, most in (("delay_ms", LONGEST_DELAY_MS), ("times", 10**9), ("amount_minor", 10**15)):
        value = getattr(scenario, name)
        if value is not None and (type(value) is not int or not 0 <= value <= most):
            raise ValueError(f"{name} must be a whole number from 0 to {most}")
    if scenario.delay_ms is None or scenario.times is None:
        raise ValueError("only amount_minor may be null")
    return scenario


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


async def control_fields(request: web.Request, **kinds: type | UnionType) -> dict[str, Any]:
    """The JSON object that a request to the control endpoint brings; kinds: the type of each field there may be.

    Raises web.HTTPBadRequest, whose JSON says what is wrong. A whole number is a float, too; true and false are none.
    """
    try:
        fields = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise bad_request("the body must be JSON") from None
    if not isinstance(fields, dict):
        raise bad_request("the body must be a JSON object")
    if unknown := sorted(fields.keys() - kinds.keys()):
        raise bad_request(f"no such field: {', '.join(unknown)}; there are {', '.join(kinds)}")
    for name, value in fields.items():
        kind = kinds[name]
        wanted = kind | int if kind is float else kind
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise bad_request(f"{name} must be of type {getattr(kind, '__name__', kind)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_request(f"{name} must be finite")
    return fields


def bad_request(why: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": why}), content_type="application/json")


def control_routes(prefix: str, scenarios: Scenarios, book: Callable[[], list[dict[str, Any]]]) -> list[web.RouteDef]:
    """The control endpoint of one simulator, below `/{prefix}`.

    GET book: its entries, oldest first. GET, POST, DELETE scenarios: list, add one (the fields of `Scenario`), clear.
    """

    async def get_book(request: web.Request) -> web.Response:
        return web.json_response(book())

    async def get_scenarios(request: web.Request) -> web.Response:
        return web.json_response(scenarios.listing())

    async def post_scenario(request: web.Request) -> web.Response:
        try:
            scenario = read_scenario(await request.read())
        except (ValueError, RecursionError) as error:  # no JSON is one, too
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


@dataclass(slots=True)
class Delivery:
    """One notification on its way. last: what the receiver said, for the control endpoint: "200", "refused" …"""

    url: str
    name: str
    attempts: int = 0
    accepted: bool = False
    last: str = ""


class Deliveries:
    """Posts notifications again and again until the receiver accepts, as the wallets do.

    pauses_s: before each repeat; after the last of them it is given up. A message is made anew for each attempt, since
    its time and nonce are part of what is signed.
    """

    def __init__(self, pauses_s: Sequence[float], timeout_s: float = 5.0) -> None:
        self._pauses_s = tuple(pauses_s)
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._all: list[Delivery] = []

    def listing(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self._all]

    def post(
        self,
        url: str,
        name: str,
        message: Callable[[], tuple[Mapping[str, str], bytes]],
        accepted: Callable[[int, bytes], bool],
    ) -> None:
        """Begin delivering. message: makes (headers, body). accepted: whether (status, body) ends it."""
        delivery = Delivery(url, name)
        self._all.append(delivery)
        task = asyncio.create_task(self._deliver(delivery, message, accepted), name="notification")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self,
        delivery: Delivery,
        message: Callable[[], tuple[Mapping[str, str], bytes]],
        accepted: Callable[[int, bytes], bool],
    ) -> None:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for pause_s in (0.0, *self._pauses_s):
                await asyncio.sleep(pause_s)
                headers, body = message()
                delivery.attempts += 1
                try:
                    async with session.post(
                        delivery.url, data=body, headers=headers, allow_redirects=False
                    ) as response:
                        delivery.last = str(response.status)
                        delivery.accepted = accepted(response.status, await response.read())
                except (aiohttp.ClientError, TimeoutError) as error:
                    delivery.last = type(error).__name__
                if delivery.accepted:
                    return

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Doors:
    """One web application behind plain HTTP and, given a context, behind HTTPS too; shut and opened as a fault.

    Port 0 takes a free one; `port` and `tls_port` say which, and stay the same when the doors open again.
    """

    def __init__(
        self,
        application: web.Application,
        host: str,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        tls_port: int = 0,
    ) -> None:
        self.port, self.tls_port = port, tls_port
        self._host, self._tls = host, tls
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        self._sites: list[web.TCPSite] = []

    async def start(self) -> None:
        await self._runner.setup()
        await self.open()

    async def open(self) -> None:
        """Listen (again), on the same ports as before."""
        if self._sites:
            return
        self.port = await self._listen(self.port, None)
        if self._tls is not None:
            self.tls_port = await self._listen(self.tls_port, self._tls)

    async def _listen(self, port: int, tls: ssl.SSLContext | None) -> int:
        site = web.TCPSite(self._runner, self._host, port, ssl_context=tls, reuse_address=True)
        await site.start()
        self._sites.append(site)
        bound: int = self._runner.addresses[-1][1]
        return bound

    async def shut(self) -> None:
        """As if it were down: connections are refused, open ones are cut."""
        sites, self._sites = self._sites, []
        for site in sites:
            await site.stop()
        if sites and self._runner.server is not None:
            # First those that are idle: shutdown alone would wait for their next request.
            self._runner.server.pre_shutdown()
            await self._runner.server.shutdown(0.01)

    async def close(self) -> None:
        self._sites = []
        await self._runner.cleanup()
