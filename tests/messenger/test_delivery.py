"""From the outbox to the mail server: at least once each, until it is delivered, dead or expired."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from mail_server import PASSWORD, USER, MailServer
from people_scene import PASSWORD as USERS_PASSWORD
from people_scene import NoMerchants, Scene, fresh_login

from payswitch.v1 import user_pb2 as pb
from switch import pki
from switch.api.gate import Gate
from switch.api.guarded import add_guarded
from switch.api.user_service import UserServicer
from switch.domain.access import Caller
from switch.messenger.delivery import DeadLetters, Delivery, Ways
from switch.messenger.mail import MailSender, MailSettings
from switch.messenger.outcome import Fate, Outcome, Post
from switch.store.users_sessions import PostgresUserSessions

MESSENGER = Caller("messenger/sender")


class Outbox:
    """The two calls, as a stub makes them, without a certificate."""

    def __init__(self, scene: Scene) -> None:
        self._servicer = UserServicer(scene.users)

    async def TakeMessages(self, request: Any, timeout: float) -> Any:
        return await self._servicer.TakeMessages(request, MESSENGER)

    async def ConfirmMessages(self, request: Any, timeout: float) -> Any:
        return await self._servicer.ConfirmMessages(request, MESSENGER)


@dataclass
class Post_office:  # noqa: N801 - it stands in a sentence
    """outcomes: in their order, then DELIVERED."""

    outcomes: list[Outcome] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    mail: Any = None
    short: Any = None

    async def send(self, post: Post) -> Outcome:
        self.posts.append(post)
        return self.outcomes.pop(0) if self.outcomes else Outcome(Fate.DELIVERED)


def delivery(scene: Scene, ways: Any, folder: Path) -> Delivery:
    outbox: Any = Outbox(scene)
    return Delivery(outbox, ways, DeadLetters(folder / "dead.jsonl"), 10, lambda: scene.clock.now_ms)


async def register(scene: Scene) -> str:
    login = fresh_login()
    await scene.stub.Register(pb.RegisterRequest(login=login, password=USERS_PASSWORD))
    return login


def dead(folder: Path) -> list[dict[str, Any]]:
    path = folder / "dead.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def waiting(scene: Scene) -> int:
    count: int = await scene.database.fetchval("SELECT count(*) FROM user_messages")
    return count


async def test_what_was_delivered_is_erased(scene: Scene, tmp_path: Path) -> None:
    login = await register(scene)
    office = Post_office()
    sending = delivery(scene, office, tmp_path)
    assert await sending.step() == 1
    [post] = office.posts
    assert (post.to.text, len(post.code)) == (login, 6)
    assert (await waiting(scene), await sending.step()) == (0, 0)


async def test_what_was_put_off_is_tried_until_it_would_expire(scene: Scene, tmp_path: Path) -> None:
    await register(scene)
    office = Post_office([Outcome(Fate.LATER, "recipient 450")] * 20)
    sending = delivery(scene, office, tmp_path)
    while await waiting(scene):
        await sending.step()
        scene.later(60_000)
    assert len(office.posts) == 10  # ten minutes, one a minute
    assert [(each["kind"], each["reason"], each["by"]) for each in dead(tmp_path)] == [
        ("REGISTRATION_CODE", "recipient 450", "EMAIL")
    ]


async def test_what_is_refused_for_good_is_dead_at_once_and_nobody_is_named(scene: Scene, tmp_path: Path) -> None:
    login = await register(scene)
    office = Post_office([Outcome(Fate.NEVER, "recipient 550")])
    assert await delivery(scene, office, tmp_path).step() == 1
    assert await waiting(scene) == 0
    text = (tmp_path / "dead.jsonl").read_text()
    assert login not in text
    assert office.posts[0].code not in text


async def test_a_dead_letter_that_cannot_be_kept_is_no_reason_to_send_the_others_again(
    scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "dead.jsonl").mkdir()  # whatever keeps it from being written
    first, second = await register(scene), await register(scene)
    post_office = Post_office([Outcome(Fate.NEVER, "recipient 550"), Outcome(Fate.DELIVERED)])
    assert await delivery(scene, post_office, tmp_path).step() == 2
    assert {each.to.text for each in post_office.posts} == {first, second}
    assert await waiting(scene) == 0


async def test_what_has_no_way_is_left_to_another_messenger(scene: Scene, tmp_path: Path) -> None:
    await register(scene)
    assert await delivery(scene, Ways(None, None), tmp_path).step() == 1
    assert (await waiting(scene), dead(tmp_path)) == (1, [])
    scene.later(60_000)
    assert await delivery(scene, Post_office(), tmp_path).step() == 1
    assert await waiting(scene) == 0


async def test_a_delivery_that_was_not_confirmed_comes_again_under_the_same_id(scene: Scene, tmp_path: Path) -> None:
    await register(scene)
    office = Post_office()
    crashed = delivery(scene, office, tmp_path)

    async def dies(ids: Any) -> None:
        raise asyncio.CancelledError

    crashed._confirm = dies  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await crashed.step()
    scene.later(60_000)
    assert await delivery(scene, office, tmp_path).step() == 1
    first, second = office.posts
    assert (first.id, first.code) == (second.id, second.code)


async def test_to_the_mail_server(scene: Scene, server: MailServer, tmp_path: Path) -> None:
    logins = {await register(scene) for _ in range(3)}
    settings = MailSettings(
        "localhost", server.port, "starttls", "no-reply@pay.example", USER, PASSWORD, 20.0, server.client_tls()
    )
    await delivery(scene, Ways(MailSender(settings), None), tmp_path).step()
    assert {each.to for each in server.received} == logins
    assert (server.faults, await waiting(scene)) == ([], 0)


@pytest.mark.parametrize("role", ["messenger", "platform"])
async def test_the_command_over_mutual_tls(scene: Scene, server: MailServer, tmp_path: Path, role: str) -> None:
    """A platform participant, who might once, may not any more."""
    login = await register(scene)
    authority = pki.Authority(tmp_path / "pki")
    root, pair = authority.ensure().read_bytes(), authority.server()
    caller = authority.participant(role, "sender")
    door = grpc.aio.server()
    gate = Gate(pki.participant_of, PostgresUserSessions(scene.database, scene.clock), NoMerchants())
    add_guarded(pb.DESCRIPTOR.services_by_name["UserService"], UserServicer(scene.users), gate, door)
    keys = [(pair.private_key.read_bytes(), pair.certificate.read_bytes())]
    port = door.add_secure_port("localhost:0", grpc.ssl_server_credentials(keys, root, require_client_auth=True))
    await door.start()
    settings = {
        "STATE_DIR": tmp_path,
        "MESSAGES__SWITCH": f"localhost:{port}",
        "MESSAGES__CERTIFICATE": caller.certificate,
        "MESSAGES__PRIVATE_KEY": caller.private_key,
        "MESSAGES__SMTP": f"localhost:{server.port}",
        "MESSAGES__SMTP_USER": USER,
        "MESSAGES__SMTP_PASSWORD": PASSWORD,
        "MESSAGES__CA": server.root,
    }
    environment = os.environ | {f"PAYSWITCH_{name}": str(value) for name, value in settings.items()}
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "switch.cli", "messages", "send", "--once", env=environment,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await command.communicate()
    await door.stop(None)
    if role == "messenger":
        assert (command.returncode, [each.to for each in server.received]) == (0, [login]), errors
        assert login.encode() not in errors
    else:
        assert (command.returncode, server.received) == (3, [])
        assert b"PERMISSION_DENIED" in errors
