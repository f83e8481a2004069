from collections import Counter
from dataclasses import replace
from uuid import UUID

import grpc.aio
import pytest
from people_scene import CHEAP, PASSWORD, Scene, fresh_login, outcomes, refused

from payswitch.v1 import user_pb2 as pb
from switch.domain.refusals import TooMany
from switch.domain.tally import BackOff
from switch.ports import CountersUnavailable
from switch.users.limits import AddressLimit


def log_in(scene: Scene, login: str, password: str = "not the password"):
    return scene.stub.LogIn(pb.LogInRequest(login=login, password=password))


async def test_a_login_that_nobody_has_is_answered_and_locked_like_any_other(scene: Scene) -> None:
    known, unknown = (await scene.person()).login, fresh_login()
    seen = {}
    for login in (known, unknown):
        answers, work = [], []
        for _ in range(4):
            scene.hsm.calls.clear()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await log_in(scene, login)
            answers.append((caught.value.code().name, caught.value.details()))
            work.append(Counter(scene.hsm.calls))
        with refused("UNAUTHENTICATED"):
            await log_in(scene, login)
        with refused("RESOURCE_EXHAUSTED"):
            await log_in(scene, login)
        seen[login] = (answers, work)
    assert seen[known] == seen[unknown]
    assert {code for code, _ in seen[known][0]} == {"UNAUTHENTICATED"}


async def test_as_many_hashes_are_computed_for_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    person, held = await scene.person(), []
    matches = scene.passwords._matches
    monkeypatch.setattr(scene.passwords, "_matches", lambda *args: held.append(args[0]) or matches(*args))
    for login in (person.login, fresh_login()):
        with refused("UNAUTHENTICATED"):
            await log_in(scene, login)
    assert len(held) == 2
    assert held[0].split("$")[:4] == held[1].split("$")[:4]  # the same kind, version and parameters


async def test_a_lock_doubles_and_ends_and_what_is_right_forgets(scene: Scene) -> None:
    person = await scene.person()
    for _ in range(5):
        with refused("UNAUTHENTICATED"):
            await log_in(scene, person.login)
    for lock_ms in (30_000, 60_000, 120_000):
        scene.later(lock_ms - 1)
        with refused("RESOURCE_EXHAUSTED"):
            await person.log_in()
        scene.later(1)
        with refused("UNAUTHENTICATED"):
            await log_in(scene, person.login)
    scene.later(240_000)
    await person.log_in()
    assert (await person.alerts()).count("LOCKED_OUT") == 1
    for _ in range(4):
        with refused("UNAUTHENTICATED"):
            await log_in(scene, person.login)
    await person.log_in()


async def test_haste_gives_no_more_tries(scene: Scene) -> None:
    """Twenty guesses at once: each is counted before it is made."""
    person = await scene.person()
    guesses = await outcomes(*(log_in(scene, person.login) for _ in range(20)))
    assert Counter(guesses) == {"UNAUTHENTICATED": 5, "RESOURCE_EXHAUSTED": 15}


async def test_a_lock_outlives_redis_and_the_process(scene: Scene) -> None:
    person = await scene.person()
    await outcomes(*(log_in(scene, person.login) for _ in range(5)))
    other = await scene.other(RedisIsGone())
    with refused("RESOURCE_EXHAUSTED"):
        await log_in(other, person.login, PASSWORD)
    await other.close()


def test_a_lock_is_bounded_and_forgotten_after_a_day() -> None:
    rule = BackOff(5, 30_000, 900_000, 86_400_000)
    assert [rule.wait_ms(count) for count in (0, 4, 5, 6, 9, 10, 10_000)] == [
        0,
        0,
        30_000,
        60_000,
        480_000,
        900_000,
        900_000,
    ]


class RedisIsGone:
    async def count_many(self, keys: object, window_s: int) -> list[int]:
        raise CountersUnavailable("gone")


class Redis:
    def __init__(self, counts: list[int]) -> None:
        self.counts = counts
        self.subjects: list[str] = []

    async def count_many(self, keys: list[tuple[str, str]], window_s: int) -> list[int]:
        self.subjects += [subject for subject, _ in keys]
        return [self.counts.pop(0)]


async def test_one_address_is_limited_with_redis_and_without() -> None:
    counting = Redis([2, 3])
    limit = AddressLimit(counting, 2)
    await limit.admit("2001:db8::1")
    with pytest.raises(TooMany):
        await limit.admit("2001:db8::ffff")
    assert counting.subjects == ["users:2001:db8::/64", "users:2001:db8::/64"]

    now_s = 0.0
    alone = AddressLimit(RedisIsGone(), 2, lambda: now_s)
    for _ in range(2):
        await alone.admit("192.0.2.1")
        await alone.admit("192.0.2.2")
    with pytest.raises(TooMany):
        await alone.admit("192.0.2.1")
    now_s = 60.0
    await alone.admit("192.0.2.1")


async def test_the_fallback_forgets_addresses_before_it_fills_the_memory() -> None:
    alone = AddressLimit(RedisIsGone(), 1)
    for number in range(10_050):
        await alone.admit(f"10.0.{number // 256}.{number % 256}")
    assert len(alone._own) == 10_000


async def test_the_door_is_limited_for_an_address(scene: Scene) -> None:
    other = await scene.other(Redis([1, 2, 3, 4, 5, 6]), per_address=3)
    answers = await outcomes(*(log_in(other, fresh_login()) for _ in range(5)))
    assert answers == 2 * ["RESOURCE_EXHAUSTED"] + 3 * ["UNAUTHENTICATED"]
    with refused("RESOURCE_EXHAUSTED"):
        await other.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    await other.close()


async def test_a_new_network_is_told(scene: Scene) -> None:
    person = await scene.person()
    for address in ("127.0.0.9", "198.51.100.7", "198.51.100.200", "2001:db8:1::5", "2001:db8:1:2::5"):
        scene.later(1)
        await scene.users.sign_in.log_in(person.login, PASSWORD, "", None, address)
    assert (await person.alerts()).count("NEW_NETWORK") == 2
    alert = (await person.call("ListAlerts", pb.ListAlertsRequest())).alerts[0]
    assert (alert.address, pb.AlertKind.Name(alert.kind)) == ("2001:db8:1::5", "ALERT_KIND_NEW_NETWORK")
    assert [each.alert for each in await scene.messages(person.login)][-1] == pb.ALERT_KIND_NEW_NETWORK


async def test_a_hash_of_other_parameters_is_made_anew(scene: Scene) -> None:

    person = await scene.person()
    before = await scene.database.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1", UUID(person.tokens.user_id)
    )
    other = await scene.other(argon2=replace(CHEAP, passes=2))
    await log_in(other, person.login, PASSWORD)
    after = await scene.database.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1", UUID(person.tokens.user_id)
    )
    await other.close()
    assert ("t=1" in before, "t=2" in after) == (True, True)
    await person.log_in()  # the session and the password are as they were
    await person.call("GetProfile", pb.GetProfileRequest())


@pytest.mark.parametrize("token", ["", "payswitch_at_", "payswitch_at_" + "A" * 107, "payswitch_rt_x", "Bearer", "é"])
async def test_a_token_that_is_none_opens_nothing(scene: Scene, token: str) -> None:
    session = await scene.world.stores.sessions.session(token)  # type: ignore[attr-defined]
    assert session is None


async def test_anybody_elses_calls_need_a_session(scene: Scene) -> None:
    for name, request in (("GetProfile", pb.GetProfileRequest()), ("DeleteAccount", pb.DeleteAccountRequest())):
        with refused("UNAUTHENTICATED"):
            await getattr(scene.stub, name)(request)
    person = await scene.person()
    with refused("PERMISSION_DENIED"):
        await person.call("TakeMessages", pb.TakeMessagesRequest(limit=1))
