"""The control endpoint: what the simulators did, what they are to do next, and the money in their accounts.

`GET /` lists the routes. Whoever asks for what is not there, or sends what cannot be read, is told why: 404, 405, 400.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from adapters.simulation import Behaviour, control_routes
from switch.demo.simulators.accounts import NoSuchAccount
from switch.demo.simulators.control_listing import what_it_does
from switch.demo.simulators.town import Town, reason

_LARGEST_BODY_BYTES = 64 * 1024
_MOST_ROWS = 1_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Unreadable(ValueError):
    """What is wrong with a request's body or query."""


def control_app(town: Town) -> web.Application:
    app = web.Application(middlewares=[_with_reasons], client_max_size=_LARGEST_BODY_BYTES)
    switches = town.switches()
    routes: dict[tuple[str, str], web.RouteDef] = {}
    for name, simulator in town.named().items():
        for route in (
            *control_routes(name, simulator.scenarios, simulator.book),
            *_Switch(*switches[name]).routes(name),
            *_account_routes(town, name),
            *town.own_routes(name),
        ):
            routes.setdefault((route.method, route.path), route)
    app.add_routes([web.get("/", _index(list(town.named()), list(routes))), *routes.values()])
    return app


def _index(names: list[str], routes: list[tuple[str, str]]) -> Handler:
    """Every simulator by name, every behaviour, every route and what it does."""
    listed = [{"method": method, "path": path, "what": what_it_does(method, path)} for method, path in routes]

    async def get(request: web.Request) -> web.Response:
        return web.json_response({"names": names, "behaviours": list(Behaviour), "routes": listed})

    return get


@web.middleware
async def _with_reasons(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Unreadable as error:
        return _refused(400, str(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        return _refused(405, f"{request.path} takes {', '.join(allowed)}", {"Allow": ", ".join(allowed)})
    except web.HTTPNotFound:
        return _refused(404, f"there is no {request.path[:100]}; GET / lists what there is")
    except web.HTTPException as error:
        if error.content_type == "application/json":  # it says why
            raise
        return _refused(error.status, error.reason)


def _refused(status: int, why: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": why}, status=status, headers=headers)


async def _json(request: web.Request) -> Any:
    """The body. Raises Unreadable."""
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Unreadable("the body must be JSON") from None


class _Switch:
    """One simulator's listener, up or down; one request at a time changes it."""

    def __init__(self, off: Callable[[], Awaitable[None]], on: Callable[[], Awaitable[None]]) -> None:
        self._off, self._on = off, on
        self._is_on = True
        self._lock = asyncio.Lock()

    def routes(self, name: str) -> list[web.RouteDef]:
        return [web.get(f"/{name}/listening", self._get), web.put(f"/{name}/listening", self._put)]

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._is_on)

    async def _put(self, request: web.Request) -> web.Response:
        wanted = await _json(request)
        if not isinstance(wanted, bool):
            raise Unreadable("the body must be true or false")
        async with self._lock:
            if wanted != self._is_on:
                try:
                    await (self._on if wanted else self._off)()
                except OSError as error:
                    return _refused(409, f"it cannot listen again: {reason(error)}")
                self._is_on = wanted
        return web.Response(status=204)


def _account_routes(town: Town, name: str) -> list[web.RouteDef]:
    purses = town.accounts[name]

    async def get(request: web.Request) -> web.Response:
        town.let_happen(name)
        offset, limit = _number(request, "offset", 0), _number(request, "limit", 100)
        return web.json_response(purses.rows(offset, min(limit, _MOST_ROWS)))

    async def put(request: web.Request) -> web.Response:
        wanted = await _json(request)
        if not isinstance(wanted, dict) or wanted.keys() != {"balance_minor"}:
            raise Unreadable('the body must be {"balance_minor": n}')
        town.let_happen(name)
        try:
            return web.json_response(purses.top_up(request.match_info["account"], wanted["balance_minor"]))
        except NoSuchAccount:
            raise web.HTTPNotFound from None
        except ValueError as error:
            raise Unreadable(str(error)) from None

    return [web.get(f"/{name}/accounts", get), web.put(f"/{name}/accounts/{{account}}", put)]


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Unreadable(f"{name} must be a whole number")
    return int(text)
