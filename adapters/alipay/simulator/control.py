"""The control endpoint below /alipay: book and scenarios as everywhere, and what only Alipay has."""

import math
from typing import TYPE_CHECKING

from aiohttp import web

from adapters.alipay.simulator.refusal import Refused
from adapters.simulation import FARTHEST_AHEAD_S, LONGEST_DELAY_MS, bad_request, control_fields, control_routes

if TYPE_CHECKING:
    from adapters.alipay.simulator.gateway import AlipaySimulator


class Control:
    """GET notifications: every delivery and how it went.

    POST scan {qr_code or out_trade_no, app_id, payer, delay_ms, agrees}: a payer, by name ("rich"), scans an order's
    code and pays or refuses after delay_ms. PUT clock {ahead_s}: how far the simulator's clock is ahead, so that a day
    ends and its bill is made. POST certificate: a new platform key and certificate from now on.
    """

    def __init__(self, simulator: "AlipaySimulator") -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        return [
            *control_routes("alipay", self._simulator.scenarios, self._simulator.book),
            web.get("/alipay/notifications", self._notifications),
            web.post("/alipay/scan", self._scan),
            web.put("/alipay/clock", self._clock),
            web.post("/alipay/certificate", self._certificate),
        ]

    async def _notifications(self, request: web.Request) -> web.Response:
        return web.json_response(self._simulator.notifications.deliveries.listing())

    async def _scan(self, request: web.Request) -> web.Response:
        fields = await control_fields(
            request, qr_code=str, out_trade_no=str, app_id=str, payer=str, delay_ms=int, agrees=bool
        )
        named, delay_ms = fields.get("qr_code") or fields.get("out_trade_no", ""), fields.get("delay_ms", 0)
        if not 0 <= delay_ms <= LONGEST_DELAY_MS:
            raise bad_request(f"delay_ms must be from 0 to {LONGEST_DELAY_MS}")
        payer = self._simulator.wallets.payer_named(fields.get("payer", "rich"))
        if payer is None:
            return web.json_response({"error": "no such payer"}, status=404)
        for client in self._simulator.clients.values():
            trade = client.book.order(named)
            if trade is None or fields.get("app_id", client.app_id) != client.app_id:
                continue
            try:
                client.book.scan(trade, payer, delay_ms, fields.get("agrees", True))
            except Refused as refusal:
                return web.json_response({"error": refusal.sub_code}, status=409)
            self._simulator.watch(client, trade)
            return web.json_response(trade.entry())
        return web.json_response({"error": "no such order"}, status=404)

    async def _clock(self, request: web.Request) -> web.Response:
        fields = await control_fields(request, ahead_s=float)
        if abs(fields.get("ahead_s", math.inf)) > FARTHEST_AHEAD_S:
            raise bad_request(f"ahead_s must be from -{FARTHEST_AHEAD_S} to {FARTHEST_AHEAD_S}")
        self._simulator.ahead_s = float(fields["ahead_s"])
        self._simulator.book()  # what has happened by then happens
        return web.json_response({"ahead_s": self._simulator.ahead_s})

    async def _certificate(self, request: web.Request) -> web.Response:
        self._simulator.authority.rotate()
        return web.json_response({"alipay_cert_sn": self._simulator.authority.platform_sn}, status=201)
