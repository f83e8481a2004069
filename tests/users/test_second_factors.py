import pyotp
import pytest
from people_scene import ORIGIN, Person, Scene, outcomes, refused

from payswitch.v1 import user_pb2 as pb
from switch.demo.authenticator import Lies, SoftwareAuthenticator, encoded


async def ticket_of(person: Person) -> str:
    return (await person.log_in()).second_factor_needed.ticket


# --- TOTP -------------------------------------------------------------------------------------------------------------


async def test_a_code_is_accepted_once_and_none_before_it_again(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    code, before = person.totp(), pyotp.TOTP(person.secret).generate_otp(scene.clock.now_ms // 30_000 - 1)
    await person.finish(await ticket_of(person), totp_code=code)
    for used in (code, before):
        with refused("UNAUTHENTICATED"):
            await person.finish(await ticket_of(person), totp_code=used)
    scene.later(30_000)
    with refused("UNAUTHENTICATED"):  # still within the skew, and used
        await person.finish(await ticket_of(person), totp_code=code)
    await person.finish(await ticket_of(person), totp_code=person.totp())


async def test_of_two_log_ins_with_one_code_one_is_refused(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    tickets, code = [await ticket_of(person) for _ in range(4)], person.totp()
    answers = await outcomes(*(person.finish(each, totp_code=code) for each in tickets))
    assert answers == ["OK"] + 3 * ["UNAUTHENTICATED"]


@pytest.mark.parametrize(("step", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
async def test_one_step_of_skew(scene: Scene, step: int, accepted: bool) -> None:
    person = await scene.person()
    await person.set_up_totp()
    scene.later(300_000)
    code = pyotp.TOTP(person.secret).generate_otp(scene.clock.now_ms // 30_000 + step)
    ticket = await ticket_of(person)
    if accepted:
        await person.finish(ticket, totp_code=code)
    else:
        with refused("UNAUTHENTICATED"):
            await person.finish(ticket, totp_code=code)


async def test_what_is_no_code_is_refused(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    ticket = await ticket_of(person)
    for code in ("", "12345", "1234567", "١٢٣٤٥٦"):
        with refused("UNAUTHENTICATED"):
            await person.finish(ticket, totp_code=code)
    with refused("INVALID_ARGUMENT", "second_factor"):
        await person.finish(ticket)


async def test_a_secret_counts_from_its_first_code_on_and_not_for_ever(scene: Scene) -> None:
    person = await scene.person()
    with refused("FAILED_PRECONDITION"):
        await person.call("ActivateTotp", pb.ActivateTotpRequest(code="123456"))
    enrolled = await person.call("EnrollTotp", pb.EnrollTotpRequest())
    parsed = pyotp.parse_uri(enrolled.otpauth_uri)
    assert (parsed.secret, parsed.name, parsed.issuer) == (enrolled.secret, person.login, "payswitch")
    assert (await person.log_in()).HasField("tokens")  # not yet
    scene.later(15 * 60_000)
    await person.log_in()
    with refused("FAILED_PRECONDITION"):
        code = pyotp.TOTP(enrolled.secret).generate_otp(scene.clock.now_ms // 30_000)
        await person.call("ActivateTotp", pb.ActivateTotpRequest(code=code))


async def test_the_old_secret_stays_until_the_new_one_is_shown(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    new = await person.call("EnrollTotp", pb.EnrollTotpRequest())
    await person.finish(await ticket_of(person), totp_code=person.totp())
    person.secret = new.secret
    with refused("UNAUTHENTICATED"):
        await person.finish(await ticket_of(person), totp_code=person.totp())
    answer = await person.call("ActivateTotp", pb.ActivateTotpRequest(code=person.totp()))
    assert list(answer.recovery_codes) == []  # he has some


async def test_a_ticket_is_good_for_five_minutes_five_tries_and_one_password(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    late, tried, changed = [await ticket_of(person) for _ in range(3)]
    for broken in ("", "zz", tried[:-1], tried[:-2] + ("00" if tried[-2:] != "00" else "11"), "é" * 48):
        with refused("UNAUTHENTICATED"):
            await person.finish(broken, totp_code=person.totp())
    session = person.tokens
    await person.call("ChangePassword", pb.ChangePasswordRequest(new_password="an entirely new one"), session)
    with refused("UNAUTHENTICATED"):
        await person.finish(changed, totp_code=person.totp())
    scene.later(5 * 60_000)
    with refused("UNAUTHENTICATED"):
        await person.finish(late, totp_code=person.totp())


async def test_a_ticket_takes_five_tries(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    ticket = await ticket_of(person)
    for _ in range(5):
        with refused("UNAUTHENTICATED"):
            await person.finish(ticket, totp_code="12345")
    scene.later(30_000)  # the lock that this made
    with refused("UNAUTHENTICATED", "the ticket is not valid"):
        await person.finish(ticket, totp_code=person.totp())


# --- recovery codes ---------------------------------------------------------------------------------------------------


async def test_a_recovery_code_works_once_and_is_told(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    code = person.recovery[3]
    tickets = [await ticket_of(person) for _ in range(3)]
    written = code.lower().replace("-", " ")
    answers = await outcomes(*(person.finish(each, recovery_code=written) for each in tickets))
    assert answers == ["OK", "UNAUTHENTICATED", "UNAUTHENTICATED"]
    assert (await person.alerts()).count("RECOVERY_CODE_USED") == 1
    assert (await person.call("GetProfile", pb.GetProfileRequest())).recovery_codes_left == 9
    stranger = await scene.person()
    await stranger.set_up_totp()
    with refused("UNAUTHENTICATED"):
        await stranger.finish(await ticket_of(stranger), recovery_code=person.recovery[4])


async def test_new_recovery_codes_make_the_old_ones_void(scene: Scene) -> None:
    person = await scene.person()
    with refused("FAILED_PRECONDITION"):
        await person.call("RegenerateRecoveryCodes", pb.RegenerateRecoveryCodesRequest())
    await person.set_up_totp()
    new = (await person.call("RegenerateRecoveryCodes", pb.RegenerateRecoveryCodesRequest())).recovery_codes
    assert len({*new, *person.recovery}) == 20
    ticket = await ticket_of(person)
    with refused("UNAUTHENTICATED"):
        await person.finish(ticket, recovery_code=person.recovery[0])
    await person.finish(ticket, recovery_code=new[0])


# --- step-up ----------------------------------------------------------------------------------------------------------


async def test_what_is_sensitive_needs_a_fresh_second_factor(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    await person.add_passkey()
    scene.later(5 * 60_000)
    sensitive = [
        ("EnrollTotp", pb.EnrollTotpRequest()),
        ("DisableTotp", pb.DisableTotpRequest()),
        ("BeginPasskey", pb.BeginPasskeyRequest()),
        ("RegenerateRecoveryCodes", pb.RegenerateRecoveryCodesRequest()),
        ("ChangePassword", pb.ChangePasswordRequest(current_password=person.password, new_password="a new one here")),
        ("DeleteAccount", pb.DeleteAccountRequest()),
    ]
    for name, request in sensitive:
        with refused("PERMISSION_DENIED", "step-up needed"):
            await person.call(name, request)
    with refused("FAILED_PRECONDITION"):  # a password is no second factor
        await person.call("StepUp", pb.StepUpRequest(password=person.password))
    with refused("UNAUTHENTICATED"):
        await person.call("StepUp", pb.StepUpRequest(totp_code="12345"))
    store = scene.world.stores.sessions
    assert not (await store.session(person.tokens.access_token)).stepped_up
    until_ms = (await person.call("StepUp", pb.StepUpRequest(totp_code=person.totp()))).until_time_ms
    assert until_ms == scene.clock.now_ms + 5 * 60_000
    assert (await store.session(person.tokens.access_token)).stepped_up
    await person.call("EnrollTotp", pb.EnrollTotpRequest())
    scene.later(5 * 60_000)
    person.tokens = (await scene.stub.Refresh(pb.RefreshRequest(refresh_token=person.tokens.refresh_token))).tokens
    assert not (await store.session(person.tokens.access_token)).stepped_up
    begun = await person.call("BeginStepUp", pb.BeginStepUpRequest())
    answer = pb.PasskeyAnswer(ceremony_id=begun.ceremony_id, passkey_json=person.authenticator.get(begun.options_json))
    await person.call("StepUp", pb.StepUpRequest(passkey=answer))
    with refused("UNAUTHENTICATED"):
        await person.call("StepUp", pb.StepUpRequest(passkey=answer))


async def test_without_a_second_factor_the_password_is_the_fresh_proof_and_no_step_up(scene: Scene) -> None:
    person = await scene.person()
    scene.later(5 * 60_000)
    with refused("PERMISSION_DENIED", "step-up needed"):
        await person.call("EnrollTotp", pb.EnrollTotpRequest())
    with refused("UNAUTHENTICATED"):
        await person.call("StepUp", pb.StepUpRequest(password="not the password"))
    await person.call("StepUp", pb.StepUpRequest(password=person.password))
    await person.call("EnrollTotp", pb.EnrollTotpRequest())
    assert not (await scene.world.stores.sessions.session(person.tokens.access_token)).stepped_up


async def test_guesses_at_a_step_up_lock_as_log_ins_do(scene: Scene) -> None:
    person = await scene.person()
    await person.set_up_totp()
    tries = await outcomes(*(person.call("StepUp", pb.StepUpRequest(totp_code="12345")) for _ in range(9)))
    assert tries == 4 * ["RESOURCE_EXHAUSTED"] + 5 * ["UNAUTHENTICATED"]
    assert "LOCKED_OUT" in await person.alerts()


# --- passkeys ---------------------------------------------------------------------------------------------------------

LIES = [
    Lies(origin="https://pay.example.evil"),
    Lies(origin="http://pay.example"),
    Lies(rp_id="evil.example"),
    Lies(challenge=encoded(bytes(32))),
    Lies(user_verified=False),
    Lies(user_present=False),
]


@pytest.mark.parametrize("lies", [*LIES, Lies(kind="webauthn.get")])
@pytest.mark.parametrize("attestation", ["none", "packed"])
async def test_a_passkey_that_lies_is_not_made(scene: Scene, lies: Lies, attestation: str) -> None:
    person = await scene.person()
    begun = await person.call("BeginPasskey", pb.BeginPasskeyRequest())
    made = SoftwareAuthenticator(ORIGIN, attestation).create(begun.options_json, lies)
    with refused("UNAUTHENTICATED"):
        await person.call(
            "AddPasskey", pb.AddPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=made, name="x")
        )
    assert not (await person.call("ListPasskeys", pb.ListPasskeysRequest())).passkeys


@pytest.mark.parametrize("lies", [*LIES, Lies(kind="webauthn.create"), Lies(signed=False), Lies(user_handle=""),
                                  Lies(user_handle=encoded(bytes(16))), Lies(user_handle="AAAA")])  # fmt: skip
async def test_a_passkey_that_lies_opens_nothing(scene: Scene, lies: Lies) -> None:
    person = await scene.person()
    await person.add_passkey()
    begun = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    shown = person.authenticator.get(begun.options_json, lies)
    with refused("UNAUTHENTICATED"):
        await scene.stub.LogInWithPasskey(pb.LogInWithPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=shown))


async def test_a_packed_passkey_is_made_and_a_foreign_format_is_not_read(scene: Scene) -> None:
    person = await scene.person()
    for attestation in ("packed", "tpm", "android-safetynet", "none"):
        person.authenticator = SoftwareAuthenticator(ORIGIN, attestation)
        if attestation in ("packed", "none"):
            await person.add_passkey(attestation)
        else:
            with refused("UNAUTHENTICATED"):
                await person.add_passkey(attestation)
    passkeys = (await person.call("ListPasskeys", pb.ListPasskeysRequest())).passkeys
    assert sorted(each.name for each in passkeys) == ["none", "packed"]


async def test_a_challenge_works_once_for_its_purpose_user_and_session(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    await person.add_passkey()
    log_in = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    shown = person.authenticator.get(log_in.options_json)
    answer = pb.PasskeyAnswer(ceremony_id=log_in.ceremony_id, passkey_json=shown)
    with refused("UNAUTHENTICATED"):  # not for a step-up
        await person.call("StepUp", pb.StepUpRequest(passkey=answer))
    request = pb.LogInWithPasskeyRequest(ceremony_id=log_in.ceremony_id, passkey_json=shown)
    answers = await outcomes(*(scene.stub.LogInWithPasskey(request) for _ in range(4)))
    assert answers == ["OK"] + 3 * ["UNAUTHENTICATED"]

    begun = await person.call("BeginPasskey", pb.BeginPasskeyRequest())
    made = SoftwareAuthenticator(ORIGIN).create(begun.options_json)
    add = pb.AddPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=made, name="x")
    with refused("UNAUTHENTICATED"):  # another's
        await stranger.call("AddPasskey", add)
    with refused("UNAUTHENTICATED"):  # used up by that
        await person.call("AddPasskey", add)

    late = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    scene.later(5 * 60_000)
    with refused("UNAUTHENTICATED"):
        await scene.stub.LogInWithPasskey(
            pb.LogInWithPasskeyRequest(
                ceremony_id=late.ceremony_id, passkey_json=person.authenticator.get(late.options_json)
            )
        )


async def test_a_session_has_one_challenge_out_for_a_purpose(scene: Scene) -> None:
    person = await scene.person()
    begun = [await person.call("BeginPasskey", pb.BeginPasskeyRequest()) for _ in range(2)]
    for each, code in zip(begun, ("UNAUTHENTICATED", ""), strict=True):
        made = SoftwareAuthenticator(ORIGIN).create(each.options_json)
        request = pb.AddPasskeyRequest(ceremony_id=each.ceremony_id, passkey_json=made, name="x")
        if code:
            with refused(code):
                await person.call("AddPasskey", request)
        else:
            await person.call("AddPasskey", request)


async def test_a_counter_that_goes_back_is_refused_and_told(scene: Scene) -> None:
    person = await scene.person()
    await person.add_passkey()

    async def log_in(lies: Lies) -> None:
        begun = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
        shown = person.authenticator.get(begun.options_json, lies)
        await scene.stub.LogInWithPasskey(pb.LogInWithPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=shown))

    await log_in(Lies(counter=100))
    for counter in (100, 99, 0):
        with refused("UNAUTHENTICATED"):
            await log_in(Lies(counter=counter))
    assert (await person.alerts()).count("PASSKEY_COPIED") == 3
    with refused("UNAUTHENTICATED"):
        await log_in(Lies(counter=1, signed=False))
    assert (await person.alerts()).count("PASSKEY_COPIED") == 3  # nobody without the key can raise one
    await log_in(Lies(counter=101))


async def test_an_authenticator_that_counts_nothing_is_served(scene: Scene) -> None:
    person = await scene.person()
    person.authenticator = SoftwareAuthenticator(ORIGIN, counts=False)
    await person.add_passkey()
    for _ in range(2):
        needed = (await person.log_in()).second_factor_needed
        shown = person.authenticator.get(needed.passkey_options_json)
        await person.finish(needed.ticket, passkey_json=shown)
        with refused("UNAUTHENTICATED"):  # a ticket is a challenge, too
            await person.finish(needed.ticket, passkey_json=shown)


async def test_several_passkeys_are_named_and_taken_away(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    first = await person.add_passkey("phone")
    begun = await person.call("BeginPasskey", pb.BeginPasskeyRequest())
    with pytest.raises(ValueError, match="already"):
        person.authenticator.create(begun.options_json)
    person.authenticator = SoftwareAuthenticator(ORIGIN)
    second = await person.add_passkey("key")
    assert len(person.recovery) == 10
    await person.call("RenamePasskey", pb.RenamePasskeyRequest(passkey_id=first, name=" my phone "))
    for bad in ("", "x" * 65, "a\u202eb", "a\nb"):
        with refused("INVALID_ARGUMENT", "name"):
            await person.call("RenamePasskey", pb.RenamePasskeyRequest(passkey_id=first, name=bad))
    for name in ("RenamePasskey", "RemovePasskey"):
        request = getattr(pb, f"{name}Request")(passkey_id=first)
        if name == "RenamePasskey":
            request.name = "mine"
        with refused("NOT_FOUND"):
            await stranger.call(name, request)
    passkeys = (await person.call("ListPasskeys", pb.ListPasskeysRequest())).passkeys
    assert {each.id: each.name for each in passkeys} == {first: "my phone", second: "key"}
    for each in (first, second):
        await person.call("RemovePasskey", pb.RemovePasskeyRequest(passkey_id=each))
    profile = await person.call("GetProfile", pb.GetProfileRequest())
    assert (profile.passkeys, profile.recovery_codes_left) == (0, 0)  # nothing is left to recover
    assert (await person.log_in()).HasField("tokens")
    assert "RenamePasskey" in await scene.audit(person.tokens.user_id)


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", '{"id": 1}', "x" * 20_000, '{"id":"AA","rawId":"AA"}'])
async def test_what_is_no_answer_is_refused(scene: Scene, answer: str) -> None:
    person = await scene.person()
    begun = await person.call("BeginPasskey", pb.BeginPasskeyRequest())
    with refused("UNAUTHENTICATED"):
        await person.call(
            "AddPasskey", pb.AddPasskeyRequest(ceremony_id=begun.ceremony_id, passkey_json=answer, name="x")
        )
    log_in = await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    with refused("UNAUTHENTICATED"):
        await scene.stub.LogInWithPasskey(
            pb.LogInWithPasskeyRequest(ceremony_id=log_in.ceremony_id, passkey_json=answer)
        )
