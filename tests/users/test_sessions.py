import asyncio
from uuid import UUID, uuid4

from people_scene import Person, Scene, outcomes, refused

from payswitch.v1 import user_pb2 as pb
from switch.domain.user_token import AccessToken, RefreshToken, parse_access, parse_refresh


async def refresh(scene: Scene, tokens: pb.Tokens, proof: pb.DeviceProof | None = None) -> pb.Tokens:
    request = pb.RefreshRequest(refresh_token=tokens.refresh_token, device_proof=proof)
    return (await scene.stub.Refresh(request)).tokens


async def opens(scene: Scene, tokens: pb.Tokens) -> bool:
    return await scene.world.stores.sessions.session(tokens.access_token) is not None


def test_a_token_has_one_spelling() -> None:
    access = AccessToken(uuid4(), uuid4(), bytes(range(32)))
    refresh_token = RefreshToken(uuid4(), uuid4(), 7, bytes(range(32)))
    assert parse_access(access.text()) == access
    assert parse_refresh(refresh_token.text()) == refresh_token
    assert parse_access(refresh_token.text()) is None
    assert parse_refresh(access.text()) is None
    text = refresh_token.text()
    for other in (text + "=", text[:-1], text + "A", " " + text, text.upper(), text.replace("_rt_", "_at_")):
        assert parse_refresh(other) is None
    last = access.text()[-1]
    spelled = {parse_access(access.text()[:-1] + each) for each in "ABCDEFGHIJKLMNOP" if each != last}
    assert access not in spelled
    assert "secret" not in repr(access)


async def test_an_access_token_lives_ten_minutes(scene: Scene) -> None:
    person = await scene.person()
    scene.later(10 * 60_000 - 1)
    await person.call("GetProfile", pb.GetProfileRequest())
    scene.later(1)
    with refused("UNAUTHENTICATED", "the access token is not valid"):
        await person.call("GetProfile", pb.GetProfileRequest())


async def test_a_guessed_token_of_a_known_session_opens_nothing_and_ends_nothing(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    user_id, session_id = UUID(person.tokens.user_id), UUID(person.tokens.session_id)
    own = parse_refresh(stranger.tokens.refresh_token)
    assert own is not None
    for generation in (0, 1, 2, 2**32 - 1):
        for secret in (bytes(32), own.secret):
            guess = RefreshToken(user_id, session_id, generation, secret).text()
            with refused("UNAUTHENTICATED"):
                await refresh(scene, pb.Tokens(refresh_token=guess))
    assert not await opens(scene, pb.Tokens(access_token=AccessToken(user_id, session_id, bytes(32)).text()))
    await refresh(scene, person.tokens)


async def test_a_token_used_twice_ends_the_session_and_is_told(scene: Scene) -> None:
    person = await scene.person()
    stolen = person.tokens
    person.tokens = await refresh(scene, stolen)
    scene.later(10_000)
    with refused("UNAUTHENTICATED"):
        await refresh(scene, stolen)
    assert not await opens(scene, person.tokens)
    with refused("UNAUTHENTICATED"):  # the whole family
        await refresh(scene, person.tokens)
    await person.log_in()
    assert (await person.alerts()).count("TOKEN_REUSED") == 1
    assert "Refresh" in await scene.audit(person.tokens.user_id)


async def test_an_old_token_ends_the_session_within_the_grace_as_well(scene: Scene) -> None:
    person = await scene.person()
    oldest = person.tokens
    person.tokens = await refresh(scene, await refresh(scene, oldest))
    with refused("UNAUTHENTICATED"):
        await refresh(scene, oldest)
    assert not await opens(scene, person.tokens)


async def test_refreshes_at_once_get_one_answer(scene: Scene) -> None:
    """An honest client that asked several times goes on with the one session that it has."""
    person = await scene.person()
    before = person.tokens
    answers = [await refresh(scene, before)]
    answers += await asyncio.gather(*(refresh(scene, before) for _ in range(5)))
    assert len({(each.access_token, each.refresh_token) for each in answers}) == 1
    scene.later(9_999)
    assert (await refresh(scene, before)).refresh_token == answers[0].refresh_token
    assert (await refresh(scene, answers[0])).refresh_token != answers[0].refresh_token


async def test_first_refreshes_race_and_one_moves_the_session_on(scene: Scene) -> None:
    person = await scene.person()
    answers = await asyncio.gather(*(refresh(scene, person.tokens) for _ in range(6)))
    assert len({each.refresh_token for each in answers}) == 1
    row = await scene.database.fetchrow(
        "SELECT generation FROM user_sessions WHERE session_id = $1", UUID(person.tokens.session_id)
    )
    assert row["generation"] == 2


async def test_a_thief_in_the_grace_is_found_out_by_the_next_refresh(scene: Scene) -> None:
    person = await scene.person()
    first = person.tokens
    mine, thiefs = await refresh(scene, first), await refresh(scene, first)
    assert mine.refresh_token == thiefs.refresh_token
    next_of_thief = await refresh(scene, thiefs)
    scene.later(10 * 60_000)  # the honest client refreshes when its access token ends
    with refused("UNAUTHENTICATED"):
        await refresh(scene, mine)
    assert not await opens(scene, next_of_thief)


async def test_calls_under_way_pass_while_the_token_is_refreshed(scene: Scene) -> None:
    person = await scene.person()
    before = person.tokens
    person.tokens = await refresh(scene, before)
    assert await opens(scene, before)
    scene.later(10_000)
    assert not await opens(scene, before)
    assert await opens(scene, person.tokens)


async def test_a_session_slides_thirty_days_and_ends_after_ninety(scene: Scene) -> None:
    day_ms = 86_400_000
    person, other = await scene.person(), await scene.person()
    scene.later(30 * day_ms)
    with refused("UNAUTHENTICATED"):
        await refresh(scene, other.tokens)
    scene.clock.now_ms -= 1
    person.tokens = await refresh(scene, person.tokens)
    for _ in range(2):
        scene.later(29 * day_ms)
        person.tokens = await refresh(scene, person.tokens)
    assert person.tokens.refresh_expires_time_ms == scene.clock.now_ms + 2 * day_ms + 1
    scene.later(2 * day_ms + 1)
    with refused("UNAUTHENTICATED"):
        await refresh(scene, person.tokens)


async def test_sessions_are_listed_and_ended_by_their_user_alone(scene: Scene) -> None:
    person, stranger = await scene.person(), await scene.person()
    first = person.tokens
    await person.log_in(client_name="laptop")
    listed = (await person.call("ListSessions", pb.ListSessionsRequest())).sessions
    assert {each.client_name for each in listed} == {"", "laptop"}
    assert {each.address for each in listed} == {"127.0.0.1"}
    for session_id in (first.session_id, "", "x", str(uuid4())):
        with refused("NOT_FOUND"):
            await stranger.call("RevokeSession", pb.RevokeSessionRequest(session_id=session_id))
    await person.call("RevokeSession", pb.RevokeSessionRequest(session_id=first.session_id))
    with refused("NOT_FOUND"):
        await person.call("RevokeSession", pb.RevokeSessionRequest(session_id=first.session_id))
    assert (await opens(scene, first), await opens(scene, person.tokens)) == (False, True)
    await person.call("LogOut", pb.LogOutRequest())
    assert not await opens(scene, person.tokens)

    several = [(await person.log_in()).tokens for _ in range(3)]
    await person.call("LogOutEverywhere", pb.LogOutEverywhereRequest())
    assert [await opens(scene, each) for each in several] == [False, False, False]
    assert await opens(scene, stranger.tokens)
    acts = await scene.audit(first.user_id)
    assert sorted(acts) == ["LogOut", "LogOutEverywhere", "RevokeSession", "Verify"]


async def test_two_who_end_one_session_end_it_once(scene: Scene) -> None:
    person = await scene.person()
    other = (await person.log_in()).tokens
    await person.log_in()
    request = pb.RevokeSessionRequest(session_id=other.session_id)
    assert await outcomes(*(person.call("RevokeSession", request) for _ in range(3))) == 2 * ["NOT_FOUND"] + ["OK"]


async def test_a_session_is_the_devices_and_needs_its_signature(scene: Scene) -> None:
    person = await scene.person()
    device = await person.bind_device()
    tokens = person.tokens
    now_ms = scene.clock.now_ms
    other = await another_device(scene)
    other.id = device.id
    for proof in (
        None,
        device.proof("refresh", "another token", now_ms),
        device.proof("log-in", tokens.refresh_token, now_ms),
        device.proof("refresh", tokens.refresh_token, now_ms - 60_001),
        device.proof("refresh", tokens.refresh_token, now_ms + 60_001),
        other.proof("refresh", tokens.refresh_token, now_ms),
        pb.DeviceProof(device_id=device.id, time_ms=-1, signature=b"x"),
        pb.DeviceProof(device_id=str(uuid4()), time_ms=now_ms, signature=b"x"),
    ):
        with refused("UNAUTHENTICATED"):
            await refresh(scene, tokens, proof)
    with refused("INVALID_ARGUMENT", "device_proof.device_id"):
        await refresh(scene, tokens, pb.DeviceProof(device_id="x"))
    person.tokens = await refresh(scene, tokens, device.proof("refresh", tokens.refresh_token, now_ms + 60_000))
    assert await opens(scene, person.tokens)


async def another_device(scene: Scene):
    stranger: Person = await scene.person()
    return await stranger.bind_device()
