"""Who gets in where: participants by certificate on the public listener, operators on their own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import grpc
import grpc.aio
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from shop import TRIES, UNIONPAY, Shop, decided, id_of, money, named, too_slow

from payswitch.v1 import authorization_pb2 as pb
from payswitch.v1 import authorization_pb2_grpc, issuer_pb2, issuer_pb2_grpc
from switch.billing_through import bill_through
from switch.client.acquirer import AcquirerClient
from switch.client.connection import ClientCredentials, open_channel
from switch.client.errors import NotPermitted, PaymentError
from switch.demo.environment import HOST, Environment
from switch.ops.road import RPC
from switch.pki import Authority

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUTHORIZE = "/payswitch.v1.AuthorizationService/Authorize"
SERVING = health_pb2.HealthCheckResponse.SERVING


async def status_of(call: Awaitable[Any]) -> grpc.StatusCode:
    """What a call that must fail fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def refusal_of(ask: Callable[[], Awaitable[Any]]) -> grpc.StatusCode:
    """What a stream that must fail fails with. A client that writes into a call just as it ends tells of INTERNAL, its
    own trouble, instead of what the switch said: it asks again."""
    for _ in range(20):
        status = await status_of(ask())
        if status is not grpc.StatusCode.INTERNAL:
            break
    return status


async def first_of(stream: Any, said: Any = None) -> Any:
    """The first frame that comes back after `said`."""
    if said is not None:
        # The switch may have hung up before it was spoken to; why, is what reading tells.
        with suppress(grpc.aio.AioRpcError):
            await stream.write(said)
    return await stream.read()


def signing_on(channel: grpc.aio.Channel, issuer_id: str) -> Awaitable[Any]:
    connecting = issuer_pb2_grpc.IssuerServiceStub(channel).Connect()
    return first_of(connecting, issuer_pb2.ConnectRequest(sign_on=issuer_pb2.SignOn(issuer_id=issuer_id)))


@asynccontextmanager
async def dialled(target: str, credentials: ClientCredentials | None) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(target, credentials, None) as channel:
        yield channel


def signed_by_nobody(environment: Environment, folder: Path) -> ClientCredentials:
    """In the acquirer's name, by an authority of its own; it trusts the real server."""
    pair = Authority(folder).participant("acquirer", "demo")
    real = Authority(environment.state_dir / "pki")
    return ClientCredentials(
        real.certificate.read_bytes(), pair.certificate.read_bytes(), pair.private_key.read_bytes()
    )


# --- the public listener ---------------------------------------------------------------------------------------------


async def test_a_certificate_of_nobody_is_refused(shop: Shop, tmp_path: Path) -> None:
    request = shop.order(UNIONPAY)
    async with dialled(shop.environment.target, signed_by_nobody(shop.environment, tmp_path)) as channel:
        stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
        assert await status_of(stub.Authorize(request, timeout=5)) is grpc.StatusCode.UNAVAILABLE
    assert await shop.booked(UNIONPAY, request) == []


async def test_a_caller_without_certificate_is_refused(shop: Shop) -> None:
    request = shop.order(UNIONPAY)
    only_tls = grpc.ssl_channel_credentials(Authority(shop.environment.state_dir / "pki").certificate.read_bytes())
    async with grpc.aio.secure_channel(shop.environment.target, only_tls) as channel:
        stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
        assert await status_of(stub.Authorize(request, timeout=5)) is grpc.StatusCode.UNAVAILABLE
    assert await shop.booked(UNIONPAY, request) == []


async def test_plaintext_is_refused(shop: Shop) -> None:
    request = shop.order(UNIONPAY)
    async with dialled(shop.environment.target, None) as channel:
        stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
        assert await status_of(stub.Authorize(request, timeout=5)) is grpc.StatusCode.UNAVAILABLE
    assert await shop.booked(UNIONPAY, request) == []


async def test_an_acquirer_cannot_act_for_another(shop: Shop) -> None:
    request = shop.order(UNIONPAY)
    request.acquirer_id = "demo"
    async with AcquirerClient(
        shop.environment.target, credentials=shop.environment.credentials("acquirer", "rival")
    ) as rival:
        for call in (rival.authorize, rival.authorize_unary):
            with pytest.raises(NotPermitted) as caught:
                await call(request)
            assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert await shop.booked(UNIONPAY, request) == []


async def test_an_acquirer_does_not_find_anothers_authorization(shop: Shop) -> None:
    request = await shop.pay(UNIONPAY)
    wanted = {"merchant_id": request.merchant_id, "authorization_id": id_of(request)}
    async with AcquirerClient(
        shop.environment.target, credentials=shop.environment.credentials("acquirer", "rival")
    ) as rival:
        for attempt in (
            rival.get(pb.GetRequest(**wanted)),
            anext(rival.watch(pb.WatchRequest(**wanted))),
            rival.void(pb.VoidRequest(follow_on=named(request))),
            rival.refund(pb.RefundRequest(follow_on=named(request), amount=money(100))),
            rival.capture(pb.CaptureRequest(follow_on=named(request), amount=money(100))),
            rival.reverse(pb.ReverseRequest(follow_on=named(request))),
        ):
            with pytest.raises(PaymentError) as caught:
                await attempt
            assert caught.value.code is grpc.StatusCode.NOT_FOUND
        # The very same request of another acquirer is another authorization.
        for _ in range(TRIES):
            answer = await shop.until_answered(lambda request=request: rival.authorize(request))  # type: ignore[misc]
            if not too_slow(answer):
                break
            request = await shop.pay(UNIONPAY)
        assert decided(answer) == ("approved", "00")
    assert [each.standing for each in await shop.booked(UNIONPAY, request)] == ["paid", "paid"]
    assert decided((await shop.shown(request)).answer) == ("approved", "00")


async def test_each_role_has_its_own_service(shop: Shop) -> None:
    environment = shop.environment
    async with dialled(environment.target, environment.credentials("issuer", "demo")) as channel:
        stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
        assert await status_of(stub.Authorize(shop.order(UNIONPAY))) is grpc.StatusCode.PERMISSION_DENIED
        assert await refusal_of(lambda: first_of(stub.AuthorizeStream())) is grpc.StatusCode.PERMISSION_DENIED
    for role in ("acquirer", "operator"):
        async with dialled(environment.target, environment.credentials(role, "demo")) as channel:
            assert await refusal_of(lambda: signing_on(channel, "demo")) is grpc.StatusCode.PERMISSION_DENIED


async def test_an_issuer_signs_on_as_itself_only(shop: Shop) -> None:
    credentials = shop.environment.credentials("issuer", "stranger")
    async with dialled(shop.environment.target, credentials) as channel:
        for name in ("demo", "stranger"):
            assert await refusal_of(partial(signing_on, channel, name)) is grpc.StatusCode.PERMISSION_DENIED


async def test_bytes_that_are_no_message_are_an_invalid_argument(shop: Shop) -> None:
    async with dialled(shop.environment.target, shop.environment.credentials()) as channel:
        for payload in (b"\xff\xff\xff", b"\x0a\x7fshort"):
            assert await status_of(channel.unary_unary(AUTHORIZE)(payload)) is grpc.StatusCode.INVALID_ARGUMENT
            stream = channel.stream_stream(f"{AUTHORIZE}Stream")()
            assert await status_of(first_of(stream, payload)) is grpc.StatusCode.INVALID_ARGUMENT
    await shop.pay(UNIONPAY)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("amount.amount_minor", {"amount": {"amount_minor": 0, "currency": "CNY"}}),
        ("amount.amount_minor", {"amount": {"amount_minor": -1, "currency": "CNY"}}),
        ("amount.amount_minor", {"amount": {"amount_minor": 10**12, "currency": "CNY"}}),
        ("amount.currency", {"amount": {"amount_minor": 100, "currency": "XXQ"}}),
        ("merchant_id", {"merchant_id": "no spaces"}),
        ("terminal_id", {"terminal_id": ""}),
        ("idempotency_key", {"idempotency_key": "k" * 65}),
        ("transmission_time_ms", {"transmission_time_ms": 1}),
        ("kind", {"kind": 9}),
        ("presented", {"keyed": None}),
        ("keyed.pan", {"keyed": {"pan": "6225880000000000", "expiry": "3012"}}),
        ("keyed.expiry", {"keyed": {"pan": "6225880000000019", "expiry": "3013"}}),
        ("nfc.emv", {"nfc": {"emv": bytes.fromhex("570A6225")}}),
        ("nfc.emv", {"nfc": {"emv": b"\x70\x82" * 400}}),
        ("payer_code", {"payer_code": {"code": "999999999999999999"}}),
        ("merchant_qr", {"merchant_qr": {"payload": "00020101021263040000"}}),
        ("bluetooth", {"bluetooth": {"record": b"\x00"}}),
        ("pin", {"pin": {"block": b"1234567", "format": 0}}),
    ],
)
async def test_a_wrong_field_is_refused_by_its_name(shop: Shop, field: str, changes: dict[str, Any]) -> None:
    request = shop.order(UNIONPAY)
    if changes.keys() & {"keyed", "nfc", "payer_code", "merchant_qr", "bluetooth"}:
        request.ClearField("keyed")
    for name in changes:
        request.ClearField(name)
    request.MergeFrom(pb.AuthorizeRequest(**{name: value for name, value in changes.items() if value is not None}))
    for call in (shop.client.authorize, shop.client.authorize_unary):
        filled = pb.AuthorizeRequest()
        filled.CopyFrom(request)
        with pytest.raises(PaymentError) as caught:
            await call(filled)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.message.startswith(field)


# --- the operators' listeners ----------------------------------------------------------------------------------------


@asynccontextmanager
async def operators(environment: Environment) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"{HOST}:{environment.ports.operations_grpc}") as channel:
        yield channel


async def _reflected(channel: grpc.aio.Channel) -> Any:
    asking = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    answer = await first_of(asking, reflection_pb2.ServerReflectionRequest(list_services=""))
    asking.cancel()
    return answer


async def test_reflection_and_channelz_are_for_operators_only(environment: Environment) -> None:
    async with operators(environment) as channel:
        listed = await _reflected(channel)
        names = {each.name for each in listed.list_services_response.service}
        assert {"payswitch.v1.AuthorizationService", "payswitch.v1.IssuerService"} <= names
        servers = await channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest())
        assert len(servers.server) >= 2
    async with dialled(environment.target, environment.credentials()) as channel:
        assert await refusal_of(lambda: _reflected(channel)) is grpc.StatusCode.UNIMPLEMENTED
        asking = channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest())
        assert await status_of(asking) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "service",
    [
        "", "payswitch.v1.AuthorizationService", "payswitch.v1.IssuerService", "channel/unionpay", "channel/alipay",
        "channel/wechat", "channel/issuer:demo",
    ],
)  # fmt: skip
async def test_health_tells_of_every_service_and_channel(environment: Environment, service: str) -> None:
    await environment.until_ready()
    async with operators(environment) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=5)
        async for each in watching:
            if each.status == SERVING:
                break
        watching.cancel()
        checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        assert checked.status == SERVING


async def test_health_follows_a_channel(shop: Shop) -> None:
    environment = shop.environment
    asked = health_pb2.HealthCheckRequest(service="channel/issuer:demo")
    async with operators(environment) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(asked, timeout=10)
        await environment.listening("issuer", False)
        try:
            async for each in watching:
                if each.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    break
            assert "[!] channel/issuer:demo" in await environment.get_text(
                f"{environment.operations_url}/readyz?verbose"
            )
            whole = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert whole.status == SERVING
        finally:
            await environment.listening("issuer", True)
        async for each in watching:
            if each.status == SERVING:
                break
        watching.cancel()
    await environment.until_ready()


async def test_the_operations_pages(shop: Shop) -> None:
    environment = shop.environment
    await shop.pay(UNIONPAY)
    await environment.until_ready()
    async with aiohttp.ClientSession(environment.operations_url) as session:
        async with session.get("/livez") as response:
            assert (response.status, (await response.text())[:5]) == (200, "alive")
        async with session.get("/readyz") as response:
            assert (response.status, await response.text()) == (200, "ready\n")
        async with session.get("/readyz?verbose") as response:
            lines = (await response.text()).splitlines()
        async with session.get("/metrics") as response:
            assert response.content_type == "text/plain"
            metrics = await response.text()
    checks = (
        "database",
        "counters",
        "hsm",
        "channel/unionpay",
        "channel/alipay",
        "channel/wechat",
        "channel/issuer:demo",
    )
    assert all(any(line.startswith(f"[+] {check}: ") for line in lines) for check in checks)
    for wanted in (
        f'payswitch_request_duration_seconds_bucket{{le="0.2",rpc="{RPC}"}}',
        "payswitch_requests_total{",
        "payswitch_batch_size_bucket{",
        "payswitch_queue_depth{",
        "payswitch_in_flight{",
        "payswitch_channel_duration_seconds_bucket{",
        'payswitch_check_ready{check="channel/unionpay"} 1.0',
    ):
        assert wanted in metrics


@pytest.mark.parametrize(
    ("role", "says"), [("operator", "NOT_FOUND"), ("acquirer", "PERMISSION_DENIED"), ("issuer", "PERMISSION_DENIED")]
)
async def test_bills_are_for_operators(environment: Environment, role: str, says: str) -> None:
    with pytest.raises(ConnectionError, match=says):
        await bill_through(environment.target, environment.credentials(role, "demo"), "none", date(2026, 1, 2))


async def test_the_door_for_notifications_asks_who_signed(environment: Environment) -> None:
    """Nobody did: there is nothing to be found behind any address."""
    url = f"http://{HOST}:{environment.ports.notifications}/notify"
    async with aiohttp.ClientSession() as session:
        for path in ("", "/nobody", f"/alipay/m1/{uuid4()}", f"/wechat/m1/{uuid4()}"):
            async with session.post(url + path, data=b"trade_status=TRADE_SUCCESS") as response:
                assert b"success" not in (await response.read()).lower()
