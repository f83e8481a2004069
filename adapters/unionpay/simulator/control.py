"""The control endpoint's faults and events that only this network has, below `/unionpay`."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from adapters.unionpay.simulator.server import UnionPaySimulator


def routes(network: "UnionPaySimulator") -> list[web.RouteDef]:
    """POST key-resets: new working keys now. POST cutovers/begin, cutovers/end. DELETE links: cut them all.

    POST echoes: how many links confirmed one. POST bills/{day}: write that day's files as the book stands.
    GET state: members, links, refusals, the settlement day.
    """

    def doing(work: Callable[[], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return web.json_response({"done": await work()})

        return handle

    async def echoes() -> int:
        return sum([await each.echo() for each in list(network.connections) if each.signed_on])

    async def drop(request: web.Request) -> web.Response:
        network.drop_links()
        return web.Response(status=204)

    async def bills(request: web.Request) -> web.Response:
        try:
            day = date.fromisoformat(request.match_info["day"])
        except ValueError:
            return web.json_response({"error": "a day is YYYY-MM-DD"}, status=400)
        return web.json_response({"files": [str(each) for each in network.write_bills(day)]}, status=201)

    async def state(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "members": {name: len(each.links) for name, each in network.members.items()},
                "refused": dict(network.refused),
                "failed_key_resets": network.failed_key_resets,
                "in_cutover": network.in_cutover,
                "settlement_day": f"{network.settlement_day()}",
            }
        )

    return [
        web.post("/unionpay/key-resets", doing(network.reset_keys)),
        web.post("/unionpay/cutovers/begin", doing(network.begin_cutover)),
        web.post("/unionpay/cutovers/end", doing(network.end_cutover)),
        web.post("/unionpay/echoes", doing(echoes)),
        web.delete("/unionpay/links", drop),
        web.post("/unionpay/bills/{day}", bills),
        web.get("/unionpay/state", state),
    ]
