"""OrderService over a real socket and a real database: who may what, fields, pages, codes, watching."""

import asyncio
import struct
import zlib
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import grpc.aio
import pytest
import qr_reader
from order_scene import scene, until

from payswitch.v1 import common_pb2
from payswitch.v1 import order_pb2 as pb
from switch.api.gate import Gate
from switch.api.guarded import access_of, add_guarded
from switch.api.order_codes import CodeMaker
from switch.api.order_service import OrderServicer
from switch.domain.access import Caller, Credential, Role, Session
from switch.domain.refusals import NotPermitted, TooMany
from switch.entry.bluetooth import order_address
from switch.entry.ndef import uri_of
from switch.entry.order_code import unionpay_account

__all__ = ["scene"]

BASE = "https://pay.example"
SERVICE = pb.DESCRIPTOR.services_by_name["OrderService"]
MINE = "payswitch_key_cashier"
OTHERS = "payswitch_key_other"
VIEWER = "payswitch_key_viewer"


class Doors:
    """Meets `Sessions` and `MerchantAccess`: tokens by name."""

    def __init__(self, merchant_id):
        self.sessions = {}
        self.keys = {
            MINE: Credential("c1", merchant_id, Role.MERCHANT_CASHIER),
            VIEWER: Credential("c2", merchant_id, Role.MERCHANT_VIEWER),
            OTHERS: Credential("c3", "other", Role.MERCHANT_OWNER),
        }

    async def session(self, token):
        return self.sessions.get(token)

    async def credential(self, secret):
        return self.keys.get(secret)

    async def role_of(self, merchant_id, user_id):
        return None


@asynccontextmanager
async def serving(scene, again_s):
    doors = Doors(scene.merchant_id)
    codes = CodeMaker(BASE, lambda merchant_id: unionpay_account(merchant_id, "01020344", "01020344"))
    servicer = OrderServicer(
        scene.desk, scene.shop, scene.store, scene.people, codes, watchers=2, admitted_again_s=again_s
    )
    server = grpc.aio.server()
    add_guarded(SERVICE, servicer, Gate(lambda names: ("", ""), doors, doors), server, again_s)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(channel=channel, doors=doors, servicer=servicer)
    await server.stop(0.1)


@pytest.fixture
async def served(scene):
    async with serving(scene, 30.0) as opened:
        yield opened


@pytest.fixture
async def looked_at_often(scene):
    """As `served`, but that the callers' rights are looked at again all the time."""
    async with serving(scene, 0.01) as opened:
        yield opened


def method(served, name):
    descriptor = SERVICE.methods_by_name[name]
    kind = served.channel.unary_stream if descriptor.server_streaming else served.channel.unary_unary
    response = getattr(pb, descriptor.output_type.name)
    return kind(f"/payswitch.v1.OrderService/{name}", lambda message: message.SerializeToString(), response.FromString)


def ask(served, name, request, token=MINE):
    return method(served, name)(request, metadata=(("authorization", f"Bearer {token}"),))


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


@pytest.fixture
def creation(scene):
    return pb.CreateOrderRequest(
        merchant_id=scene.merchant_id, idempotency_key="k1", subject="Tea 茶", order_number="A-1", store_id="s_1",
        amount=common_pb2.Money(amount_minor=1_250, currency="CNY"),
    )  # fmt: skip


@pytest.fixture
async def order(served, creation):
    return (await ask(served, "CreateOrder", creation)).order


@pytest.fixture
def payer(scene, served):
    """(access token, card id) of a user."""
    user_id, card_id = scene.people.payer()
    served.doors.sessions["payer"] = Session(uuid4(), user_id, False)
    return "payer", str(card_id)


def by_id(kind, order, **more):
    return kind(merchant_id=order.merchant_id, order_id=order.order_id, **more)


# --- who may ----------------------------------------------------------------------------------------------------------


def test_every_call_names_its_roles():
    people = {Role.MERCHANT_OWNER, Role.MERCHANT_MANAGER, Role.MERCHANT_CASHIER, Role.ACQUIRER}
    may = {each.name: {Role(role) for role in access_of(each).roles} for each in SERVICE.methods}
    assert {name for name, roles in may.items() if roles == {Role.PAYER}} == {"ScanOrder", "PayOrder", "PayShopCode"}
    readers = {name for name, roles in may.items() if Role.MERCHANT_VIEWER in roles}
    assert readers == {"GetOrder", "ListOrders", "WatchOrder", "ListShopCodes"}
    assert all(roles >= people for name, roles in may.items() if name in readers | {"CreateOrder", "CloseOrder"})
    assert Role.MERCHANT_CASHIER not in may["CreateShopCode"] | may["RevokeShopCode"]


async def test_nobody_sees_another_merchants_orders(served, order):
    wanted = by_id(pb.GetOrderRequest, order)
    assert (await ask(served, "GetOrder", wanted, VIEWER)).order == order
    assert await refused(ask(served, "GetOrder", wanted, OTHERS)) is grpc.StatusCode.PERMISSION_DENIED
    wanted.merchant_id = "other"
    assert await refused(ask(served, "GetOrder", wanted, OTHERS)) is grpc.StatusCode.NOT_FOUND
    assert await refused(ask(served, "GetOrder", wanted)) is grpc.StatusCode.PERMISSION_DENIED
    closing = by_id(pb.CloseOrderRequest, order)
    assert await refused(ask(served, "CloseOrder", closing, VIEWER)) is grpc.StatusCode.PERMISSION_DENIED
    assert await refused(ask(served, "CloseOrder", closing, "nonsense")) is grpc.StatusCode.UNAUTHENTICATED


async def test_an_acquirer_may_for_its_own_merchants_alone(scene, served, creation):
    mine = Caller("acquirer/acme", frozenset({Role.ACQUIRER}))
    made = await served.servicer.CreateOrder(creation, mine)
    assert made.order.state == pb.ORDER_STATE_OPEN
    for name, merchant_id in (("acquirer/other", scene.merchant_id), ("acquirer/acme", "unknown")):
        creation.merchant_id = merchant_id
        with pytest.raises(NotPermitted):
            await served.servicer.CreateOrder(creation, Caller(name, frozenset({Role.ACQUIRER})))


# --- made and listed --------------------------------------------------------------------------------------------------


async def test_a_repeat_is_the_same_and_other_content_exists(served, creation, order):
    assert (await ask(served, "CreateOrder", creation)).order == order
    creation.amount.amount_minor += 1
    assert await refused(ask(served, "CreateOrder", creation)) is grpc.StatusCode.ALREADY_EXISTS
    assert order.expires_time_ms - order.created_time_ms == 900_000


BAD = {
    "idempotency_key": lambda r: setattr(r, "idempotency_key", ""),
    "amount.amount_minor": lambda r: setattr(r.amount, "amount_minor", 0),
    "amount.currency": lambda r: setattr(r.amount, "currency", "cny"),
    "subject": lambda r: setattr(r, "subject", "a\nb"),
    "expires_in_s": lambda r: setattr(r, "expires_in_s", 59),
    "order_number": lambda r: setattr(r, "order_number", "x" * 33),
    "store_id": lambda r: setattr(r, "store_id", "no spaces"),
    "terminal_id": lambda r: setattr(r, "terminal_id", "123456789"),
}


@pytest.mark.parametrize("field", BAD)
async def test_a_bad_field_is_named(served, creation, field):
    BAD[field](creation)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(served, "CreateOrder", creation)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(field)


async def test_pages_follow_each_other(served, creation):
    for number in range(5):
        creation.idempotency_key = f"k{number}"
        await ask(served, "CreateOrder", creation)
    wanted = pb.ListOrdersRequest(merchant_id=creation.merchant_id, page_size=2)
    pages = []
    while True:
        page = await ask(served, "ListOrders", wanted)
        pages.append([each.order_id for each in page.orders])
        if not page.next_page_token:
            break
        wanted.page_token = page.next_page_token
    assert [len(each) for each in pages] == [2, 2, 1]
    assert len({each for page in pages for each in page}) == 5
    for spoil in ({"page_token": "x"}, {"page_size": 201}, {"from_time_ms": -1}, {"states": [99]}):
        bad = pb.ListOrdersRequest(merchant_id=creation.merchant_id, **spoil)
        assert await refused(ask(served, "ListOrders", bad)) is grpc.StatusCode.INVALID_ARGUMENT


# --- watched ----------------------------------------------------------------------------------------------------------


async def test_a_watch_ends_with_the_order(served, order, payer):
    token, card_id = payer
    call = ask(served, "WatchOrder", by_id(pb.WatchOrderRequest, order))
    watched = aiter(call)
    assert (await anext(watched)).order == order
    paying = pb.PayOrderRequest(scanned=await scanned(served, order), card_id=card_id, idempotency_key="p1")
    paid = await ask(served, "PayOrder", paying, token)
    assert paid.outcome == pb.PAYMENT_OUTCOME_PAID
    states = [each.order.state async for each in watched]
    assert states[-1] == pb.ORDER_STATE_PAID
    assert set(states) <= {pb.ORDER_STATE_PAYING, pb.ORDER_STATE_PAID}


async def rest_of(watched):
    async with asyncio.timeout(20):
        return [each.order.state async for each in watched]


@pytest.mark.parametrize(
    ("becomes", "code"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED),
        (("c1", "other", Role.MERCHANT_CASHIER), grpc.StatusCode.PERMISSION_DENIED),
        (("c1", "mine", Role.PAYER), grpc.StatusCode.PERMISSION_DENIED),
    ],
    ids=["revoked", "anothers", "of no role"],
)
async def test_a_watch_ends_with_its_callers_right(scene, looked_at_often, creation, becomes, code):
    order = (await ask(looked_at_often, "CreateOrder", creation)).order
    watched = aiter(ask(looked_at_often, "WatchOrder", by_id(pb.WatchOrderRequest, order)))
    assert (await anext(watched)).order == order
    if becomes is None:
        del looked_at_often.doors.keys[MINE]
    else:
        name, merchant, role = becomes
        looked_at_often.doors.keys[MINE] = Credential(name, scene.merchant_id if merchant == "mine" else merchant, role)
    assert await refused(rest_of(watched)) is code

    async def nobody_watches():
        return looked_at_often.servicer._watching.total() == 0

    await until(nobody_watches)


async def test_a_watch_goes_on_while_its_caller_may(looked_at_often, creation, scene):
    order = (await ask(looked_at_often, "CreateOrder", creation)).order
    watched = aiter(ask(looked_at_often, "WatchOrder", by_id(pb.WatchOrderRequest, order)))
    assert (await anext(watched)).order == order
    admitted = asyncio.Semaphore(0)
    credential = looked_at_often.doors.credential

    async def counted(secret):
        admitted.release()
        return await credential(secret)

    looked_at_often.doors.credential = counted
    for _ in range(5):
        await admitted.acquire()
    await ask(looked_at_often, "CloseOrder", by_id(pb.CloseOrderRequest, order))
    assert (await rest_of(watched))[-1] == pb.ORDER_STATE_CLOSED


async def test_a_watch_of_an_acquirer_ends_with_its_merchant(scene, looked_at_often, creation):
    servicer, caller = looked_at_often.servicer, Caller("acquirer/acme", frozenset({Role.ACQUIRER}))
    order = (await servicer.CreateOrder(creation, caller)).order
    watched = servicer.WatchOrder(by_id(pb.WatchOrderRequest, order), caller)
    assert (await anext(watched)).order == order
    profile = scene.people.profiles[scene.merchant_id]
    scene.people.profiles[scene.merchant_id] = replace(profile, acquirer_id="other")
    with pytest.raises(NotPermitted):
        await anext(watched)


async def test_watchers_are_bounded_and_those_who_leave_make_room(served, order):
    wanted = by_id(pb.WatchOrderRequest, order)
    calls = [ask(served, "WatchOrder", wanted) for _ in range(2)]
    for each in calls:
        await each.read()
    assert await refused(ask(served, "WatchOrder", wanted).read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    calls[0].cancel()

    async def one_left():
        return served.servicer._watching.total() == 1

    await until(one_left)
    assert (await ask(served, "WatchOrder", wanted).read()).order == order
    calls[1].cancel()


async def test_one_merchants_watchers_leave_room_for_the_others(served, scene, order):
    served.servicer._watchers = 30
    caller = Caller("user/ann", frozenset({Role.MERCHANT_CASHIER}), merchant_id=scene.merchant_id)
    watched = [served.servicer.WatchOrder(by_id(pb.WatchOrderRequest, order), caller) for _ in range(4)]
    for each in watched[:3]:
        await anext(each)
    with pytest.raises(TooMany):
        await anext(watched[3])
    for each in watched:
        await each.aclose()
    assert served.servicer._watching.total() == 0


# --- shown ------------------------------------------------------------------------------------------------------------


async def scanned(served, order, form=pb.CODE_FORM_URL):
    return (await ask(served, "PresentOrder", by_id(pb.PresentOrderRequest, order, form=form))).text


@pytest.mark.parametrize("form", [pb.CODE_FORM_URL, pb.CODE_FORM_EMV])
async def test_images_are_the_qr_of_the_text(served, order, form):
    wanted = by_id(pb.PresentOrderRequest, order, form=form, image=pb.IMAGE_KIND_PNG, module_px=3)
    shown = await ask(served, "PresentOrder", wanted)
    assert shown.content_type == "image/png"
    modules = png_modules(shown.image, 3)
    quiet = [*modules[:4], *modules[-4:], *(row[:4] for row in modules), *(row[-4:] for row in modules)]
    assert not any(map(any, quiet))
    assert qr_reader.read([row[4:-4] for row in modules[4:-4]]) == shown.text
    wanted.image = pb.IMAGE_KIND_SVG
    shown = await ask(served, "PresentOrder", wanted)
    assert shown.content_type == "image/svg+xml"
    assert b"<script" not in shown.image
    assert shown.image.lstrip().startswith(b"<?xml")
    assert uri_of(shown.ndef) == await scanned(served, order)
    assert shown.type_4_file[2:] == shown.ndef == shown.type_2_data[2:-1]
    assert order_address(shown.bluetooth_record) == uri_of(shown.ndef)


def png_modules(data, px):
    """A greyscale or palette PNG of one bit, read by hand (ISO/IEC 15948): 1 is dark."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, idat, header = 8, b"", b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        idat += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    assert (depth, colour) == (1, 0)
    raw, stride = zlib.decompress(idat), (width + 7) // 8 + 1
    rows: list[bytes] = []
    for y in range(height):
        filtered, line = raw[y * stride], raw[y * stride + 1 : (y + 1) * stride]
        assert filtered in (0, 2)  # none, or the line above added
        above = rows[-1] if filtered else bytes(len(line))
        rows.append(bytes(each + over & 255 for each, over in zip(line, above, strict=True)))
    return [[1 - (rows[y][x // 8] >> (7 - x % 8) & 1) for x in range(0, width, px)] for y in range(0, height, px)]


async def test_images_are_bounded(served, order):
    for spoil in ({"module_px": 21, "image": pb.IMAGE_KIND_PNG}, {"image": 9}, {"form": 9}):
        bad = by_id(pb.PresentOrderRequest, order, **spoil)
        assert await refused(ask(served, "PresentOrder", bad)) is grpc.StatusCode.INVALID_ARGUMENT
    nothing = pb.PresentOrderRequest(merchant_id=order.merchant_id)
    assert await refused(ask(served, "PresentOrder", nothing)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_wallets_own_code_for_the_cashiers_screen(served, order):
    wanted = by_id(pb.GetChannelCodeRequest, order, scheme="alipay", image=pb.IMAGE_KIND_SVG)
    shown = await ask(served, "GetChannelCode", wanted)
    assert shown.text.startswith("https://qr.alipay.com/")
    assert await ask(served, "GetChannelCode", wanted) == shown


# --- scanned and paid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [pb.CODE_FORM_URL, pb.CODE_FORM_EMV])
async def test_a_payer_sees_and_pays_what_he_scanned(served, order, payer, form):
    token, card_id = payer
    text = await scanned(served, order, form)
    seen = await ask(served, "ScanOrder", pb.ScanOrderRequest(scanned=text), token)
    assert (seen.merchant_name, seen.amount, seen.subject) == ("Corner Shop", order.amount, "Tea 茶")
    assert not seen.needs_step_up
    request = pb.PayOrderRequest(scanned=text, card_id=card_id, idempotency_key="p1")
    paid = await ask(served, "PayOrder", request, token)
    assert (paid.outcome, paid.order.state) == (pb.PAYMENT_OUTCOME_PAID, pb.ORDER_STATE_PAID)
    assert paid.order.authorization_id == paid.authorization_id
    assert await ask(served, "PayOrder", request, token) == paid
    request.idempotency_key = "p2"
    assert await refused(ask(served, "PayOrder", request, token)) is grpc.StatusCode.FAILED_PRECONDITION


async def test_forged_and_foreign_names_are_nothing(served, order, payer):
    token, card_id = payer
    text = await scanned(served, order)
    forged = text[:-4] + ("0000" if text[-4:] != "0000" else "1111")
    other = text.replace(order.merchant_id, "other")
    for each, code in (
        (forged, grpc.StatusCode.NOT_FOUND),
        (other, grpc.StatusCode.NOT_FOUND),
        ("https://evil.example/q/1", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        request = pb.PayOrderRequest(scanned=each, card_id=card_id, idempotency_key="p1")
        assert await refused(ask(served, "PayOrder", request, token)) is code
        assert await refused(ask(served, "ScanOrder", pb.ScanOrderRequest(scanned=each), token)) is code
    request = pb.PayOrderRequest(scanned=text, card_id=str(uuid4()), idempotency_key="p1")
    assert await refused(ask(served, "PayOrder", request, token)) is grpc.StatusCode.NOT_FOUND
    assert await refused(ask(served, "PayOrder", request, MINE)) is grpc.StatusCode.PERMISSION_DENIED


# --- shop codes -------------------------------------------------------------------------------------------------------


async def test_a_printed_code_is_paid_with_the_payers_amount_until_it_is_revoked(scene, served, payer):
    token, card_id = payer
    served.doors.keys[MINE] = Credential("c1", scene.merchant_id, Role.MERCHANT_MANAGER)
    creation = pb.CreateShopCodeRequest(merchant_id=scene.merchant_id, store_id="s1", terminal_id="T1", label="Till 1")
    first, second = [(await ask(served, "CreateShopCode", creation)).shop_code for _ in range(2)]
    assert (first.version, second.version) == (1, 2)
    shown = await ask(
        served, "PresentOrder",
        pb.PresentOrderRequest(
            merchant_id=scene.merchant_id, shop_code_id=first.shop_code_id, form=pb.CODE_FORM_EMV
        ),
    )  # fmt: skip
    seen = await ask(served, "ScanOrder", pb.ScanOrderRequest(scanned=shown.text), token)
    assert (seen.subject, seen.amount) == ("Till 1", common_pb2.Money(currency="CNY"))
    request = pb.PayShopCodeRequest(
        scanned=shown.text, card_id=card_id, idempotency_key="p1",
        amount=common_pb2.Money(amount_minor=777, currency="CNY"),
    )  # fmt: skip
    paid = (await ask(served, "PayShopCode", request, token)).payment
    assert (paid.outcome, paid.order.amount.amount_minor) == (pb.PAYMENT_OUTCOME_PAID, 777)
    assert (paid.order.shop_code_id, paid.order.terminal_id) == (first.shop_code_id, "T1")
    assert (await ask(served, "PayShopCode", request, token)).payment == paid
    assert list(scene.wallet.held.values()) == [777]
    request.amount.amount_minor = 778
    assert await refused(ask(served, "PayShopCode", request, token)) is grpc.StatusCode.ALREADY_EXISTS
    revoking = pb.RevokeShopCodeRequest(merchant_id=scene.merchant_id, shop_code_id=first.shop_code_id)
    revoked = [(await ask(served, "RevokeShopCode", revoking)).shop_code for _ in range(2)]
    assert revoked[0] == revoked[1]
    assert revoked[0].revoked_time_ms > 0
    request.idempotency_key = "p2"
    assert await refused(ask(served, "PayShopCode", request, token)) is grpc.StatusCode.FAILED_PRECONDITION
    listed = await ask(served, "ListShopCodes", pb.ListShopCodesRequest(merchant_id=scene.merchant_id))
    assert {each.shop_code_id: bool(each.revoked_time_ms) for each in listed.shop_codes} == {
        first.shop_code_id: True, second.shop_code_id: False,
    }  # fmt: skip


async def test_two_codes_of_one_place_at_once_have_two_versions(scene):
    place = ("s1", "T1")
    codes = await asyncio.gather(
        *(scene.shop.create(scene.merchant_id, place, "Till", "CNY", "user/ann") for _ in range(5))
    )
    assert sorted(each.version for each in codes) == [1, 2, 3, 4, 5]


async def test_who_cannot_pay_makes_no_order_of_a_shop_code(scene, served, payer):
    """Anybody may register: the merchant's list is not his to fill."""
    token, card_id = payer
    code = await scene.shop.create(scene.merchant_id, ("", "T1"), "Till", "CNY", "user/ann")
    text = (
        await ask(served, "PresentOrder", pb.PresentOrderRequest(
            merchant_id=scene.merchant_id, shop_code_id=str(code.id), form=pb.CODE_FORM_EMV))
    ).text  # fmt: skip
    wanted = pb.PayShopCodeRequest(
        scanned=text, amount=common_pb2.Money(amount_minor=1_250, currency="CNY"), card_id=str(uuid4()),
        idempotency_key="s1",
    )  # fmt: skip
    assert await refused(ask(served, "PayShopCode", wanted, token)) is grpc.StatusCode.NOT_FOUND
    wanted.card_id, wanted.amount.amount_minor = card_id, 100_001
    assert await refused(ask(served, "PayShopCode", wanted, token)) is grpc.StatusCode.PERMISSION_DENIED
    listed = await ask(served, "ListOrders", pb.ListOrdersRequest(merchant_id=scene.merchant_id))
    assert list(listed.orders) == []


async def test_an_order_is_no_shop_code_and_the_other_way_round(scene, served, order, payer):
    token, card_id = payer
    request = pb.PayShopCodeRequest(
        scanned=await scanned(served, order), card_id=card_id, idempotency_key="p1", amount=order.amount
    )
    assert await refused(ask(served, "PayShopCode", request, token)) is grpc.StatusCode.INVALID_ARGUMENT
    code = await scene.shop.create(scene.merchant_id, ("", "T1"), "Till", "CNY", "user/ann")
    text = f"{BASE}/s/{scene.merchant_id}.{code.id.hex}"
    request = pb.PayOrderRequest(scanned=text, card_id=card_id, idempotency_key="p1")
    assert await refused(ask(served, "PayOrder", request, token)) is grpc.StatusCode.INVALID_ARGUMENT
