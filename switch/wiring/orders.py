"""The wiring of orders: the service, its worker, what it reads of the journal's events, and the page behind a QR."""

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial

import structlog

from payswitch.v1 import order_pb2
from switch.api.order_codes import CodeMaker
from switch.api.order_page import OrderPage, PageSettings
from switch.api.order_service import OrderServicer
from switch.api.page_limits import PageLimits
from switch.config import Settings, split_address
from switch.entry.order_code import unionpay_account
from switch.orders.desk import OrderDesk
from switch.orders.pursue import Pursuit
from switch.orders.retention import Retention
from switch.orders.settings import OrderSettings
from switch.orders.shop import ShopCodes
from switch.ports.platform import Cards
from switch.store.feed_consumer import FeedConsumer
from switch.store.order_work import PostgresOrderWork, apply_events
from switch.store.orders import PostgresOrders
from switch.store.shop_codes import PostgresShopCodes
from switch.wiring.feed import open_consumer
from switch.wiring.platform import Platform, Served

log = structlog.get_logger()

CONSUMER = "orders"


def open_orders(platform: Platform, cards: Cards | None = None) -> Sequence[Served]:
    """cards: the user service's; without them no payer can pay with a card of his."""
    section = platform.settings.orders
    settings = OrderSettings(
        step_up_above_minor=section.step_up_above_minor,
        open_per_shop_code=section.open_per_shop_code,
        unpaid_kept_days=section.unpaid_kept_days,
        paid_kept_days=section.paid_kept_days,
    )
    store, clock = PostgresOrders(platform.pool), platform.clock
    desk = OrderDesk(store, platform.payments, platform.merchants, cards, clock, secrets.token_bytes, settings)
    shop = ShopCodes(PostgresShopCodes(platform.pool), platform.merchants, clock, secrets.token_bytes)
    pursuit = Pursuit(store, PostgresOrderWork(platform.pool), platform.payments, clock, settings)
    consumer = FeedConsumer(platform.following, CONSUMER, apply_events, right_of_way=platform.right_of_way)
    pursuit.start()
    platform.lifecycle.on_close("orders", pursuit.close)
    open_consumer(platform, consumer)
    retention = Retention(store, settings)
    retention.start()
    platform.lifecycle.on_close("orders' retention", retention.close)
    if section.listen:
        _open_page(platform, desk, shop)
    servicer = OrderServicer(
        desk, shop, store, platform.merchants, code_maker(platform.settings), section.watchers,
        platform.settings.platform.admitted_again_s,
    )  # fmt: skip
    return [Served(order_pb2.DESCRIPTOR.services_by_name["OrderService"], servicer)]


def code_maker(settings: Settings) -> CodeMaker:
    unionpay = settings.unionpay
    accounts_of = partial(
        unionpay_account,
        acquiring_id=unionpay.acquiring_institution_id if unionpay.host else "",
        forwarding_id=unionpay.forwarding_institution_id,
    )
    return CodeMaker(settings.orders.public_url, accounts_of)


def _open_page(platform: Platform, desk: OrderDesk, shop: ShopCodes) -> None:
    section = platform.settings.orders
    limits = PageLimits(platform.clock, section.per_address_per_minute, section.per_shop_code_per_minute)
    settings = PageSettings(section.public_url, frozenset(section.redirect_hosts), section.forwarded_for)
    page = OrderPage(desk, shop, limits, settings, platform.signals, platform.blocked)
    host, port = split_address(section.listen)

    async def start() -> None:
        try:
            await page.start(host, port)
        except OSError as error:
            # Whoever opens the services waits for none of them: orders go on without their page, aloud.
            log.error("order_page_not_open", address=section.listen, reason=str(error))

    starting = asyncio.create_task(start(), name="orders.page")

    async def close() -> None:
        await asyncio.wait([starting])
        await page.close()

    platform.lifecycle.on_close("orders' page", close)
