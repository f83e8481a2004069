"""OrderService: what merchants and payers ask of orders."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from payswitch.v1 import common_pb2
from payswitch.v1 import order_pb2 as pb
from switch.api import order_codes, requests
from switch.api import order_fields as fields
from switch.api.errors import InvalidField
from switch.api.order_codes import CodeMaker
from switch.domain.access import Caller, Role
from switch.domain.order import PAYABLE, Order, ShopCode
from switch.domain.refusals import Missing, NotPermitted, TooMany
from switch.entry.order_code import Name, Named, check_agrees, read_name
from switch.orders.desk import OrderDesk, Paying
from switch.orders.shop import ShopCodes
from switch.orders.store import OrderStore
from switch.ports.platform import Merchants

_WATCH_INTERVAL_S: Final = 0.3
_SHARES: Final = 10
_LEAST_SHARE: Final = 2


class OrderServicer:
    def __init__(
        self, desk: OrderDesk, shop: ShopCodes, store: OrderStore, merchants: Merchants, codes: CodeMaker,
        watchers: int, admitted_again_s: float,
    ) -> None:  # fmt: skip
        """admitted_again_s: how often an acquirer that watches must still be the merchant's."""
        self._desk = desk
        self._shop = shop
        self._store = store
        self._merchants = merchants
        self._codes = codes
        self._watchers = watchers
        self._admitted_again_s = admitted_again_s
        self._watching: Counter[str] = Counter()

    # --- a merchant's people, its credentials, its acquirer -----------------------------------------------------------

    async def CreateOrder(self, request: pb.CreateOrderRequest, caller: Caller) -> pb.CreateOrderResponse:
        draft = fields.draft(request)
        await self._may(caller, draft.merchant_id)
        return pb.CreateOrderResponse(order=fields.order_message(await self._desk.create(draft, caller.name)))

    async def GetOrder(self, request: pb.GetOrderRequest, caller: Caller) -> pb.GetOrderResponse:
        return pb.GetOrderResponse(order=fields.order_message(await self._order(request, caller)))

    async def ListOrders(self, request: pb.ListOrdersRequest, caller: Caller) -> pb.ListOrdersResponse:
        await self._may(caller, request.merchant_id)
        before, size = fields.page(request)
        found = await self._store.list(request.merchant_id, fields.wanted(request), before, size + 1)
        return pb.ListOrdersResponse(
            orders=[fields.order_message(each) for each in found[:size]],
            next_page_token=str(found[size - 1].id) if len(found) > size else "",
        )

    async def WatchOrder(self, request: pb.WatchOrderRequest, caller: Caller) -> AsyncIterator[pb.WatchOrderResponse]:
        order: Order | None = await self._order(request, caller)
        merchant_id = request.merchant_id
        # One merchant's streams leave room for the others'.
        share = max(_LEAST_SHARE, self._watchers // _SHARES)
        if self._watching.total() >= self._watchers or self._watching[merchant_id] >= share:
            raise TooMany("too many orders are watched")
        self._watching[merchant_id] += 1
        try:
            shown: pb.Order | None = None
            loop = asyncio.get_running_loop()
            again_at_s = loop.time() + self._admitted_again_s
            while order is not None:
                message = fields.order_message(order)
                if message != shown:
                    shown = message
                    yield pb.WatchOrderResponse(order=message)
                if order.state not in PAYABLE:
                    return
                await asyncio.sleep(_WATCH_INTERVAL_S)
                if loop.time() >= again_at_s:
                    await self._may(caller, merchant_id)
                    again_at_s = loop.time() + self._admitted_again_s
                order = await self._store.find(order.merchant.id, order.id)
        finally:
            self._watching[merchant_id] -= 1
            self._watching = +self._watching

    async def CloseOrder(self, request: pb.CloseOrderRequest, caller: Caller) -> pb.CloseOrderResponse:
        await self._may(caller, request.merchant_id)
        order_id = fields.identity(request.order_id, "order_id")
        order = await self._desk.close(request.merchant_id, order_id, caller.name)
        return pb.CloseOrderResponse(order=fields.order_message(order))

    async def PresentOrder(self, request: pb.PresentOrderRequest, caller: Caller) -> pb.PresentOrderResponse:
        match request.WhichOneof("presented"):
            case "order_id":
                order = await self._order(request, caller)
                text, name = self._codes.of_order(order, request.form), order_codes.name_of(order)
            case "shop_code_id":
                await self._may(caller, request.merchant_id)
                code = await self._shop.find(request.merchant_id, fields.identity(request.shop_code_id, "shop_code_id"))
                text = self._codes.of_shop(code, (await self._shop.payee(code)).as_paid, request.form)
                name = Name(Named.SHOP_CODE, code.merchant_id, code.id)
            case _:
                raise InvalidField("presented", "exactly one of order_id and shop_code_id is needed")
        return order_codes.presented(text, self._codes.tag(name), request.image, request.module_px)

    async def GetChannelCode(self, request: pb.GetChannelCodeRequest, caller: Caller) -> pb.GetChannelCodeResponse:
        order = await self._order(request, caller)
        payment = await self._desk.channel_code(order, request.scheme)
        image, content_type = order_codes.image_of(payment.code, request.image, request.module_px)
        return pb.GetChannelCodeResponse(text=payment.code, image=image, content_type=content_type)

    async def CreateShopCode(self, request: pb.CreateShopCodeRequest, caller: Caller) -> pb.CreateShopCodeResponse:
        await self._may(caller, request.merchant_id)
        code = await self._shop.create(
            request.merchant_id, fields.place(request.store_id, request.terminal_id),
            fields.label(request.label, "label"), fields.currency(request.currency), caller.name,
        )  # fmt: skip
        return pb.CreateShopCodeResponse(shop_code=fields.shop_code_message(code))

    async def ListShopCodes(self, request: pb.ListShopCodesRequest, caller: Caller) -> pb.ListShopCodesResponse:
        await self._may(caller, request.merchant_id)
        before, size = fields.page(request)
        found = await self._shop.list(request.merchant_id, before, size + 1)
        return pb.ListShopCodesResponse(
            shop_codes=[fields.shop_code_message(each) for each in found[:size]],
            next_page_token=str(found[size - 1].id) if len(found) > size else "",
        )

    async def RevokeShopCode(self, request: pb.RevokeShopCodeRequest, caller: Caller) -> pb.RevokeShopCodeResponse:
        await self._may(caller, request.merchant_id)
        code_id = fields.identity(request.shop_code_id, "shop_code_id")
        code = await self._shop.revoke(request.merchant_id, code_id, caller.name)
        return pb.RevokeShopCodeResponse(shop_code=fields.shop_code_message(code))

    async def _order(
        self,
        request: pb.GetOrderRequest | pb.WatchOrderRequest | pb.PresentOrderRequest | pb.GetChannelCodeRequest,
        caller: Caller,
    ) -> Order:
        await self._may(caller, request.merchant_id)
        return await self._desk.find(request.merchant_id, fields.identity(request.order_id, "order_id"))

    async def _may(self, caller: Caller, merchant_id: str) -> None:
        """The gate knows whose people and credentials they are; an acquirer's merchants are known here."""
        requests.merchant_id(merchant_id)
        if caller.merchant_id == merchant_id:
            return
        profile = await self._merchants.profile(merchant_id) if Role.ACQUIRER in caller.roles else None
        if profile is None or profile.acquirer_id != caller.person:
            raise NotPermitted("not for this merchant")

    # --- payers -------------------------------------------------------------------------------------------------------

    async def ScanOrder(self, request: pb.ScanOrderRequest, caller: Caller) -> pb.ScanOrderResponse:
        name = read_name(request.scanned, self._codes.public_url)
        if name.named is Named.SHOP_CODE:
            code = await self._shop_code(name)
            merchant = (await self._shop.payee(code)).as_paid
            return pb.ScanOrderResponse(
                merchant_name=merchant.name, merchant_city=merchant.city, subject=code.label,
                amount=common_pb2.Money(currency=code.currency),
            )  # fmt: skip
        order = await self._scanned_order(name)
        return pb.ScanOrderResponse(
            merchant_name=order.merchant.name,
            merchant_city=order.merchant.city,
            amount=common_pb2.Money(amount_minor=order.money.amount_minor, currency=order.money.currency),
            subject=order.subject,
            state=int(order.state),  # type: ignore[arg-type]
            expires_time_ms=order.expires_time_ms,
            needs_step_up=await self._desk.needs_step_up(_user_of(caller), order.money),
        )

    async def PayOrder(self, request: pb.PayOrderRequest, caller: Caller) -> pb.PayOrderResponse:
        paying = _paying(request, caller)
        name = read_name(request.scanned, self._codes.public_url)
        if name.named is not Named.ORDER:
            raise InvalidField("scanned", "is a shop code: the payer enters the amount")
        order, payment = await self._desk.pay(await self._scanned_order(name), paying)
        return fields.payment_message(order, payment)

    async def PayShopCode(self, request: pb.PayShopCodeRequest, caller: Caller) -> pb.PayShopCodeResponse:
        paying, money = _paying(request, caller), requests.money(request.amount, "amount")
        name = read_name(request.scanned, self._codes.public_url)
        if name.named is not Named.SHOP_CODE:
            raise InvalidField("scanned", "is an order: its amount is fixed")
        code = await self._shop_code(name)
        if money.currency != code.currency:
            raise InvalidField("amount.currency", "is not the shop code's")
        order, payment = await self._desk.pay_shop_code(code, money.amount_minor, paying, caller.name)
        return pb.PayShopCodeResponse(payment=fields.payment_message(order, payment))

    async def _scanned_order(self, name: Name) -> Order:
        order = await self._desk.find(name.merchant_id, name.id)
        check_agrees(name, order.merchant, order.money, order.money.currency)
        return order

    async def _shop_code(self, name: Name) -> ShopCode:
        code = await self._shop.find(name.merchant_id, name.id)
        check_agrees(name, (await self._shop.payee(code)).as_paid, None, code.currency)
        return code


def _user_of(caller: Caller) -> UUID:
    if caller.user_id is None:
        raise Missing("a payer is a user")
    return caller.user_id


def _paying(request: pb.PayOrderRequest | pb.PayShopCodeRequest, caller: Caller) -> Paying:
    return Paying(
        _user_of(caller),
        fields.identity(request.card_id, "card_id"),
        requests.idempotency_key(request.idempotency_key, "idempotency_key"),
        caller.stepped_up,
        fields.entry(request.entry),
        fields.pin(request),
    )
