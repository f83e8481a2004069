"""The gate on a real TLS listener: certificates, tokens and credentials as callers really show them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from guarded_door import Door, listener_credentials

from payswitch.v1 import merchant_pb2 as pb
from switch.api.gate import Gate, ip_of
from switch.api.guarded import add_guarded
from switch.api.identity import Doorkeeper
from switch.domain.access import CREDENTIAL_PREFIX, Caller, Credential, Role, Session
from switch.pki import Authority, Pair, participant_of
from switch.ports import StoreUnavailable

USER, SESSION = UUID(int=1), UUID(int=2)
SERVICE = pb.DESCRIPTOR.services_by_name["MerchantService"]


class OldDoor:
    """How the services of participants are guarded."""

    def __init__(self) -> None:
        self._doorkeeper = Doorkeeper(participant_of)

    async def ReviewApplication(self, request: Any, context: Any) -> Any:
        await self._doorkeeper.admit(context, "reviewer")
        return pb.ReviewApplicationResponse()


class Recording:
    """Serves every method with an empty answer, and keeps who called."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        for method in SERVICE.methods:
            setattr(self, method.name, self._method(getattr(pb, method.output_type.name)))

    def _method(self, response: Callable[[], Any]) -> Any:
        async def called(request: Any, caller: Caller) -> Any:
            self.callers.append(caller)
            return response()

        return called


@dataclass
class Doubles:
    """The user service's and the merchant service's part."""

    roles: dict[tuple[str, UUID], Role] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    down: bool = False

    async def session(self, token: str) -> Session | None:
        if self.down:
            raise StoreUnavailable("down")
        return Session(SESSION, USER, token == "stepped-up") if token in ("fresh", "stepped-up") else None

    async def role_of(self, merchant_id: str, user_id: UUID) -> Role | None:
        return self.roles.get((merchant_id, user_id))

    async def credential(self, secret: str) -> Credential | None:
        if secret != CREDENTIAL_PREFIX + "good":
            return None
        return Credential("M1-1", "M1", Role.MERCHANT_MANAGER, self.networks)


@dataclass
class WatchedDoor(Door):
    doubles: Doubles
    served: Recording


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def door(authority: Authority) -> AsyncIterator[WatchedDoor]:
    doubles, served = Doubles(), Recording()
    server = grpc.aio.server()
    add_guarded(SERVICE, served, Gate(participant_of, doubles, doubles), server)
    port = server.add_secure_port("127.0.0.1:0", listener_credentials(authority))
    await server.start()
    yield WatchedDoor(authority, port, doubles, served)
    await server.stop(0)


def named_by_common_name(authority: Authority, folder: Path, name: str) -> Pair:
    """Signed by the authority, but without an alternative name."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    issuer_key = serialization.load_pem_private_key((authority.certificate.parent / "ca.key").read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .sign(issuer_key, hashes.SHA256())
    )
    pair = Pair(folder / "named.pem", folder / "named.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED, INVALID = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT


async def test_a_certificate_names_its_role_and_person(door: WatchedDoor, authority: Authority) -> None:
    reviewer = authority.participant("reviewer", "ann")
    review = pb.ReviewApplicationRequest(merchant_id="M1")
    assert (await door.call("ReviewApplication", review, reviewer))[0] is OK
    [caller] = door.served.callers
    assert (caller.name, caller.person, caller.roles) == ("reviewer/ann", "ann", frozenset({Role.REVIEWER}))
    assert (ip_of(caller.address), caller.user_id, caller.merchant_id) == ("127.0.0.1", None, "")
    for role in ("acquirer", "issuer", "operator", "finance", "platform"):
        pair = authority.participant(role, "eve")
        assert (await door.call("ReviewApplication", review, pair))[0] is DENIED, role
    assert len(door.served.callers) == 1


async def test_a_common_name_is_no_participant(door: WatchedDoor, authority: Authority, tmp_path: Path) -> None:
    pair = named_by_common_name(authority, tmp_path, "payswitch://reviewer/eve")
    code, text = await door.call("ReviewApplication", pb.ReviewApplicationRequest(merchant_id="M1"), pair)
    assert (code, text) == (UNAUTHENTICATED, "show a client certificate, an access token or an API credential")


async def test_nor_is_it_at_the_participants_own_services(authority: Authority, tmp_path: Path) -> None:
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        OldDoor().ReviewApplication,
        pb.ReviewApplicationRequest.FromString,
        pb.ReviewApplicationResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE.full_name, {"ReviewApplication": handler}),)
    )
    port = server.add_secure_port("127.0.0.1:0", listener_credentials(authority))
    await server.start()
    door = Door(authority, port)
    request = pb.ReviewApplicationRequest(merchant_id="M1")
    named = named_by_common_name(authority, tmp_path, "payswitch://reviewer/eve")
    assert (await door.call("ReviewApplication", request, named))[0] is UNAUTHENTICATED
    assert (await door.call("ReviewApplication", request, authority.participant("reviewer", "ann")))[0] is OK
    await server.stop(0)


async def test_a_users_roles_are_those_at_the_merchant_that_the_request_names(
    door: WatchedDoor, authority: Authority
) -> None:
    pair = authority.participant("acquirer", "app")
    door.doubles.roles = {("M1", USER): Role.MERCHANT_MANAGER}

    async def stores(merchant_id: str, bearer: str = "fresh", header: str = "Bearer ") -> grpc.StatusCode:
        request = pb.AddStoreRequest(merchant_id=merchant_id)
        return (await door.call("AddStore", request, pair, bearer, header))[0]

    assert await stores("M1") is OK
    assert await stores("M1", header="bearer  ") is OK
    caller = door.served.callers[-1]
    assert (caller.name, caller.merchant_id, caller.user_id, caller.session_id) == (f"user/{USER}", "M1", USER, SESSION)
    assert caller.roles == frozenset({Role.MERCHANT_MANAGER})
    assert await stores("M2") is DENIED
    assert await stores("") is DENIED
    assert await stores("M1", "expired") is UNAUTHENTICATED  # not: as the acquirer of the certificate
    assert await stores("M1", "fresh", "Basic ") is OK  # that one is the acquirer
    assert door.served.callers[-1].name == "acquirer/app"


async def test_a_sensitive_act_needs_the_second_factor_of_late(door: WatchedDoor, authority: Authority) -> None:
    pair = authority.participant("operator", "edge")
    door.doubles.roles = {("M1", USER): Role.MERCHANT_OWNER}
    request = pb.CreateApiCredentialRequest(merchant_id="M1")
    assert await door.call("CreateApiCredential", request, pair, "fresh") == (DENIED, "step-up needed")
    assert (await door.call("CreateApiCredential", request, pair, "stepped-up"))[0] is OK
    # Who may not at all is not asked for a factor.
    door.doubles.roles = {("M1", USER): Role.MERCHANT_CASHIER}
    assert "step-up" not in (await door.call("CreateApiCredential", request, pair, "fresh"))[1]


async def test_a_credential_acts_for_its_merchant_from_its_networks(door: WatchedDoor, authority: Authority) -> None:
    pair = authority.participant("operator", "edge")

    async def stores(merchant_id: str, secret: str = CREDENTIAL_PREFIX + "good") -> tuple[grpc.StatusCode, str]:
        return await door.call("ListStores", pb.ListStoresRequest(merchant_id=merchant_id), pair, secret)

    assert (await stores("M1"))[0] is OK
    caller = door.served.callers[-1]
    assert (caller.name, caller.merchant_id, caller.user_id) == ("credential/M1-1", "M1", None)
    assert caller.roles == frozenset({Role.MERCHANT_MANAGER})
    for merchant_id in ("M2", "", "m1"):
        assert await stores(merchant_id) == (DENIED, "the API credential is another merchant's")
    assert (await stores("M1", CREDENTIAL_PREFIX + "bad"))[0] is UNAUTHENTICATED
    door.doubles.networks = ("127.0.0.0/8",)
    assert (await stores("M1"))[0] is OK
    door.doubles.networks = ("10.0.0.0/8", "::/0")
    assert await stores("M1") == (DENIED, "the API credential may not be used from this address")
    # Of a call that asks for a person it is none, and the role above its own it does not have.
    request = pb.ListMembershipsRequest()
    door.doubles.networks = ()
    assert (await door.call("ListMemberships", request, pair, CREDENTIAL_PREFIX + "good"))[0] is DENIED


async def test_an_outage_is_no_refusal(door: WatchedDoor, authority: Authority) -> None:
    door.doubles.down = True
    pair = authority.participant("acquirer", "app")
    code, text = await door.call("ListMemberships", pb.ListMembershipsRequest(), pair, "fresh")
    assert (code, text) == (grpc.StatusCode.UNAVAILABLE, "the database is not available")


async def test_without_a_certificate_of_the_authority_there_is_no_connection(door: WatchedDoor, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other").participant("reviewer", "ann")
    code, _ = await door.call("ReviewApplication", pb.ReviewApplicationRequest(merchant_id="M1"), stranger)
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_where_no_certificate_is_asked_for_none_counts(authority: Authority) -> None:
    doubles, served = Doubles(), Recording()
    server = grpc.aio.server()
    add_guarded(SERVICE, served, Gate(participant_of, doubles, doubles), server)
    own, pair = authority.server(), authority.participant("reviewer", "ann")
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([(own.private_key.read_bytes(), own.certificate.read_bytes())]),
    )
    await server.start()
    credentials = grpc.ssl_channel_credentials(
        authority.certificate.read_bytes(), pair.private_key.read_bytes(), pair.certificate.read_bytes()
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        for method in SERVICE.methods:
            call = channel.unary_unary(f"/{SERVICE.full_name}/{method.name}")
            for data, expected in ((b"", UNAUTHENTICATED), (b"\xff\xff", INVALID)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(data)
                assert caught.value.code() is expected
    await server.stop(0)
    assert not served.callers
