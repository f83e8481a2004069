import asyncio
from uuid import UUID, uuid4

import pytest
from people_scene import Scene, fresh_login, refused

from payswitch.v1 import user_pb2 as pb
from switch.api.user_service import UserServicer
from switch.domain.access import Caller
from switch.domain.refusals import Invalid
from switch.users.messages import Message, OutboxMessenger
from switch.users.users import build_users

SENDER = Caller("messenger/sender")


async def take(scene: Scene, limit: int = 100) -> dict[str, pb.UserMessage]:
    answer = await UserServicer(scene.users).TakeMessages(pb.TakeMessagesRequest(limit=limit), SENDER)
    return {each.to: each for each in answer.messages}


async def register(scene: Scene) -> str:
    login = fresh_login()
    await scene.stub.Register(pb.RegisterRequest(login=login, password="correct horse battery"))
    return login


async def test_a_message_is_given_out_until_it_is_confirmed_or_expires(scene: Scene) -> None:
    servicer = UserServicer(scene.users)
    login, other = await register(scene), await register(scene)
    taken = await take(scene)
    assert (taken[login].kind, len(taken[login].code)) == (pb.MESSAGE_KIND_REGISTRATION_CODE, 6)
    assert login not in await take(scene)  # leased
    await servicer.ConfirmMessages(pb.ConfirmMessagesRequest(ids=[taken[login].id, "x", str(uuid4())]), SENDER)
    scene.later(60_000)
    again = await take(scene)
    assert (login in again, again[other].code) == (False, taken[other].code)
    scene.later(9 * 60_000)
    assert other not in await take(scene)  # a code that is good no more is not delivered


async def test_two_senders_never_take_the_same(scene: Scene) -> None:
    logins = {await register(scene) for _ in range(12)}
    takings = await asyncio.gather(*(take(scene, 4) for _ in range(6)))
    counts = [sum(login in each for each in takings) for login in logins]
    assert max(counts) == 1


async def test_bad_requests(scene: Scene) -> None:
    servicer = UserServicer(scene.users)
    for limit in (0, -1, 101):
        with pytest.raises(Invalid, match="limit"):
            await servicer.TakeMessages(pb.TakeMessagesRequest(limit=limit), SENDER)
    with pytest.raises(Invalid, match="ids"):
        await servicer.ConfirmMessages(pb.ConfirmMessagesRequest(ids=["x"] * 101), SENDER)
    with refused("UNAUTHENTICATED"):
        await scene.stub.TakeMessages(pb.TakeMessagesRequest(limit=1))


async def test_an_outbox_row_is_bound_to_its_id(scene: Scene) -> None:
    await scene.database.execute("DELETE FROM user_messages")
    await register(scene)
    row = await scene.database.fetchrow("SELECT id FROM user_messages ORDER BY id DESC LIMIT 1")
    await scene.database.execute("UPDATE user_messages SET id = $2 WHERE id = $1", row["id"], uuid4())
    other = await register(scene)
    assert set(await take(scene)) == {other}  # and a broken one holds no other up
    await scene.database.execute("DELETE FROM user_messages")


async def test_another_messenger_takes_its_place(scene: Scene) -> None:
    class Pigeon:
        def __init__(self) -> None:
            self.carried: list[Message] = []

        async def send(self, message: Message) -> None:
            self.carried.append(message)

    pigeon = Pigeon()
    users = build_users(scene.world, scene.passwords, scene.counters, pigeon)
    login = fresh_login()
    await users.registration.register(login, "correct horse battery", "")
    [message] = pigeon.carried
    assert (message.to.text, len(message.code)) == (login, 6)
    assert message.code not in repr(message)
    assert login not in repr(message)
    assert isinstance(users.outbox, OutboxMessenger)


async def test_what_is_old_is_swept_and_nothing_else(scene: Scene) -> None:
    person = await scene.person()
    await register(scene)
    notices = scene.world.stores.notices
    await scene.stub.BeginPasskeyLogIn(pb.BeginPasskeyLogInRequest())
    await notices.sweep(scene.clock.now_ms)
    assert (await person.log_in()).HasField("tokens")
    day_ms = 86_400_000
    scene.later(100 * day_ms)
    assert await notices.sweep(scene.clock.now_ms, 100_000) > 5
    for table in ("attempts", "codes", "ceremonies", "sessions", "networks", "alerts", "messages"):
        assert await scene.database.fetchval(f"SELECT count(*) FROM user_{table}") == 0, table
    assert await scene.database.fetchval("SELECT count(*) FROM users WHERE user_id = $1", UUID(person.tokens.user_id))
    await person.log_in()
