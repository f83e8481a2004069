"""What risk control hears of people, as they really come and go; and nothing of it is a secret."""

from uuid import UUID

from people_scene import PASSWORD, Person, Scene, fresh_login, open_scene, refused
from signal_scene import Heard

from payswitch.v1 import user_pb2 as pb
from switch.ports.signals import SignalKind

KINDS = SignalKind


async def heard_scene(scene: Scene) -> tuple[Scene, Heard]:
    heard = Heard()
    return await open_scene(scene.database, scene.redis_url, scene.hsm.hsm, signals=heard), heard


async def test_a_life_of_an_account_is_heard(scene: Scene) -> None:
    scene, heard = await heard_scene(scene)
    person = await scene.person()
    await person.set_up_totp()
    device = await person.bind_device()
    change = pb.ChangePasswordRequest(current_password=PASSWORD, new_password="another horse battery")
    await person.call("ChangePassword", change)
    assert heard.kinds() == ["registered", "signed_in", "factor_changed", "device_added", "password_changed"]
    user_id = UUID(person.tokens.user_id)
    assert {each.user_id for each in heard.signals} == {user_id}
    assert {each.address for each in heard.signals} == {"127.0.0.1"}
    [added] = heard.of(KINDS.DEVICE_ADDED)
    assert added.device_id == UUID(device.id)
    text = repr(heard.signals)
    for secret in (person.login, PASSWORD, "another horse", person.secret, person.tokens.access_token, added.about):
        assert secret not in text
    await scene.close()


async def test_a_wrong_password_is_heard_of_an_account_and_of_nobodys_login(scene: Scene) -> None:
    scene, heard = await heard_scene(scene)
    person, nobody = await scene.person(), fresh_login()
    heard.signals.clear()
    for login in (person.login, nobody):
        for _ in range(2):
            with refused("UNAUTHENTICATED"):
                await scene.stub.LogIn(pb.LogInRequest(login=login, password="not the password"))
    assert heard.kinds() == ["login_failed"] * 4
    known, again, unknown, once_more = heard.signals
    assert (known.user_id, unknown.user_id) == (UUID(person.tokens.user_id), None)
    assert known.about == again.about
    assert unknown.about == once_more.about
    assert len({known.about, unknown.about}) == 2
    assert nobody.encode().hex() not in known.about + unknown.about
    await scene.close()


async def test_a_lock_and_a_wrong_second_factor_are_heard(scene: Scene) -> None:
    scene, heard = await heard_scene(scene)
    person = await scene.person()
    await person.set_up_totp()
    heard.signals.clear()
    ticket = (await person.log_in()).second_factor_needed.ticket
    with refused("UNAUTHENTICATED"):
        await person.finish(ticket, totp_code="000000")
    assert heard.kinds() == ["login_failed"]
    for _ in range(4):
        with refused("UNAUTHENTICATED"):
            await scene.stub.LogIn(pb.LogInRequest(login=person.login, password="not the password"))
    assert heard.kinds() == ["login_failed"] * 5 + ["login_locked"]
    await scene.close()


async def test_a_sign_in_says_its_device_and_whether_the_network_is_new(scene: Scene) -> None:
    scene, heard = await heard_scene(scene)
    person = await scene.person()
    device = await person.bind_device()
    await scene.database.execute(
        "UPDATE user_networks SET network_hash = decode(md5(user_id::text), 'hex') WHERE user_id = $1",
        UUID(person.tokens.user_id),
    )
    heard.signals.clear()
    await person.log_in(device_proof=device.proof("log-in", person.login, scene.clock.now_ms))
    await person.log_in()
    first, second = heard.of(KINDS.SIGNED_IN)
    assert (first.device_id, first.new_network) == (UUID(device.id), True)
    assert (second.device_id, second.new_network) == (None, False)
    await scene.close()


async def test_a_reset_and_a_token_used_twice_are_heard(scene: Scene) -> None:
    scene, heard = await heard_scene(scene)
    person = await scene.person()
    old = person.tokens
    tokens = (await scene.stub.Refresh(pb.RefreshRequest(refresh_token=old.refresh_token))).tokens
    await scene.stub.Refresh(pb.RefreshRequest(refresh_token=tokens.refresh_token))
    heard.signals.clear()
    with refused("UNAUTHENTICATED"):
        await scene.stub.Refresh(pb.RefreshRequest(refresh_token=old.refresh_token))
    assert heard.kinds() == ["token_reused"]
    scene.later(1_000)  # messages of one millisecond have no order
    reset = await scene.stub.RequestPasswordReset(pb.RequestPasswordResetRequest(login=person.login))
    code = await scene.code(person.login)
    await scene.stub.ResetPassword(
        pb.ResetPasswordRequest(reset_id=reset.reset_id, code=code, new_password="a third horse battery")
    )
    assert heard.kinds() == ["token_reused", "password_reset"]
    await scene.close()


async def test_a_false_passkey_is_heard(scene: Scene) -> None:
    scene, heard = await heard_scene(scene)
    person = await scene.person()
    await person.add_passkey()
    heard.signals.clear()
    begun = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    other: Person = await scene.person()
    await other.add_passkey()
    heard.signals.clear()
    answer = person.authenticator.get(begun.options_json)
    wrong = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    with refused("UNAUTHENTICATED"):
        await scene.stub.LogInWithPasskey(
            pb.LogInWithPasskeyRequest(ceremony_id=wrong.ceremony_id, passkey_json=answer)
        )
    [failed] = heard.signals
    assert (failed.kind, failed.user_id) == (KINDS.LOGIN_FAILED, UUID(person.tokens.user_id))
    await scene.close()
