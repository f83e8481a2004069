"""The wiring of `payswitch messages send`."""

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Any

import grpc.aio
import structlog
import typer

from payswitch.v1.user_pb2_grpc import UserServiceStub
from switch import pki
from switch.client.connection import ClientCredentials, open_channel
from switch.config import ConfigurationError, Settings, load, split_address
from switch.domain.refusals import Invalid
from switch.messenger.delivery import DeadLetters, Delivery, Ways
from switch.messenger.mail import MailSender, MailSettings
from switch.messenger.short_message import ShortMessageSender
from switch.ops import logs

log = structlog.get_logger()

EXIT_USAGE, EXIT_UNREACHABLE = 2, 3


def main(state_dir: Path | None, *, once: bool) -> int:
    overrides: dict[str, Any] = {} if state_dir is None else {"state_dir": state_dir}
    try:
        settings = load(**overrides)
        if not settings.messages.smtp and not settings.messages.sms_url:
            raise ConfigurationError("messages.smtp or messages.sms_url (PAYSWITCH_MESSAGES__…) must say how")
        logs.configure(settings.operations.log_level)
        return asyncio.run(_run(settings, once))
    except (ConfigurationError, Invalid, pki.PkiError, OSError) as error:
        typer.echo(f"payswitch: {error}", err=True)
        return EXIT_USAGE


async def _run(settings: Settings, once: bool) -> int:
    section = settings.messages
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    ways = _ways(settings)
    async with open_channel(section.switch or settings.listen, _credentials(settings), None) as channel:
        dead = DeadLetters(settings.dead_messages_path)
        stub = UserServiceStub(channel)  # type: ignore[no-untyped-call]
        delivery = Delivery(stub, ways, dead, section.at_once)
        try:
            if not once:
                log.info("messages_are_taken", switch=section.switch or settings.listen)
                await delivery.run(stopping)
            else:
                while await delivery.step() and not stopping.is_set():
                    pass
        except grpc.aio.AioRpcError as error:
            typer.echo(f"payswitch: the switch does not give messages: {error.code().name}", err=True)
            return EXIT_UNREACHABLE
        finally:
            if ways.short is not None:
                await ways.short.close()
    return 0


def _ways(settings: Settings) -> Ways:
    section, timeout_s = settings.messages, settings.messages.timeout_ms / 1000
    tls = ssl.create_default_context(cafile=section.ca) if section.ca else None
    mail = short = None
    if section.smtp:
        host, port = split_address(section.smtp)
        password = section.smtp_password.get_secret_value()
        mail = MailSender(
            MailSettings(
                host, port, section.smtp_security, section.mail_from, section.smtp_user, password, timeout_s, tls
            )
        )
    if section.sms_url:
        short = ShortMessageSender(section.sms_url, section.sms_secret.get_secret_value(), timeout_s, tls)
    return Ways(mail, short)


def _credentials(settings: Settings) -> ClientCredentials:
    """The files that were named, or what the development authority issues."""
    section = settings.messages
    if section.certificate:
        certificate, private_key = Path(section.certificate), Path(section.private_key)
        return ClientCredentials(settings.ca_path.read_bytes(), certificate.read_bytes(), private_key.read_bytes())
    authority = pki.Authority(settings.state_dir / "pki")
    pair = authority.participant("messenger", "sender")
    return ClientCredentials(
        authority.ensure().read_bytes(), pair.certificate.read_bytes(), pair.private_key.read_bytes()
    )
