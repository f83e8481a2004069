"""E-mails to a mail server that forgives nothing, over real sockets and real TLS."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mail_server import PASSWORD, USER, MailServer, mail_server

from switch.domain.account import AlertKind
from switch.domain.login import parse_login
from switch.messenger.mail import MailSender, MailSettings
from switch.messenger.outcome import Fate, Outcome, Post
from switch.messenger.texts import text_of
from switch.users.messages import MessageKind

FROM = "no-reply@pay.example"
POST = Post(
    "0199f3a2-0000-7000-8000-000000000001", parse_login("li.lei@example.com"), MessageKind.RESET_CODE,
    1_790_000_000_000, 1_790_000_600_000, "123456",
)  # fmt: skip


def sender(server: MailServer, **changes: Any) -> MailSender:
    settings: dict[str, Any] = {
        "host": "localhost", "port": server.port, "security": "starttls", "sender": FROM, "user": USER,
        "password": PASSWORD, "tls": server.client_tls(),
    }  # fmt: skip
    return MailSender(MailSettings(**(settings | changes)))


async def send(server: MailServer, post: Post = POST, **changes: Any) -> Outcome:
    return await asyncio.to_thread(sender(server, **changes).send, post)


async def test_a_mail_is_handed_over_after_starttls(server: MailServer) -> None:
    assert await send(server) == Outcome(Fate.DELIVERED)
    assert server.faults == []
    assert server.dialogues == [["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]]
    [received] = server.received
    assert (received.sender, received.to) == (FROM, "li.lei@example.com")
    mail = received.mail
    assert (mail["From"], mail["To"], mail["Auto-Submitted"]) == (FROM, "li.lei@example.com", "auto-generated")
    assert mail["Message-ID"] == f"<{POST.id}@pay.example>"
    assert "重置密码验证码" in mail["Subject"]
    assert mail["Date"].datetime.timestamp() == 1_790_000_000
    assert "123456 is your code to set a new password" in mail.get_content()
    assert "验证码为 123456" in mail.get_content()
    assert b"123456" not in received.raw.split(b"\r\n\r\n")[0]  # no code in a header, which previews show


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"CONNECT": [b"554 no"]}, Outcome(Fate.LATER, "answer 554")),
        ({"EHLO": [b"421 closing"]}, Outcome(Fate.LATER, "answer 421")),
        ({"STARTTLS": [b"454 not now"]}, Outcome(Fate.LATER, "answer 454")),
        ({"AUTH": [b"535 no"] * 3}, Outcome(Fate.LATER, "authentication 535")),
        ({"MAIL": [b"553 not you"]}, Outcome(Fate.LATER, "answer 553")),
        ({"RCPT": [b"450 greylisted"]}, Outcome(Fate.LATER, "recipient 450")),
        ({"RCPT": [b"550 no such user"]}, Outcome(Fate.NEVER, "recipient 550")),
        ({"DATA": [b"451 later"]}, Outcome(Fate.LATER, "data 451")),
        ({"END": [b"452 full"]}, Outcome(Fate.LATER, "data 452")),
        ({"END": [b"554 refused"]}, Outcome(Fate.NEVER, "data 554")),
    ],
)
async def test_what_a_server_answers(server: MailServer, answers: dict[str, list[bytes]], expected: Outcome) -> None:
    server.answers = answers
    assert await send(server) == expected
    assert (server.received, server.faults) == ([], [])
    server.answers.clear()
    assert await send(server) == Outcome(Fate.DELIVERED)


async def test_a_goodbye_that_fails_takes_nothing_back(server: MailServer) -> None:
    server.answers = {"QUIT": [b"500 what?"]}
    assert await send(server) == Outcome(Fate.DELIVERED)


async def test_nothing_is_sent_without_tls(server: MailServer) -> None:
    server.offers_tls = False
    assert await send(server) == Outcome(Fate.LATER, "not-supported")
    assert server.dialogues == [["EHLO"]]


async def test_a_certificate_of_somebody_else_is_refused(server: MailServer, tmp_path: Path) -> None:
    other = mail_server(tmp_path / "other")
    assert await send(server, tls=other.client_tls()) == Outcome(Fate.LATER, "tls")
    assert await send(server, tls=None) == Outcome(Fate.LATER, "tls")  # the system's authorities do not know it
    assert all(said[:2] == ["EHLO", "STARTTLS"] and len(said) == 2 for said in server.dialogues)


@pytest.mark.parametrize("hangs", ["CONNECT", "EHLO", "RCPT", "END"])
async def test_a_server_that_hangs_is_given_up(server: MailServer, hangs: str) -> None:
    server.hangs = {hangs}
    assert await send(server, timeout_s=1.0) == Outcome(Fate.LATER, "timeout")


async def test_the_deadline_is_of_the_whole_attempt(server: MailServer) -> None:
    """Each answer may come in time, and all of them together may not."""
    ticks = iter(range(0, 1000, 5))
    outcome = await asyncio.to_thread(
        MailSender(
            MailSettings("localhost", server.port, "starttls", FROM, USER, PASSWORD, 22.0, server.client_tls()),
            lambda: float(next(ticks)),
        ).send,
        POST,
    )
    assert outcome == Outcome(Fate.LATER, "timeout")
    assert server.received == []


async def test_nobody_answers(server: MailServer) -> None:
    assert (await send(server, port=1)).reason == "connection ConnectionRefusedError"


def test_no_secret_is_shown() -> None:
    settings = MailSettings("h", 1, "tls", FROM, USER, PASSWORD)
    assert PASSWORD not in repr(settings)
    assert "123456" not in repr(POST)
    assert "li.lei" not in repr(POST)


@pytest.mark.parametrize("kind", list(MessageKind), ids=lambda kind: kind.name)
def test_every_kind_has_its_text(kind: MessageKind) -> None:
    for alert in list(AlertKind) if kind is MessageKind.ALERT else [None]:
        code = "654321" if kind in (MessageKind.REGISTRATION_CODE, MessageKind.RESET_CODE) else ""
        text = text_of(kind, code, alert)
        assert text.subject.isprintable()
        assert code in text.body
        assert code in text.short
        assert "http" not in text.body
        assert len(text.short) <= 70
        assert "654321" not in repr(text)
