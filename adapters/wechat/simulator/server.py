"""The simulator as a whole: its doors, its faces and its control endpoint."""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from adapters.simulation import Doors, Scenarios, control_routes
from adapters.wechat.simulator.accounts import Payer, default_accounts
from adapters.wechat.simulator.answers import book_entries
from adapters.wechat.simulator.control import extra_control_routes
from adapters.wechat.simulator.merchants import WeChatMerchant
from adapters.wechat.simulator.notifications import SCHEDULE_S
from adapters.wechat.simulator.v2 import V2
from adapters.wechat.simulator.v3 import V3, Handler
from adapters.wechat.simulator.world import PlatformWorld

_LARGEST_BODY_BYTES = 64 * 1024


class WeChatSimulator:
    """Strict WeChat Pay, API v3 and v2, for its merchants. Orders and refunds belong to the merchant that made them.

    public_key_id: of its platform key, a random one if empty. private_key_pem: that key, a new one if empty.
    tls: HTTPS on `tls_port` beside HTTP on `port`.
    reversal_after_s: 15 at the real platform. notification_pauses_s: before each repeat of a notification.
    bills_at_once: serve the bill of a day that is not over, too; the real platform makes it after 10:00 of the next.
    accounts: payers by their codes or the codes' last four digits, "" for the rest (see `default_accounts`). Its
    certificates are new with each simulator. The control endpoint is below `/simulator/`. Scenarios apply to payments
    by code; DUPLICATE means nothing over HTTP and is normal.
    """

    def __init__(
        self,
        merchants: Sequence[WeChatMerchant],
        *,
        public_key_id: str = "",
        private_key_pem: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        tls_port: int = 0,
        reversal_after_s: float = 15.0,
        refund_settles_after_s: float = 0.05,
        notification_pauses_s: Sequence[float] = SCHEDULE_S,
        bills_at_once: bool = False,
        accounts: Mapping[str, Payer] | None = None,
        time_s: Callable[[], float] = time.time,
    ) -> None:
        self.world = PlatformWorld(
            merchants,
            default_accounts() if accounts is None else accounts,
            public_key_id=public_key_id,
            private_key_pem=private_key_pem,
            reversal_after_s=reversal_after_s,
            refund_settles_after_s=refund_settles_after_s,
            notification_pauses_s=notification_pauses_s,
            bills_at_once=bills_at_once,
            time_s=time_s,
        )
        self.scenarios: Scenarios = self.world.scenarios
        self._v3, self._v2 = V3(self.world), V2(self.world)
        application = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY_BYTES)
        application.add_routes([*self._v3.routes(), *self._v2.routes()])
        application.add_routes(control_routes("simulator", self.scenarios, self.book))
        application.add_routes(self.control_routes("simulator"))
        self._doors = Doors(application, host, port, tls, tls_port)

    @property
    def port(self) -> int:
        """Of HTTP; 0 before the first start if a free one was asked for."""
        return self._doors.port

    @property
    def tls_port(self) -> int:
        return self._doors.tls_port

    @property
    def public_key_pem(self) -> str:
        return self.world.platform.public_key_pem

    @property
    def public_key_id(self) -> str:
        return self.world.platform.key_id

    @property
    def certificate_pem(self) -> str:
        """The platform certificate that signs now."""
        return self.world.platform.certificates()[-1].pem

    @property
    def certificate_serial_no(self) -> str:
        return self.world.platform.certificates()[-1].serial_no

    @property
    def root_certificate_pem(self) -> str:
        """Of the authority that issues the platform certificates."""
        return self.world.platform.root_pem

    def book(self) -> list[dict[str, Any]]:
        now_ms = self.world.now_ms()
        return [entry for book in self.world.books.values() for entry in book_entries(book, now_ms)]

    def control_routes(self, prefix: str) -> list[web.RouteDef]:
        """What the control endpoint has for WeChat Pay beside book and scenarios, below `/{prefix}`."""
        return extra_control_routes(prefix, self.world)

    async def start(self) -> None:
        """Listen; with port 0 on a free one, found in `port` from then on and kept by `resume`."""
        await self._doors.start()

    async def close(self) -> None:
        await self.world.close()
        await self._doors.close()

    async def stop_listening(self) -> None:
        """Be down: refuse and cut connections, but keep the book."""
        await self._doors.shut()

    async def resume(self) -> None:
        await self._doors.open()

    def payment_notification(self, out_trade_no: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of the callback about a paid order, as the platform would POST it to the merchant."""
        book = self.world.book_of(out_trade_no)
        body = self.world.notifier.payment(book.merchant, book.order(out_trade_no, self.world.now_ms()))
        return self.world.notifier.headers(body, self.public_key_id), body

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return await (self._v3.guard(request, handler) if request.path.startswith("/v3/") else handler(request))
