"""`payswitch messages`: deliver what users are told. Commands import what they run when they run."""

from pathlib import Path
from typing import Annotated

import typer

messages_app = typer.Typer(
    name="messages", help="Users' e-mails and short messages: codes and alerts.", pretty_exceptions_show_locals=False,
)  # fmt: skip


@messages_app.callback()
def _messages() -> None:
    """Keeps `send` a command of its own, though it is the only one."""


@messages_app.command()
def send(
    once: Annotated[bool, typer.Option("--once", help="What waits now, then end.")] = False,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="In place of PAYSWITCH_STATE_DIR.", show_default=False)
    ] = None,
) -> None:
    """Take messages from a running switch, as its participant messenger/…, and deliver them, until SIGTERM or SIGINT.

    E-mails by SMTP (messages.smtp), short messages by a signed hook (messages.sms_url): docs/messages.md. Any number
    may run; each message is one's for a minute. Exit code: 0 ended, 2 the settings are wrong, 3 (--once) the switch
    cannot be asked.
    """
    from switch.messenger.command import main

    raise typer.Exit(main(state_dir, once=once))
