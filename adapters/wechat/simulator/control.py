"""What a test or a person may tell the platform, beside the scenarios that all simulators know."""

import dataclasses
from collections.abc import Awaitable, Callable

from aiohttp import web

from adapters.simulation import FARTHEST_AHEAD_S, bad_request, control_fields
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
    - PUT or POST clock {ahead_s}: the platform's clock runs so far ahead (negative: behind).
    - POST bills {at_once}: serve bills of days that are not over.
    - GET merchants: what each merchant's account holds.
    """

    async def scan(request: web.Request) -> web.StreamResponse:
        asked = await control_fields(request, code_url=str, prepay_id=str, payer=str)
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
        fields = await control_fields(request, status=str, settles_after_ms=int, amount_minor=int | None, times=int)
        for book in world.books.values():
            book.refund_outcomes.append(RefundOutcome(**fields))
        return web.json_response(fields, status=201)

    async def faults(request: web.Request) -> web.StreamResponse:
        fault = CallFault(**await control_fields(request, path=str, status=int, code=str, times=int))
        if not 400 <= fault.status <= 599:
            raise bad_request("status must be from 400 to 599")
        world.faults.append(fault)
        return web.json_response(dataclasses.asdict(fault), status=201)

    async def clear_faults(request: web.Request) -> web.StreamResponse:
        world.faults.clear()
        return web.Response(status=204)

    async def rotate_certificate(request: web.Request) -> web.StreamResponse:
        asked = await control_fields(request, impostor=bool, retire=bool) if request.can_read_body else {}
        issued = world.platform.rotate(impostor=bool(asked.get("impostor")))
        if asked.get("retire"):
            world.platform.expire_old()
        return web.json_response({"serial_no": issued.serial_no, "certificate": issued.pem}, status=201)

    async def clock(request: web.Request) -> web.StreamResponse:
        ahead_s = (await control_fields(request, ahead_s=float))["ahead_s"]
        if abs(ahead_s) > FARTHEST_AHEAD_S:
            raise bad_request(f"ahead_s must be from -{FARTHEST_AHEAD_S} to {FARTHEST_AHEAD_S}")
        world.ahead_s = float(ahead_s)
        return web.json_response({"ahead_s": world.ahead_s})

    async def bills(request: web.Request) -> web.StreamResponse:
        world.bills.at_once = (await control_fields(request, at_once=bool))["at_once"]
        return web.json_response({"at_once": world.bills.at_once})

    async def merchants(request: web.Request) -> web.StreamResponse:
        return web.json_response({mchid: book.balance_fen() for mchid, book in world.books.items()})

    return [
        web.post(f"/{prefix}/scan", _spoken(scan)),
        web.get(f"/{prefix}/notifications", notifications),
        web.post(f"/{prefix}/refund_outcomes", _spoken(refund_outcomes)),
        web.post(f"/{prefix}/faults", _spoken(faults)),
        web.delete(f"/{prefix}/faults", clear_faults),
        web.post(f"/{prefix}/rotate_certificate", _spoken(rotate_certificate)),
        web.post(f"/{prefix}/clock", _spoken(clock)),
        web.put(f"/{prefix}/clock", _spoken(clock)),
        web.post(f"/{prefix}/bills", _spoken(bills)),
        web.get(f"/{prefix}/merchants", merchants),
    ]


def _spoken(handler: _Handler) -> _Handler:
    """What the caller got wrong is told, with 400."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except KeyError as error:
            return web.json_response({"error": f"{error} is missing"}, status=400)
        except (TypeError, ValueError) as error:  # of the dataclasses: a field is missing, a value means nothing
            return web.json_response({"error": str(error)}, status=400)

    return answered
