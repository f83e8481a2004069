"""People before a user service over a real socket, and what they hold: a mailbox, an authenticator app, passkeys."""

import asyncio
import itertools
import os
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import grpc.aio
import pyotp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.direct import DirectHsm
from payswitch.v1 import user_pb2 as pb
from payswitch.v1 import user_pb2_grpc as pb_grpc
from switch.api.gate import Gate
from switch.api.guarded import add_guarded
from switch.api.user_service import UserServicer, shown_message
from switch.demo.authenticator import SoftwareAuthenticator
from switch.domain.tally import BackOff
from switch.ops.metrics import USER_LOCK_OUTS
from switch.ports.signals import UNHEARD, Signals
from switch.store.counters import RedisCounters
from switch.store.users_sessions import PostgresUserSessions
from switch.users.passwords import Passwords
from switch.users.proofs import binding_text, proof_text
from switch.users.seals import Seals
from switch.users.settings import Argon2, UserSettings
from switch.users.users import Users, build_users
from switch.users.world import World
from switch.wiring.users import stores_on

ORIGIN = "https://pay.example"
PASSWORD = "correct horse battery"
# As little as Argon2 takes: what a hash costs is not what these tests are about.
CHEAP = Argon2(memory_kib=8, passes=1, lanes=1, threads=2, queue=32)
SETTINGS = UserSettings(
    rp_id="pay.example",
    origins=(ORIGIN,),
    argon2=CHEAP,
    back_off=BackOff(5, 30_000, 900_000, 86_400_000),
    per_address=1_000,
)
_numbers = itertools.count(int.from_bytes(os.urandom(5), "big"))


class StillClock:
    """Stands until it is moved."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_ms / 1000


class NoMerchants:
    async def role_of(self, merchant_id: str, user_id: UUID) -> None:
        return None

    async def credential(self, secret: str) -> None:
        return None


def fresh_login() -> str:
    """A login that no other test has."""
    return f"person{next(_numbers)}@example.com"


class Metered:
    """Counts what a class of calls does to the HSM and to the outbox: for tests that two calls do the same work."""

    def __init__(self, hsm: DirectHsm) -> None:
        self.hsm = hsm
        self.calls: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.hsm, name)
        if name not in ("seal", "unseal", "keyed_hashes"):
            return method

        async def counted(items: Any) -> Any:
            self.calls.append((name, len(items)))
            return await method(items)

        return counted


@dataclass
class Scene:
    database: asyncpg.Pool
    clock: StillClock
    world: World
    users: Users
    passwords: Passwords
    counters: Any
    hsm: Metered
    redis_url: str
    server: grpc.aio.Server
    channel: grpc.aio.Channel
    stub: pb_grpc.UserServiceStub
    belongings: list[Any]
    kept: list[pb.UserMessage] = field(default_factory=list)

    async def close(self) -> None:
        await self.channel.close()
        await self.server.stop(None)
        self.passwords.close()
        if isinstance(self.counters, RedisCounters):
            await self.counters.close()

    async def other(self, counters: Any = None, **settings: Any) -> "Scene":
        """Another process on the same database, its clock where this one's is."""
        scene = await open_scene(self.database, self.redis_url, self.hsm.hsm, counters, **settings)
        scene.clock.now_ms = self.clock.now_ms
        return scene

    def later(self, ms: int) -> None:
        self.clock.now_ms += ms

    async def messages(self, to: str) -> list[pb.UserMessage]:
        """All that this scene has taken for `to`, oldest first; those of one millisecond have no order."""
        taken = await self.users.outbox.take(1000)
        await self.users.outbox.confirm([each.id for each in taken])
        self.kept += [shown_message(each) for each in taken]
        return sorted((each for each in self.kept if each.to == to), key=lambda each: each.id)

    async def code(self, to: str) -> str:
        return [each.code for each in await self.messages(to) if each.code][-1]

    async def person(self, password: str = PASSWORD) -> "Person":
        """Registered, verified and logged in."""
        login = fresh_login()
        registered = await self.stub.Register(pb.RegisterRequest(login=login, password=password))
        await self.stub.Verify(
            pb.VerifyRequest(registration_id=registered.registration_id, code=await self.code(login))
        )
        person = Person(self, login, password)
        await person.log_in()
        return person

    async def audit(self, user_id: str) -> list[str]:
        rows = await self.database.fetch("SELECT act FROM audit_trail WHERE who = $1 ORDER BY id", f"user/{user_id}")
        return [row["act"].removeprefix("UserService.") for row in rows]


@dataclass
class Person:
    scene: Scene
    login: str
    password: str
    tokens: pb.Tokens = field(default_factory=pb.Tokens)
    secret: str = ""
    recovery: list[str] = field(default_factory=list)
    authenticator: SoftwareAuthenticator = field(default_factory=lambda: SoftwareAuthenticator(ORIGIN))

    async def call(self, name: str, request: Any, tokens: pb.Tokens | None = None) -> Any:
        token = (tokens or self.tokens).access_token
        method = getattr(self.scene.stub, name)
        return await method(request, metadata=(("authorization", f"Bearer {token}"),))

    async def log_in(self, **fields: Any) -> pb.LogInResponse:
        answer = await self.scene.stub.LogIn(pb.LogInRequest(login=self.login, password=self.password, **fields))
        if answer.HasField("tokens"):
            self.tokens = answer.tokens
        return answer

    async def finish(self, ticket: str, **factor: Any) -> pb.Tokens:
        answer = await self.scene.stub.FinishLogIn(pb.FinishLogInRequest(ticket=ticket, **factor))
        self.tokens = answer.tokens
        return answer.tokens

    def totp(self) -> str:
        """The code of now."""
        return pyotp.TOTP(self.secret).generate_otp(self.scene.clock.now_ms // 30_000)

    async def set_up_totp(self) -> None:
        self.secret = (await self.call("EnrollTotp", pb.EnrollTotpRequest())).secret
        answer = await self.call("ActivateTotp", pb.ActivateTotpRequest(code=self.totp()))
        self.recovery = list(answer.recovery_codes) or self.recovery
        self.scene.later(30_000)

    async def add_passkey(self, name: str = "phone") -> str:
        begun = await self.call("BeginPasskey", pb.BeginPasskeyRequest())
        made = self.authenticator.create(begun.options_json)
        answer = await self.call(
            "AddPasskey", pb.AddPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=made, name=name)
        )
        self.recovery = list(answer.recovery_codes) or self.recovery
        return str(answer.passkey_id)

    async def alerts(self) -> list[str]:
        answer = await self.call("ListAlerts", pb.ListAlertsRequest())
        return [pb.AlertKind.Name(each.kind).removeprefix("ALERT_KIND_") for each in answer.alerts]

    async def bind_device(self, name: str = "Pixel 9") -> "BoundDevice":
        device = BoundDevice()
        begun = await self.call("BeginDevice", pb.BeginDeviceRequest())
        signature = device.sign(binding_text(begun.challenge, UUID(self.tokens.user_id), device.public_key))
        answer = await self.call(
            "BindDevice",
            pb.BindDeviceRequest(
                ceremony_id=begun.ceremony_id, name=name, public_key=device.public_key, signature=signature
            ),
        )
        device.id = answer.device_id
        return device


class BoundDevice:
    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.id = ""

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(SHA256()))

    def proof(self, act: str, context: str, time_ms: int) -> pb.DeviceProof:
        signature = self.sign(proof_text(act, UUID(self.id), time_ms, context))
        return pb.DeviceProof(device_id=self.id, time_ms=time_ms, signature=signature)


async def open_scene(
    database: asyncpg.Pool, redis_url: str, hsm: DirectHsm, counters: Any = None, signals: Signals = UNHEARD,
    **settings: Any,
) -> Scene:  # fmt: skip
    clock, metered = StillClock(), Metered(hsm)
    world = World(stores_on(database, clock), Seals(metered), clock, os.urandom, replace(SETTINGS, **settings), signals)
    passwords = Passwords(world.settings.argon2, os.urandom)
    counters = counters or RedisCounters(redis_url, timeout_s=2.0)
    belongings: list[Any] = []
    users = build_users(world, passwords, counters, belongings=belongings, locked=USER_LOCK_OUTS.inc)
    server = grpc.aio.server()
    gate = Gate(lambda names: ("messenger", "sender"), PostgresUserSessions(database, clock), NoMerchants())
    add_guarded(pb.DESCRIPTOR.services_by_name["UserService"], UserServicer(users), gate, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    stub = pb_grpc.UserServiceStub(channel)
    return Scene(
        database, clock, world, users, passwords, counters, metered, redis_url, server, channel, stub, belongings
    )


class refused:  # noqa: N801 - reads as pytest.raises does
    """`with refused("NOT_FOUND"):` the call is refused so. text: in its details."""

    def __init__(self, code: str, text: str = "") -> None:
        self._code = code
        self._text = text

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert isinstance(error, grpc.aio.AioRpcError), f"not refused: {error!r}"
        assert error.code().name == self._code, f"{error.code().name}: {error.details()}"
        assert self._text in (error.details() or "")
        return True


async def outcomes(*calls: Any) -> list[str]:
    """Of calls made at once: "OK" or the code of the refusal, sorted."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return sorted(each.code().name if isinstance(each, grpc.aio.AioRpcError) else "OK" for each in answers)
