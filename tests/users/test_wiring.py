"""The service as the switch opens it, and its ports as others use them."""

import asyncio
from uuid import UUID, uuid4

import grpc.aio
from people_scene import NoMerchants, Scene, StillClock, fresh_login, refused

from payswitch.v1 import user_pb2 as pb
from payswitch.v1 import user_pb2_grpc as pb_grpc
from switch.api.gate import Gate
from switch.api.guarded import access_of, add_guarded
from switch.config import load
from switch.domain.access import Role
from switch.ops.lifecycle import Lifecycle
from switch.ports import platform as ports
from switch.store.users_devices import PostgresDevices
from switch.store.users_sessions import PostgresUserSessions
from switch.wiring.platform import Platform
from switch.wiring.users import open_users, settings_of

SERVICE = pb.DESCRIPTOR.services_by_name["UserService"]


async def test_it_opens_with_the_settings_serves_and_closes(scene: Scene) -> None:
    settings = load(users={"argon2_memory_kib": 8, "calls_per_address": 1000})
    lifecycle = Lifecycle(grace_s=0.0)
    platform = Platform(
        settings, lifecycle, scene.database, scene.redis_url, scene.hsm.hsm, StillClock(), None, None, {}
    )  # type: ignore[arg-type]
    [served] = open_users(platform)
    assert served.service is SERVICE
    sessions: ports.Sessions = PostgresUserSessions(scene.database, StillClock())
    devices: ports.Devices = PostgresDevices(scene.database)
    server = grpc.aio.server()
    add_guarded(SERVICE, served.servicer, Gate(lambda names: ("platform", "x"), sessions, NoMerchants()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.UserServiceStub(channel)
        await stub.Register(pb.RegisterRequest(login=fresh_login(), password="correct horse battery"))
        with refused("UNAUTHENTICATED"):
            await stub.LogIn(pb.LogInRequest(login=fresh_login(), password="correct horse battery"))
    await server.stop(None)
    assert await devices.devices([(uuid4(), UUID(int=0))]) == [None]
    lifecycle.stop("the test ends")
    assert await lifecycle.run() == 0
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "users' old rows"]


def test_the_defaults_are_what_the_documentation_says() -> None:
    settings = settings_of(load().users)
    assert (settings.access_ms, settings.refresh_ms, settings.session_ms) == (600_000, 30 * 86_400_000, 90 * 86_400_000)
    assert (settings.argon2.memory_kib, settings.argon2.passes, settings.argon2.lanes) == (47_104, 1, 1)
    assert (settings.back_off.free, settings.code_tries) == (5, 5)
    assert (settings.codes_of_hour.most, settings.codes_of_day.most) == (5, 10)


def test_who_may_call_what() -> None:
    """Without a credential nothing but getting one; the outbox is for messengers alone."""
    roles = {method.name: {Role(each) for each in access_of(method).roles} for method in SERVICE.methods}
    anyone = {name for name, allowed in roles.items() if allowed == {Role.ANYONE}}
    assert anyone == {
        *("Register", "Verify", "RequestPasswordReset", "ResetPassword", "LogIn", "FinishLogIn"),
        *("BeginPasskeyLogIn", "LogInWithPasskey", "Refresh"),
    }
    assert {name for name, allowed in roles.items() if allowed == {Role.MESSENGER}} == {
        "TakeMessages",
        "ConfirmMessages",
    }
    assert {name: allowed for name, allowed in roles.items() if Role.REVIEWER in allowed} == {
        **{name: {Role.REVIEWER} for name in ("RequestRescue", "ApproveRescue", "CompleteRescue")},
        "StopRescue": {Role.REVIEWER, Role.PAYER},
    }
    others = {name for name in roles if name not in anyone and "Messages" not in name and "Rescue" not in name}
    assert all(roles[name] == {Role.PAYER} for name in others)
