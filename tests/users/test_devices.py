from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from people_scene import BoundDevice, Scene, refused

from payswitch.v1 import user_pb2 as pb
from switch.users.proofs import DeviceProof, binding_text


def der(key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def test_a_device_is_bound_named_found_and_revoked_with_its_sessions(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    user_id = UUID(person.tokens.user_id)
    device = await person.bind_device()
    of_device = person.tokens
    await person.call("RenameDevice", pb.RenameDeviceRequest(device_id=device.id, name="old phone"))
    named = [(user_id, UUID(device.id)), (uuid4(), UUID(device.id)), (user_id, uuid4()), (user_id, UUID(device.id))]
    found = await scene.world.stores.devices.devices(named)
    assert [each and (each.name, each.active, each.public_key) for each in found] == [
        ("old phone", True, device.public_key), None, None, ("old phone", True, device.public_key)
    ]  # fmt: skip
    assert await scene.world.stores.devices.devices([]) == []
    proof = device.proof("log-in", person.login, scene.clock.now_ms)
    second = (await person.log_in(device_proof=proof)).tokens
    free = (await person.log_in()).tokens
    for request in (pb.RevokeDeviceRequest(device_id=device.id), pb.RevokeDeviceRequest(device_id="x")):
        with refused("NOT_FOUND"):
            await stranger.call("RevokeDevice", request)
    await person.call("RevokeDevice", pb.RevokeDeviceRequest(device_id=device.id))
    session = scene.world.stores.sessions.session
    assert [await session(each.access_token) is None for each in (of_device, second, free)] == [True, True, False]
    with refused("NOT_FOUND"):
        await person.call("RevokeDevice", pb.RevokeDeviceRequest(device_id=device.id))
    with refused("NOT_FOUND"):
        await person.call("RenameDevice", pb.RenameDeviceRequest(device_id=device.id, name="again"))
    with refused("UNAUTHENTICATED"):
        await person.log_in(device_proof=device.proof("log-in", person.login, scene.clock.now_ms))
    [listed] = (await person.call("ListDevices", pb.ListDevicesRequest())).devices
    assert (listed.id, listed.active) == (device.id, False)
    assert await scene.audit(person.tokens.user_id) == ["Verify", "BindDevice", "RenameDevice", "RevokeDevice"]


async def test_a_device_that_is_known_raises_no_alert_of_its_network(scene: Scene) -> None:
    person = await scene.person()
    device = await person.bind_device()
    proof = device.proof("log-in", person.login, scene.clock.now_ms)
    given = DeviceProof(UUID(device.id), proof.time_ms, proof.signature)
    await scene.users.sign_in.log_in(person.login, person.password, "", given, "198.51.100.7")
    assert "NEW_NETWORK" not in await person.alerts()
    assert "DEVICE_BOUND" in await person.alerts()


def beside_the_curve() -> bytes:
    *point, last = der(ec.generate_private_key(ec.SECP256R1()))
    return bytes((*point, last ^ 1))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00" * 91, id="zeros"),
        pytest.param(b"\x30" * 300, id="too long"),
        pytest.param(der(ec.generate_private_key(ec.SECP384R1())), id="P-384"),
        pytest.param(der(rsa.generate_private_key(65537, 2048)), id="RSA"),
        pytest.param(beside_the_curve(), id="beside the curve"),
    ],
)
async def test_only_a_p256_key_is_bound(scene: Scene, key: bytes) -> None:
    person = await scene.person()
    begun = await person.call("BeginDevice", pb.BeginDeviceRequest())
    request = pb.BindDeviceRequest(ceremony_id=begun.ceremony_id, name="x", public_key=key, signature=b"x")
    with refused("INVALID_ARGUMENT", "public_key"):
        await person.call("BindDevice", request)


async def test_a_binding_is_for_its_challenge_user_session_and_key(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    user_id, device = UUID(person.tokens.user_id), BoundDevice()

    async def bind(
        signed_for: UUID, *, who=person, ceremony: str = "", key: bytes = b"", attestation: bytes = b""
    ) -> None:
        begun = await person.call("BeginDevice", pb.BeginDeviceRequest())
        signature = device.sign(binding_text(begun.challenge, signed_for, key or device.public_key))
        request = pb.BindDeviceRequest(
            ceremony_id=ceremony or begun.ceremony_id, name="phone", public_key=device.public_key,
            signature=signature, attestation=attestation,
        )  # fmt: skip
        await who.call("BindDevice", request)

    with refused("UNAUTHENTICATED"):
        await bind(UUID(stranger.tokens.user_id))
    with refused("UNAUTHENTICATED"):
        await bind(user_id, key=BoundDevice().public_key)
    with refused("UNAUTHENTICATED"):
        await bind(user_id, who=stranger)
    with refused("UNAUTHENTICATED"):
        await bind(user_id, ceremony=str(uuid4()))
    with refused("INVALID_ARGUMENT", "attestation"):
        await bind(user_id, attestation=bytes(8193))
    await bind(user_id, attestation=bytes(8192))
    scene.later(5 * 60_000)
    with refused("PERMISSION_DENIED", "step-up needed"):
        await bind(user_id)


async def test_devices_are_few(scene: Scene) -> None:
    person = await scene.person()
    devices = [await person.bind_device() for _ in range(10)]
    with refused("FAILED_PRECONDITION"):
        await person.bind_device()
    await person.call("RevokeDevice", pb.RevokeDeviceRequest(device_id=devices[0].id))
    await person.bind_device()


async def test_a_device_is_not_hidden_by_those_that_were_revoked(scene: Scene) -> None:
    """Whoever had the account for a while leaves no device behind that its owner neither sees nor revokes."""
    person = await scene.person()
    oldest = await person.bind_device()
    await scene.database.execute(
        "INSERT INTO user_devices (user_id, device_id, name, public_key, attestation, created_time_ms, revoked_time_ms)"
        " SELECT $1, gen_random_uuid(), 'old', '', '', $2::bigint + n, 1 FROM generate_series(1, 120) AS n",
        UUID(person.tokens.user_id),
        scene.clock.time_ms(),
    )
    listed = (await person.call("ListDevices", pb.ListDevicesRequest())).devices
    assert [each.id for each in listed if each.active] == [oldest.id]
    await person.call("RevokeDevice", pb.RevokeDeviceRequest(device_id=oldest.id))
    [device] = await scene.world.stores.devices.devices([(UUID(person.tokens.user_id), UUID(oldest.id))])
    assert device is not None
    assert not device.active
