"""A mail server (RFC 5321, 3207, 4954) that takes nothing out of order and forgives nothing, and tells what it saw."""

import asyncio
import base64
import email
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from switch.pki import Authority

USER, PASSWORD = "mailer", "mail-password"
_PATH = re.compile(rb"(?:MAIL FROM|RCPT TO):<([^<>\s@]+@[^<>\s@]+)>(?: .*)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Received:
    sender: str
    to: str
    mail: EmailMessage
    raw: bytes


@dataclass
class MailServer:
    """offers_tls: STARTTLS among its extensions. answers: by command ("RCPT" …), in place of its own, while there are
    any. faults: what a client did that it may not.
    """

    tls: ssl.SSLContext
    root: Path
    offers_tls: bool = True
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    dialogues: list[list[str]] = field(default_factory=list)
    port: int = 0
    hangs: set[str] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _server: Any = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.released.set()
        self._server.close()
        await self._server.wait_closed()

    def client_tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Dialogue(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


class _Dialogue:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._greeted = self._secure = self._known = False
        self._sender = self._to = ""
        self._said: list[str] = []
        server.dialogues.append(self._said)

    async def run(self) -> None:
        await self._answer("CONNECT", b"220 mail.example ESMTP")
        while line := await self._line():
            verb = line.split(b" ")[0].split(b":")[0].upper().decode()
            self._said.append(verb)
            if verb == "QUIT":
                await self._answer(verb, b"221 bye")
                return
            handler: Callable[[bytes], Any] | None = getattr(self, f"_{verb.lower()}", None)
            if handler is None:
                await self._fault(f"unknown {verb}", b"500 what?")
            else:
                await handler(line)

    async def _line(self) -> bytes:
        line = await self._reader.readline()
        if line and (not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\n" in line[:-2] or len(line) > 512):
            self._server.faults.append("a line that is none")
        return line.removesuffix(b"\r\n")

    async def _answer(self, verb: str, usual: bytes) -> bytes:
        if verb in self._server.hangs:
            await self._server.released.wait()
            raise ConnectionError
        planned = self._server.answers.get(verb)
        answer = planned.pop(0) if planned else usual
        self._writer.write(answer + b"\r\n")
        await self._writer.drain()
        return answer

    async def _fault(self, what: str, answer: bytes) -> None:
        self._server.faults.append(what)
        await self._answer("FAULT", answer)

    async def _ehlo(self, line: bytes) -> None:
        if len(line.split(b" ")) != 2:
            await self._fault("EHLO without a name", b"501 who?")
            return
        self._greeted = True
        extensions = [b"mail.example", b"SIZE 1000000"]
        if self._server.offers_tls and not self._secure:
            extensions.append(b"STARTTLS")
        if self._secure:
            extensions.append(b"AUTH PLAIN")
        lines = [b"250-" + each for each in extensions[:-1]] + [b"250 " + extensions[-1]]
        await self._answer("EHLO", b"\r\n".join(lines))

    async def _starttls(self, line: bytes) -> None:
        if self._secure or not self._greeted:
            await self._fault("STARTTLS out of order", b"503 not now")
            return
        if (await self._answer("STARTTLS", b"220 go ahead")).startswith(b"220"):
            await self._writer.start_tls(self._server.tls)
            self._secure, self._greeted = True, False

    async def _auth(self, line: bytes) -> None:
        if not (self._secure and self._greeted) or self._known:
            await self._fault("AUTH out of order", b"503 not now")
            return
        expected = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        if line != b"AUTH PLAIN " + expected:
            await self._answer("AUTH", b"535 no")
            return
        self._known = (await self._answer("AUTH", b"235 yes")).startswith(b"235")

    async def _mail(self, line: bytes) -> None:
        found = _PATH.fullmatch(line)
        if found is None or not self._known or not self._greeted:
            await self._fault("MAIL out of order", b"503 not now")
        elif (await self._answer("MAIL", b"250 ok")).startswith(b"250"):
            self._sender = found[1].decode()

    async def _rcpt(self, line: bytes) -> None:
        found = _PATH.fullmatch(line)
        if found is None or not self._sender:
            await self._fault("RCPT out of order", b"503 not now")
        elif (await self._answer("RCPT", b"250 ok")).startswith(b"250"):
            self._to = found[1].decode()

    async def _data(self, line: bytes) -> None:
        if not self._to or line.upper() != b"DATA":
            await self._fault("DATA out of order", b"503 not now")
            return
        if not (await self._answer("DATA", b"354 go ahead")).startswith(b"354"):
            return
        text = await self._reader.readuntil(b"\r\n.\r\n")
        body = text[:-3]
        if b"\n" in body.replace(b"\r\n", b"") or any(len(each) > 998 for each in body.split(b"\r\n")):
            self._server.faults.append("a text that is none")
        if (await self._answer("END", b"250 taken")).startswith(b"250"):
            raw = body.replace(b"\r\n..", b"\r\n.")
            mail = email.message_from_bytes(raw, policy=default)
            assert isinstance(mail, EmailMessage)
            self._server.received.append(Received(self._sender, self._to, mail, raw))
        self._sender = self._to = ""

    async def _rset(self, line: bytes) -> None:
        self._sender = self._to = ""
        await self._answer("RSET", b"250 ok")


def mail_server(folder: Path) -> MailServer:
    """With a certificate for localhost of an authority of its own."""
    authority = Authority(folder)
    root = authority.ensure()
    pair = authority.server()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.private_key)
    return MailServer(tls, root)
