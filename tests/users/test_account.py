import asyncio
from uuid import UUID

import pytest
from people_scene import Person, Scene, outcomes, refused

from payswitch.v1 import user_pb2 as pb
from switch.domain.refusals import NotPossible, NotProved
from switch.users.session_book import Client

NEW = "an entirely new one"


def change(person: Person, current: str = "", new: str = NEW):
    return person.call("ChangePassword", pb.ChangePasswordRequest(current_password=current, new_password=new))


async def reset_id_of(scene: Scene, person: Person) -> tuple[str, str]:
    scene.later(1)
    answer = await scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=person.login))
    return answer.reset_id, await scene.code(person.login)


def reset(scene: Scene, reset_id: str, code: str, **factor: str):
    return scene.stub.ResetPassword(pb.ResetPasswordRequest(reset_id=reset_id, code=code, new_password=NEW, **factor))


async def test_a_new_password_ends_the_other_sessions(scene: Scene) -> None:
    person = await scene.person()
    other = person.tokens
    await person.log_in()
    with refused("INVALID_ARGUMENT", "current_password"):
        await change(person)
    with refused("UNAUTHENTICATED"):
        await change(person, "not the password")
    with refused("INVALID_ARGUMENT", "new_password"):
        await change(person, person.password, person.login)
    await change(person, person.password)
    assert await scene.world.stores.sessions.session(other.access_token) is None
    assert "PASSWORD_CHANGED" in await person.alerts()
    with refused("UNAUTHENTICATED"):
        await person.log_in()
    person.password = NEW
    await person.log_in()


async def test_of_two_changes_at_once_one_is_made(scene: Scene) -> None:
    person = await scene.person()
    answers = await outcomes(*(change(person, person.password, f"the new one, {each}") for each in "abcd"))
    assert answers.count("OK") == 1


async def test_no_session_of_the_old_password_outlives_it(scene: Scene) -> None:
    """A log-in that found the old password right, and opens its session after the change."""
    person = await scene.person()
    account = await scene.world.stores.accounts.get(UUID(person.tokens.user_id))
    assert account is not None
    await change(person, person.password)

    with pytest.raises(NotProved):
        await scene.users.book.open(account, Client("192.0.2.1"), password=True, second_factor=False)


async def test_a_forgotten_password_is_reset_by_the_code(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    reset_id, code = await reset_id_of(scene, person)
    other_id, other_code = await reset_id_of(scene, stranger)
    with refused("UNAUTHENTICATED"):
        await scene.stub.Verify(pb.VerifyRequest(registration_id=reset_id, code=code))
    if code != other_code:
        with refused("UNAUTHENTICATED"):
            await reset(scene, other_id, code)
    assert await outcomes(*(reset(scene, reset_id, code) for _ in range(3))) == ["OK"] + 2 * ["UNAUTHENTICATED"]
    assert await scene.world.stores.sessions.session(person.tokens.access_token) is None
    person.password = NEW
    await person.log_in()
    assert "PASSWORD_RESET" in await person.alerts()
    late_id, late = await reset_id_of(scene, person)
    scene.later(10 * 60_000)
    with refused("UNAUTHENTICATED"):
        await reset(scene, late_id, late)


async def test_a_reset_needs_the_second_factor_and_opens_a_lock(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    reset_id, code = await reset_id_of(scene, person)
    with refused("FAILED_PRECONDITION", "a second factor is needed"):
        await reset(scene, reset_id, code)
    with refused("UNAUTHENTICATED"):
        await reset(scene, reset_id, code, totp_code="12345")
    await reset(scene, reset_id, code, recovery_code=person.recovery[0])
    person.password = NEW
    needed = (await person.log_in()).second_factor_needed
    await person.finish(needed.ticket, totp_code=person.totp())
    assert {"PASSWORD_RESET", "RECOVERY_CODE_USED"} <= set(await person.alerts())


async def test_an_account_that_is_deleted_is_gone(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    await person.add_passkey()
    await person.bind_device()
    user_id = UUID(person.tokens.user_id)
    reset_id, code = await reset_id_of(scene, person)
    needed = (await person.log_in()).second_factor_needed
    await person.call("DeleteAccount", pb.DeleteAccountRequest())

    assert await scene.world.stores.sessions.session(person.tokens.access_token) is None
    for attempt in (
        person.log_in(),
        person.finish(needed.ticket, totp_code=person.totp()),
        reset(scene, reset_id, code, recovery_code=person.recovery[0]),
        scene.stub.Refresh(pb.RefreshRequest(refresh_token=person.tokens.refresh_token)),
    ):
        with refused("UNAUTHENTICATED"):
            await attempt
    left = await scene.database.fetchrow("SELECT * FROM users WHERE user_id = $1", user_id)
    assert (left["state"], left["login_hash"], left["login_sealed"], left["password_hash"]) == (2, b"", b"", "")
    for table in ("sessions", "passkeys", "devices", "recovery_codes", "alerts", "networks"):
        assert await scene.database.fetch(f"SELECT 1 FROM user_{table} WHERE user_id = $1", user_id) == []
    assert (await scene.audit(str(user_id)))[-1] == "DeleteAccount"  # what happened stays told, of nobody by name

    scene.later(1)
    again = await scene.stub.Register(pb.RegisterRequest(login=person.login, password=person.password))
    made = await scene.stub.Verify(
        pb.VerifyRequest(registration_id=again.registration_id, code=await scene.code(person.login))
    )
    assert made.user_id != str(user_id)


class Belonging:
    def __init__(self) -> None:
        self.given_up: list[tuple[str, UUID]] = []
        self.refuses = False

    async def give_up(self, who: str, user_id: UUID) -> None:
        if self.refuses:
            raise NotPossible("only owner of merchant M1")
        self.given_up.append((who, user_id))


async def test_what_others_keep_of_a_user_goes_first_or_nothing_does(scene: Scene) -> None:
    person, first, second = await scene.person(), Belonging(), Belonging()
    first.refuses = True
    scene.belongings[:] = [first, second]
    try:
        with refused("FAILED_PRECONDITION", "only owner of merchant M1"):
            await person.call("DeleteAccount", pb.DeleteAccountRequest())
        assert second.given_up == []
        await person.call("GetProfile", pb.GetProfileRequest())
        first.refuses = False
        await person.call("DeleteAccount", pb.DeleteAccountRequest())
        user_id = UUID(person.tokens.user_id)
        assert first.given_up == second.given_up == [(f"user/{user_id}", user_id)]
    finally:
        scene.belongings.clear()


async def test_the_audit_trail_tells_no_secret(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    await person.add_passkey()
    await change(person)
    rows = await scene.database.fetch(
        "SELECT before || after AS told FROM audit_trail WHERE who = $1", f"user/{person.tokens.user_id}"
    )
    assert sorted(row["told"] for row in rows) == [
        '{"totp":false}{"totp":true}',
        '{}{"login":"email","state":"open"}',
        '{}{"name":"phone"}',
        '{}{"other_sessions":"ended","password":"changed"}',
    ]


async def test_calls_of_one_who_is_deleted_meanwhile_are_refused(scene: Scene) -> None:
    person = await scene.person()
    answers = await asyncio.gather(
        person.call("DeleteAccount", pb.DeleteAccountRequest()),
        *(person.call("GetProfile", pb.GetProfileRequest()) for _ in range(4)),
        return_exceptions=True,
    )
    codes = {each.code().name for each in answers if isinstance(each, Exception)}  # type: ignore[attr-defined]
    assert codes <= {"UNAUTHENTICATED"}
