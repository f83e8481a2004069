"""A user who has lost every factor: two people, a wait, and whoever has not lost them can stop it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc.aio
import pytest
from people_scene import PASSWORD, Person, Scene, fresh_login, refused

from payswitch.v1 import user_pb2 as pb
from switch.api.user_service import UserServicer
from switch.domain.access import Caller, Role
from switch.domain.refusals import Invalid, Missing, NotPermitted, NotPossible

ANN, BOB = (Caller(f"reviewer/{name}", frozenset({Role.REVIEWER})) for name in ("ann", "bob"))
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


async def lost(scene: Scene) -> Person:
    """He had TOTP, a passkey, a device and a session."""
    person = await scene.person()
    await person.set_up_totp()
    await person.call("StepUp", pb.StepUpRequest(totp_code=person.totp()))
    await person.add_passkey()
    await person.bind_device()
    scene.later(60_000)
    return person


async def request(scene: Scene, person: Person, by: Caller = ANN, reason: str = "seen with passport") -> str:
    answer = await UserServicer(scene.users).RequestRescue(
        pb.RequestRescueRequest(login=person.login, reason=reason), by
    )
    return str(answer.rescue_id)


async def approve(scene: Scene, rescue_id: str, by: Caller = BOB) -> Any:
    return await UserServicer(scene.users).ApproveRescue(pb.ApproveRescueRequest(rescue_id=rescue_id), by)


async def complete(scene: Scene, rescue_id: str, by: Caller = ANN) -> None:
    await UserServicer(scene.users).CompleteRescue(pb.CompleteRescueRequest(rescue_id=rescue_id), by)


async def told(scene: Scene, person: Person) -> list[str]:
    kinds = [pb.AlertKind.Name(each.alert) for each in await scene.messages(person.login) if each.alert]
    return [kind.removeprefix("ALERT_KIND_") for kind in kinds if "RESCUE" in kind]


async def test_the_whole_way(scene: Scene) -> None:
    person = await lost(scene)
    rescue_id = await request(scene, person)
    assert await told(scene, person) == ["RESCUE_REQUESTED"]
    scene.later(1)  # messages of one millisecond have no order
    approved = await approve(scene, rescue_id)
    assert approved.from_time_ms == scene.clock.now_ms + 72 * HOUR_MS
    assert await told(scene, person) == ["RESCUE_REQUESTED", "RESCUE_APPROVED"]
    scene.later(72 * HOUR_MS - 1)
    with pytest.raises(NotPossible, match="wait"):
        await complete(scene, rescue_id)
    scene.later(1)
    await complete(scene, rescue_id)
    assert await told(scene, person) == ["RESCUE_REQUESTED", "RESCUE_APPROVED", "RESCUED"]
    await _all_is_void(scene, person)
    await _a_new_password_opens_it(scene, person)
    acts = await scene.database.fetch(
        "SELECT who, act, after FROM audit_trail WHERE subject = $1 AND act LIKE '%Rescue' ORDER BY id",
        f"user/{person.tokens.user_id}",
    )
    assert [(row["who"], row["act"].partition(".")[2]) for row in acts] == [
        ("reviewer/ann", "RequestRescue"), ("reviewer/bob", "ApproveRescue"), ("reviewer/ann", "CompleteRescue"),
    ]  # fmt: skip
    assert "seen with passport" in acts[0]["after"]


async def _all_is_void(scene: Scene, person: Person) -> None:
    with refused("UNAUTHENTICATED"):
        await person.call("GetProfile", pb.GetProfileRequest())
    with refused("UNAUTHENTICATED"):
        await scene.stub.Refresh(pb.RefreshRequest(refresh_token=person.tokens.refresh_token))
    with refused("UNAUTHENTICATED"):
        await person.log_in()  # the password as well: it may be what was stolen
    begun = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    with refused("UNAUTHENTICATED"):
        await scene.stub.LogInWithPasskey(
            pb.LogInWithPasskeyRequest(
                ceremony_id=begun.ceremony_id, passkey_json=person.authenticator.get(begun.options_json)
            )
        )


async def _a_new_password_opens_it(scene: Scene, person: Person) -> None:
    reset = await scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=person.login))
    code = await scene.code(person.login)
    await scene.stub.ResetPassword(
        pb.ResetPasswordRequest(reset_id=reset.reset_id, code=code, new_password="another battery horse")
    )
    person.password = "another battery horse"
    assert (await person.log_in()).HasField("tokens")
    profile = await person.call("GetProfile", pb.GetProfileRequest())
    assert (profile.totp, profile.passkeys, profile.recovery_codes_left) == (False, 0, 0)
    listed = await person.call("ListDevices", pb.ListDevicesRequest())
    assert [each.active for each in listed.devices] == [False]


async def test_one_person_is_not_two(scene: Scene) -> None:
    person = await lost(scene)
    rescue_id = await request(scene, person)
    for same in (ANN, Caller("operator/ann", frozenset({Role.REVIEWER}))):
        with pytest.raises(NotPermitted):
            await approve(scene, rescue_id, same)
    with pytest.raises(NotPossible):
        await complete(scene, rescue_id)  # not approved
    await approve(scene, rescue_id)
    with pytest.raises(NotPossible):
        await approve(scene, rescue_id)


async def test_the_user_stops_it(scene: Scene) -> None:
    person, other = await lost(scene), await lost(scene)
    rescue_id = await request(scene, person)
    with refused("NOT_FOUND"):
        await other.call("StopRescue", pb.StopRescueRequest(rescue_id=rescue_id))  # not of another's account
    await approve(scene, rescue_id)
    await person.call("StopRescue", pb.StopRescueRequest())
    scene.later(72 * HOUR_MS)
    with pytest.raises(NotPossible):
        await complete(scene, rescue_id)
    assert await request(scene, person) != rescue_id


async def test_a_reviewer_stops_it(scene: Scene) -> None:
    person = await lost(scene)
    rescue_id = await request(scene, person)
    servicer = UserServicer(scene.users)
    await servicer.StopRescue(pb.StopRescueRequest(rescue_id=rescue_id), ANN)
    with pytest.raises(NotPossible):
        await approve(scene, rescue_id)
    with pytest.raises(NotPossible):
        await servicer.StopRescue(pb.StopRescueRequest(rescue_id=rescue_id), ANN)


async def test_whoever_shows_a_second_factor_has_not_lost_them(scene: Scene) -> None:
    person = await lost(scene)
    rescue_id = await request(scene, person)
    await approve(scene, rescue_id)
    scene.later(60_000)
    ticket = (await person.log_in()).second_factor_needed.ticket
    await person.finish(ticket, totp_code=person.totp())
    scene.later(72 * HOUR_MS)
    with pytest.raises(NotPossible, match="second factor"):
        await complete(scene, rescue_id)
    assert (await person.log_in()).HasField("second_factor_needed")


async def test_that_he_showed_one_is_not_swept_away_with_his_session(scene: Scene) -> None:
    """Sessions may be short, and the wait long."""
    person = await lost(scene)
    rescue_id = await request(scene, person)
    await approve(scene, rescue_id)
    scene.later(60_000)
    ticket = (await person.log_in()).second_factor_needed.ticket
    await person.finish(ticket, totp_code=person.totp())
    await scene.database.execute(
        "UPDATE user_sessions SET refresh_expires_time_ms = $1 WHERE user_id = $2",
        scene.clock.now_ms, UUID(person.tokens.user_id),
    )  # fmt: skip
    scene.later(72 * HOUR_MS)
    await scene.world.stores.notices.sweep(scene.clock.now_ms, 100_000)
    with pytest.raises(NotPossible, match="second factor"):
        await complete(scene, rescue_id)
    scene.later(20 * DAY_MS)  # the rescue is over, and holds nothing any more
    await scene.world.stores.notices.sweep(scene.clock.now_ms, 100_000)
    left = await scene.database.fetchval(
        "SELECT count(*) FROM user_sessions WHERE user_id = $1", UUID(person.tokens.user_id)
    )
    assert left == 0


async def test_what_nobody_goes_on_with_expires(scene: Scene) -> None:
    person = await lost(scene)
    rescue_id = await request(scene, person)
    scene.later(7 * DAY_MS)
    with pytest.raises(NotPossible):
        await approve(scene, rescue_id)
    again = await request(scene, person)  # an expired one is in nobody's way
    await approve(scene, again)
    scene.later(72 * HOUR_MS + 7 * DAY_MS)
    with pytest.raises(NotPossible):
        await complete(scene, again)


async def test_of_two_requests_at_once_one_is_made(scene: Scene) -> None:
    person = await lost(scene)
    made = await asyncio.gather(*(request(scene, person) for _ in range(4)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in made) == ["NotPossible"] * 3 + ["str"]


async def test_bad_requests(scene: Scene) -> None:
    person = await lost(scene)
    for reason in ("", " ", "x" * 201, "a\nb"):
        with pytest.raises(Invalid, match="reason"):
            await request(scene, person, reason=reason)
    for rescue_id in ("", "x", str(uuid4())):
        with pytest.raises(Missing):
            await approve(scene, rescue_id)
    nobody = Person(scene, fresh_login(), PASSWORD)
    with pytest.raises(Missing):
        await request(scene, nobody)
    without = await scene.person()
    with pytest.raises(NotPossible, match="no second factor"):
        await request(scene, without)
    with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
        await person.call("RequestRescue", pb.RequestRescueRequest(login=person.login, reason="me"))
