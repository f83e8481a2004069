"""One e-mail by SMTP submission (RFC 6409), over TLS: a connection of its own, in a thread, bounded in time as a whole.

The standard library's client blocks, so each attempt has a thread. A server that keeps silent is given up at the
deadline; nothing is handed over before TLS, whatever the server offers.
"""

import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from switch.messenger.outcome import Fate, Outcome, Post
from switch.messenger.texts import text_of


@dataclass(frozen=True, slots=True)
class MailSettings:
    """security: "starttls", "tls" from the first byte, or "none". user: "": no AUTH. sender: of From and MAIL FROM."""

    host: str
    port: int
    security: str
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 20.0
    tls: ssl.SSLContext | None = None


def mail_of(post: Post, sender: str) -> EmailMessage:
    """The same Message-ID whenever it is sent, so that a mailbox shows a repeat once. Raises KeyError, ValueError."""
    text = text_of(post.kind, post.code, post.alert)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = post.to.text
    mail["Subject"] = text.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(post.created_time_ms / 1000, UTC))
    mail["Message-ID"] = f"<{post.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers of absence
    mail.set_content(text.body, cte="base64")  # also past servers that know no 8BITMIME
    return mail


class MailSender:
    """send: blocks; run it in a thread."""

    def __init__(self, settings: MailSettings, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic_s = monotonic_s

    def send(self, post: Post) -> Outcome:
        """Never raises for what the server or the network does."""
        try:
            mail = mail_of(post, self._settings.sender)
        except (KeyError, ValueError) as error:
            return Outcome(Fate.NEVER, f"not-writable {type(error).__name__}")
        try:
            return _Attempt(self._settings, self._monotonic_s).hand_over(post.to.text, mail.as_bytes())
        except smtplib.SMTPAuthenticationError as error:
            return Outcome(Fate.LATER, f"authentication {error.smtp_code}")
        except smtplib.SMTPNotSupportedError:
            return Outcome(Fate.LATER, "not-supported")  # no STARTTLS, no AUTH: nothing is sent without
        except smtplib.SMTPResponseException as error:
            return Outcome(Fate.LATER, f"answer {error.smtp_code}")
        except ssl.SSLError:
            return Outcome(Fate.LATER, "tls")
        except TimeoutError:
            return Outcome(Fate.LATER, "timeout")
        except (OSError, smtplib.SMTPException, ValueError) as error:
            if isinstance(error.__context__, TimeoutError):  # the client calls a time-out a disconnection
                return Outcome(Fate.LATER, "timeout")
            return Outcome(Fate.LATER, f"connection {type(error).__name__}")


_TEMPORARY: Final = range(400, 500)
_REFUSED: Final = range(500, 600)


class _Attempt:
    def __init__(self, settings: MailSettings, monotonic_s: Callable[[], float]) -> None:
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._until_s = monotonic_s() + settings.timeout_s

    def hand_over(self, to: str, data: bytes) -> Outcome:
        settings = self._settings
        tls = settings.tls or ssl.create_default_context()
        host, port, name = settings.host, settings.port, settings.sender.rpartition("@")[2]
        client = (
            smtplib.SMTP_SSL(host, port, name, timeout=self._left_s(), context=tls)
            if settings.security == "tls"
            else smtplib.SMTP(host, port, name, timeout=self._left_s())
        )
        try:
            self._greet(client)
            if settings.security == "starttls":
                self._bound(client)
                client.starttls(context=tls)
                self._greet(client)
            if settings.user:
                self._bound(client)
                client.login(settings.user, settings.password)
            return self._envelope(client, to, data)
        finally:
            client.close()

    def _envelope(self, client: smtplib.SMTP, to: str, data: bytes) -> Outcome:
        self._bound(client)
        _expect(client.mail(self._settings.sender), 250)
        self._bound(client)
        code, _ = client.rcpt(to)
        if code in _REFUSED:
            return Outcome(Fate.NEVER, f"recipient {code}")
        if code in _TEMPORARY:
            return Outcome(Fate.LATER, f"recipient {code}")
        self._bound(client)
        try:
            code, _ = client.data(data)
        except smtplib.SMTPDataError as error:
            code = error.smtp_code
        if code != 250:
            return Outcome(Fate.NEVER if code in _REFUSED else Fate.LATER, f"data {code}")
        self._say_goodbye(client)
        return Outcome(Fate.DELIVERED)

    def _say_goodbye(self, client: smtplib.SMTP) -> None:
        """It is delivered, whatever comes of this."""
        try:
            self._bound(client)
            client.quit()
        except (OSError, smtplib.SMTPException):
            pass

    def _greet(self, client: smtplib.SMTP) -> None:
        self._bound(client)
        _expect(client.ehlo(), 250)

    def _bound(self, client: smtplib.SMTP) -> None:
        """Each answer has what is left of the whole."""
        if client.sock is not None:
            client.sock.settimeout(self._left_s())

    def _left_s(self) -> float:
        left_s = self._until_s - self._monotonic_s()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def _expect(answer: tuple[int, bytes], code: int) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)
