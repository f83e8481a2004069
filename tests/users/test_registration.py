from collections import Counter

import pytest
from people_scene import PASSWORD, Scene, fresh_login, outcomes, refused

from payswitch.v1 import user_pb2 as pb


async def register(scene: Scene, login: str, password: str = PASSWORD) -> str:
    scene.later(1)  # messages of one millisecond have no order
    answer = await scene.stub.Register(pb.RegisterRequest(login=login, password=password))
    return answer.registration_id


def verify(scene: Scene, registration_id: str, code: str):
    return scene.stub.Verify(pb.VerifyRequest(registration_id=registration_id, code=code))


def other_code(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


@pytest.mark.parametrize(
    ("login", "password", "field"),
    [
        ("nobody", PASSWORD, "login"),
        ("a@b", PASSWORD, "login"),
        ("рay@example.com", PASSWORD, "login"),  # its first letter is Cyrillic
        ("a@example.com\n", PASSWORD, "login"),
        ("x" * 65 + "@example.com", PASSWORD, "login"),
        ("+0123456789", PASSWORD, "login"),
        ("+" + "1" * 16, PASSWORD, "login"),
        ("a@example.com", "seven77", "password"),
        ("a@example.com", "x" * 129, "password"),
        ("a@example.com", "x" * 100_000, "password"),
        ("a@example.com", "Password123", "password"),
        ("a@example.com", "abababab", "password"),
        ("a@example.com", "A@example.com", "password"),
        ("li.lei.li@example.com", "Li.Lei.Li", "password"),
        ("+8613800138000", "8613800138000", "password"),
        ("a@example.com", "tab\tin the middle", "password"),
    ],
)
async def test_what_cannot_be_registered(scene: Scene, login: str, password: str, field: str) -> None:
    with refused("INVALID_ARGUMENT", f"{field}: "):
        await register(scene, login, password)


async def test_a_login_is_one_in_every_spelling_and_a_password_in_every_composition(scene: Scene) -> None:
    login = fresh_login()
    registration_id = await register(scene, f" {login.upper()} ", "cafe\u0301 in the morning")
    await verify(scene, registration_id, await scene.code(login))
    answer = await scene.stub.LogIn(pb.LogInRequest(login=login, password="caf\u00e9 in the morning"))
    assert answer.tokens.access_token.startswith("payswitch_at_")
    assert answer.tokens.refresh_token.startswith("payswitch_rt_")


async def test_a_code_works_once_and_for_its_own_registration(scene: Scene) -> None:
    login, other = fresh_login(), fresh_login()
    registration_id, other_id = await register(scene, login), await register(scene, other)
    code, others = await scene.code(login), await scene.code(other)
    if code != others:
        with refused("UNAUTHENTICATED"):
            await verify(scene, other_id, code)
    for bad_id in ("", "0", registration_id.upper(), "00000000-0000-4000-8000-000000000000"):
        with refused("UNAUTHENTICATED"):
            await verify(scene, bad_id, code)
    with refused("UNAUTHENTICATED"):
        await scene.stub.ResetPassword(
            pb.ResetPasswordRequest(reset_id=registration_id, code=code, new_password="another password")
        )
    await verify(scene, registration_id, code)
    with refused("UNAUTHENTICATED"):
        await verify(scene, registration_id, code)


async def test_five_tries_and_ten_minutes(scene: Scene) -> None:
    login = fresh_login()
    guessed, late = await register(scene, login), await register(scene, login)
    codes = [each.code for each in await scene.messages(login)]
    for _ in range(5):
        with refused("UNAUTHENTICATED"):
            await verify(scene, guessed, other_code(codes[0]))
    with refused("UNAUTHENTICATED"):  # the right one, by now
        await verify(scene, guessed, codes[0])
    scene.later(10 * 60_000)
    with refused("UNAUTHENTICATED"):
        await verify(scene, late, codes[1])


async def test_of_two_who_use_one_code_one_has_an_account(scene: Scene) -> None:
    login = fresh_login()
    registration_id = await register(scene, login)
    code = await scene.code(login)
    assert await outcomes(*(verify(scene, registration_id, code) for _ in range(4))) == ["OK"] + 3 * ["UNAUTHENTICATED"]


async def test_of_two_registrations_of_one_login_one_becomes_an_account(scene: Scene) -> None:
    login = fresh_login()
    first, second = await register(scene, login), await register(scene, login, "the second password")
    codes = [each.code for each in await scene.messages(login)]
    assert await outcomes(verify(scene, first, codes[0]), verify(scene, second, codes[1])) == ["OK", "UNAUTHENTICATED"]


async def test_an_account_is_not_given_away(scene: Scene) -> None:
    """Register and reset answer alike and do alike, whether there is an account; its owner alone reads of it."""
    known, unknown = (await scene.person()).login, fresh_login()
    done = {}
    for login in (known, unknown):
        scene.later(1)
        scene.hsm.calls.clear()
        registered = await scene.stub.Register(pb.RegisterRequest(login=login, password="not the password"))
        scene.later(1)
        reset = await scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=login))
        lives_ms = [each.expires_time_ms - scene.clock.now_ms for each in (registered, reset)]
        done[login] = (Counter(scene.hsm.calls), lives_ms)
        with refused("UNAUTHENTICATED", "the code is not right"):
            await verify(scene, registered.registration_id, "000000")
        with refused("UNAUTHENTICATED", "the code is not right"):
            await scene.stub.ResetPassword(
                pb.ResetPasswordRequest(reset_id=reset.reset_id, code="000000", new_password="a new password")
            )
    assert done[known] == done[unknown]
    kinds = {login: [each.kind for each in await scene.messages(login)] for login in (known, unknown)}
    assert kinds[known][-2:] == [pb.MESSAGE_KIND_ALREADY_REGISTERED, pb.MESSAGE_KIND_RESET_CODE]
    assert kinds[unknown] == [pb.MESSAGE_KIND_REGISTRATION_CODE]
    assert [each.code for each in await scene.messages(known) if each.kind == pb.MESSAGE_KIND_ALREADY_REGISTERED] == [
        ""
    ]


async def test_a_guessed_code_takes_no_account_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the right code of a registration of a login that has an account."""
    person, made = await scene.person(), []
    code_hash = scene.world.seals.code_hash
    monkeypatch.setattr(scene.world.seals, "code_hash", lambda *args: made.append(args[1]) or code_hash(*args))
    registration_id = await register(scene, person.login, "the thief's password")
    with refused("UNAUTHENTICATED"):
        await verify(scene, registration_id, made[0])
    assert (await person.log_in()).HasField("tokens")


async def test_codes_are_few_for_one_login(scene: Scene) -> None:
    login = fresh_login()
    at_once = await outcomes(*(register(scene, login) for _ in range(8)))
    assert at_once == 5 * ["OK"] + 3 * ["RESOURCE_EXHAUSTED"]
    with refused("RESOURCE_EXHAUSTED"):  # for both kinds of code together
        await scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=login))
    scene.later(3_600_000)
    for _ in range(5):
        await register(scene, login)
    scene.later(3_600_000)
    with refused("RESOURCE_EXHAUSTED"):  # ten were sent in this day
        await register(scene, login)
    scene.later(22 * 3_600_000)
    await register(scene, login)


async def test_nothing_of_a_person_lies_clear_in_the_database(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    await person.bind_device()
    scene.later(1)
    await scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=person.login))
    secrets = [person.login, PASSWORD, person.secret, person.tokens.access_token, person.tokens.refresh_token]
    secrets += [each.replace("-", "") for each in person.recovery] + person.recovery
    tables = await scene.database.fetch(
        "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND (relname ~ '^user' OR relname = 'audit_trail')"
    )
    assert len(tables) == 14
    for table in tables:
        rows = await scene.database.fetch(f"SELECT * FROM {table['name']}")
        text = " ".join(str(value) for row in rows for value in row.values())
        assert [each for each in secrets if each in text] == [], table["name"]
