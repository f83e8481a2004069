from people_scene import Scene

from payswitch.v1 import user_pb2 as pb


async def test_a_person_registers_with_totp_and_a_passkey_and_comes_back(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    assert len(person.recovery) == 10
    await person.add_passkey()
    device = await person.bind_device()
    profile = await person.call("GetProfile", pb.GetProfileRequest())
    assert (profile.login, profile.totp, profile.passkeys, profile.recovery_codes_left) == (person.login, True, 1, 10)

    needed = (await person.log_in(client_name="Pixel 9")).second_factor_needed
    assert needed.totp
    await person.finish(needed.ticket, totp_code=person.totp())
    begun = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    answer = await scene.stub.LogInWithPasskey(
        pb.LogInWithPasskeyRequest(
            ceremony_id=begun.ceremony_id, passkey_json=person.authenticator.get(begun.options_json)
        )
    )
    assert answer.tokens.user_id == person.tokens.user_id
    person.tokens = answer.tokens
    sessions = (await person.call("ListSessions", pb.ListSessionsRequest())).sessions
    assert len(sessions) == 3
    assert [each.current for each in sessions].count(True) == 1
    assert {each.device_id for each in sessions} == {"", device.id}
    assert await scene.audit(person.tokens.user_id) == ["Verify", "ActivateTotp", "AddPasskey", "BindDevice"]
