"""What a test or a person may tell the platform, beside the scenarios that all simulators know."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from adapters.wechat.simulator.errors import Refusal
from adapters.wechat.simulator.orders import RefundOutcome
from adapters.wechat.simulator.world import CallFault, PlatformWorld

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def extra_control_routes(prefix: str, world: PlatformWorld) -> list[web.RouteDef]:
    """POST bodies are JSON objects, below `/{prefix}`:

    - POST scan {code_url or prepay_id, payer}: a payer of the accounts ("" by default) opens an order and pays it.
    - GET notifications: every notification sent, with attempts and the receiver's last answer.
    - POST refund_outcomes (the fields of `RefundOutcome`): what the next refunds become, at every merchant.
    - POST faults (the fields of `CallFault`): the next calls of a path are refused unprocessed. DELETE faults.
    - POST rotate_certificate {impostor, retire}: a new platform certificate signs from now on; with `impostor` one of
      another authority; with `retire` the older ones are listed no more.
    - POST clock {ahead_s}: the platform's clock runs so far ahead (negative: behind).
    - POST bills {at_once}: serve bills of days that are not over.
    - GET accounts: what each merchant's account holds.
    """

    async def scan(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        number = asked.get("prepay_id") or asked.get("code_url", "").rpartition("pr=")[2]
        payer = world.payers.scanning(asked.get("payer", ""))
        for book in world.books.values():
            try:
                order = book.scan(number, payer, world.now_ms())
            except Refusal as refusal:
                return web.json_response(refusal.content(), status=409)
            if order is not None:
                world.notifier.paid(book.merchant, order, world.asked_serial.get(book.merchant.mchid, ""))
                return web.json_response({"out_trade_no": order.out_trade_no, "trade_state": order.state})
        return web.json_response({"code": "ORDER_NOT_EXIST"}, status=404)

    async def notifications(request: web.Request) -> web.StreamResponse:
        return web.json_response(world.notifier.deliveries.listing())

    async def refund_outcomes(request: web.Request) -> web.StreamResponse:
        fields = await request.json()
        for book in world.books.values():
            book.refund_outcomes.append(RefundOutcome(**fields))
        return web.json_response(fields, status=201)

    async def faults(request: web.Request) -> web.StreamResponse:
        fault = CallFault(**await request.json())
        world.faults.append(fault)
        return web.json_response(dataclasses.asdict(fault), status=201)

    async def clear_faults(request: web.Request) -> web.StreamResponse:
        world.faults.clear()
        return web.Response(status=204)

    async def rotate_certificate(request: web.Request) -> web.StreamResponse:
        asked: dict[str, Any] = await request.json() if request.can_read_body else {}
        issued = world.platform.rotate(impostor=bool(asked.get("impostor")))
        if asked.get("retire"):
            world.platform.expire_old()
        return web.json_response({"serial_no": issued.serial_no, "certificate": issued.pem}, status=201)

    async def clock(request: web.Request) -> web.StreamResponse:
        world.ahead_s = float((await request.json())["ahead_s"])
        return web.json_response({"ahead_s": world.ahead_s})

    async def bills(request: web.Request) -> web.StreamResponse:
        world.bills.at_once = bool((await request.json())["at_once"])
        return web.json_response({"at_once": world.bills.at_once})

    async def accounts(request: web.Request) -> web.StreamResponse:
        return web.json_response({mchid: book.balance_fen() for mchid, book in world.books.items()})

    return [
        web.post(f"/{prefix}/scan", _spoken(scan)),
        web.get(f"/{prefix}/notifications", notifications),
        web.post(f"/{prefix}/refund_outcomes", _spoken(refund_outcomes)),
        web.post(f"/{prefix}/faults", _spoken(faults)),
        web.delete(f"/{prefix}/faults", clear_faults),
        web.post(f"/{prefix}/rotate_certificate", _spoken(rotate_certificate)),
        web.post(f"/{prefix}/clock", _spoken(clock)),
        web.post(f"/{prefix}/bills", _spoken(bills)),
        web.get(f"/{prefix}/accounts", accounts),
    ]


def _spoken(handler: _Handler) -> _Handler:
    """What the caller got wrong is told, with 400."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)

    return answered
