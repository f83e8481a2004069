"""What the doors tell risk control, over real sockets; and a blocked address, which none of them lets in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from order_scene import scene
from signal_scene import Heard, MovedClock

from payswitch.v1 import access_pb2
from payswitch.v1 import user_pb2 as pb
from switch.api.errors import NotAllowed, NotAuthenticated
from switch.api.gate import Gate
from switch.api.guarded import UnknownMethods, add_guarded
from switch.api.identity import Doorkeeper
from switch.api.notifications import DoorSettings, NotificationDoor
from switch.api.order_page import OrderPage, PageSettings
from switch.api.page_limits import PageLimits
from switch.domain.access import CREDENTIAL_PREFIX, Credential, Role
from switch.pki import participant_of
from switch.ports import NotificationRefused
from switch.ports.signals import SignalKind
from switch.risk.blocks import DoorBlocks

__all__ = ["scene"]

KINDS = SignalKind
SERVICE = pb.DESCRIPTOR.services_by_name["UserService"]
HERE = "127.0.0.1"
ISSUER = (b"urn:payswitch:issuer:bank",)


class Nobody:
    async def session(self, token: str) -> None:
        return None

    async def role_of(self, merchant_id: str, user_id: object) -> None:
        return None

    async def credential(self, secret: str) -> Credential | None:
        return Credential("c1", "M1", Role.MERCHANT_MANAGER) if secret == CREDENTIAL_PREFIX + "good" else None


class Empty:
    """Serves every method with an empty answer; counts."""

    def __init__(self) -> None:
        self.calls = 0
        for method in SERVICE.methods:
            setattr(self, method.name, self._method(getattr(pb, method.output_type.name)))

    def _method(self, response: Any) -> Any:
        async def called(request: Any, caller: Any) -> Any:
            self.calls += 1
            return response()

        return called


@dataclass
class People:
    channel: grpc.aio.Channel
    heard: Heard
    blocks: DoorBlocks
    clock: MovedClock
    served: Empty

    async def call(self, method: str, body: bytes = b"", bearer: str = "") -> str:
        call = self.channel.unary_unary(f"/{method}")
        metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()
        try:
            await call(body, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


LOG_IN = f"{SERVICE.full_name}/LogIn"
PROFILE = f"{SERVICE.full_name}/GetProfile"


@pytest.fixture
async def people() -> AsyncIterator[People]:
    heard, clock, served = Heard(), MovedClock(), Empty()
    blocks, nobody = DoorBlocks(clock), Nobody()
    server = grpc.aio.server()
    add_guarded(SERVICE, served, Gate(participant_of, nobody, nobody, heard, blocks), server)
    server.add_generic_rpc_handlers((UnknownMethods(heard),))
    port = server.add_insecure_port(f"{HERE}:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"{HERE}:{port}") as channel:
        yield People(channel, heard, blocks, clock, served)
    await server.stop(None)


@pytest.mark.parametrize(
    ("method", "body", "bearer", "code", "kind"),
    [
        ("payswitch.v1.UserService/Nothing", b"", "", "UNIMPLEMENTED", KINDS.UNKNOWN_METHOD),
        ("x.Y/Z", b"abc", "", "UNIMPLEMENTED", KINDS.UNKNOWN_METHOD),
        (LOG_IN, b"\xff\xff\xff", "", "INVALID_ARGUMENT", KINDS.MALFORMED),
        (PROFILE, b"", CREDENTIAL_PREFIX + "guess", "UNAUTHENTICATED", KINDS.WRONG_CREDENTIAL),
        (PROFILE, b"", CREDENTIAL_PREFIX + "good", "PERMISSION_DENIED", KINDS.NOT_PERMITTED),
    ],
)
async def test_each_is_heard_with_its_address(
    people: People, method: str, body: bytes, bearer: str, code: str, kind: SignalKind
) -> None:
    assert await people.call(method, body, bearer) == code
    assert [(each.kind, each.address, each.participant) for each in people.heard.signals] == [(kind, HERE, "")]
    assert not bearer or bearer not in repr(people.heard.signals)


async def test_what_is_ordinary_is_not_heard(people: People) -> None:
    assert await people.call(LOG_IN) == "OK"
    assert await people.call(PROFILE, bearer="an expired token") == "UNAUTHENTICATED"
    assert await people.call(PROFILE) == "UNAUTHENTICATED"
    assert people.heard.signals == []


async def test_a_blocked_address_is_refused_before_any_work_and_free_after_its_time(people: People) -> None:
    people.blocks.take({HERE: 60_000})
    assert await people.call(LOG_IN) == "PERMISSION_DENIED"
    assert people.served.calls == 0
    people.clock.now_ms += 60_000
    assert await people.call(LOG_IN) == "OK"
    assert people.served.calls == 1


class Context:
    """A call with a certificate of these names."""

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self._names = names

    def peer(self) -> str:
        return f"ipv4:{HERE}:50000"

    def peer_identities(self) -> tuple[bytes, ...]:
        return self._names

    def peer_identity_key(self) -> str:
        return "x509_subject_alternative_name"

    def invocation_metadata(self) -> tuple[()]:
        return ()


def parse(names: list[str]) -> tuple[str, str]:
    return participant_of(names)


async def test_a_participants_certificate_is_let_in_from_a_blocked_address(people: People) -> None:
    heard, nobody = Heard(), Nobody()
    gate = Gate(lambda names: ("issuer", "bank"), nobody, nobody, heard, people.blocks)
    people.blocks.take({HERE: 60_000})
    caller = await gate.admit(Context(ISSUER), None, access_pb2.Access(roles=[Role.ISSUER.value]))
    assert caller.name == "issuer/bank"
    with pytest.raises(NotAllowed):
        await gate.admit(Context(ISSUER), None, access_pb2.Access(roles=[Role.OPERATOR.value]))
    [signal] = heard.signals
    assert (signal.kind, signal.participant) == (KINDS.NOT_PERMITTED, ISSUER[0].decode())


def test_certificates_that_are_not_for_the_call_are_heard() -> None:
    heard = Heard()
    keeper = Doorkeeper(lambda names: ("issuer", "bank"), signals=heard)
    with pytest.raises(NotAllowed):
        keeper.participant(Context(ISSUER), "acquirer")  # type: ignore[arg-type]
    with pytest.raises(NotAllowed):
        keeper.acting_for(Context(ISSUER), None)  # type: ignore[arg-type]
    with pytest.raises(NotAuthenticated):
        Doorkeeper(parse, signals=heard).participant(Context((b"urn:other",)), "acquirer")  # type: ignore[arg-type]
    assert heard.kinds() == ["wrong_role", "wrong_role", "certificate_refused"]
    assert {each.address for each in heard.signals} == {HERE}


class Refusing:
    """A channel that believes nothing."""

    name = "pay"

    def read_notification(self, headers: Any, body: bytes) -> Any:
        raise NotificationRefused(body.decode())

    def notification_answer(self, accepted: bool) -> tuple[int, str, bytes]:
        return 500, "text/plain", b"fail"


async def test_notifications_that_a_wallet_did_not_sign_are_heard_of_it() -> None:
    heard = Heard()
    door = NotificationDoor({"pay": Refusing()}, None, MovedClock(), DoorSettings(), heard)  # type: ignore
    port = await door.start(HERE, 0)
    async with aiohttp.ClientSession(f"http://{HERE}:{port}") as session:
        for body in (b"forged", b"unsigned", b"malformed", b"expired"):
            async with session.post("/notify/pay", data=body) as response:
                assert response.status == 500
        async with session.get("/admin.php") as response:
            assert response.status == 404
    await door.close()
    assert heard.kinds() == ["bad_signature", "bad_signature", "malformed", "unknown_path"]
    assert [each.participant for each in heard.signals] == ["channel/pay"] * 3 + ["channel"]


@pytest.fixture
async def page(scene: Any) -> AsyncIterator[Any]:
    heard, clock = Heard(), MovedClock()
    blocks, limits = DoorBlocks(clock), PageLimits(scene.clock, 10_000, 10_000)
    settings = PageSettings("https://pay.example/p", frozenset(), forwarded_for=True)
    page = OrderPage(scene.desk, scene.shop, limits, settings, heard, blocks)
    port = await page.start(HERE, 0)
    async with aiohttp.ClientSession(f"http://{HERE}:{port}") as session:

        async def fetch(path: str, address: str) -> int:
            async with session.get(path, headers={"X-Forwarded-For": address}) as response:
                return response.status

        yield SimpleNamespace(fetch=fetch, heard=heard, blocks=blocks, clock=clock)
    await page.close()


async def test_the_page_tells_who_looks_for_what_is_not_there_and_turns_the_blocked_away(scene: Any, page: Any) -> None:
    order = await scene.create()
    path = f"/q/{order.merchant.id}.{order.id.hex}"
    assert await page.fetch(path, "203.0.113.7") == 200
    assert page.heard.signals == []
    assert await page.fetch("/wp-login.php", "203.0.113.7") == 404
    assert [(each.kind, each.address) for each in page.heard.signals] == [(KINDS.UNKNOWN_PATH, "203.0.113.7")]
    page.blocks.take({"203.0.113.7": 60_000})
    assert await page.fetch(path, "203.0.113.7") == 403
    assert await page.fetch(path, "203.0.113.8") == 200
    page.clock.now_ms += 60_000
    assert await page.fetch(path, "203.0.113.7") == 200
