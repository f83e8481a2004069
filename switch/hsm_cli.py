"""`payswitch hsm`: the HSM's own commands. Each imports what it runs only when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from hsm.roles import Role

hsm_app = typer.Typer(name="hsm", help="The HSM: processes that hold the keys, apart from the switch.")


@hsm_app.callback()
def group() -> None:
    """A group, however many commands it has."""


@hsm_app.command()
def serve(
    socket: Annotated[Path, typer.Option(help="The socket to make, in a directory of this user's alone.")],
    only: Annotated[Role, typer.Option(help="Which commands: all, all but signatures (fast), signatures (slow).")] = (
        Role.ALL
    ),
    token_dir: Annotated[
        Path | None, typer.Option(help="In place of PAYSWITCH_HSM__TOKEN_DIR.", show_default=False)
    ] = None,
    admit: Annotated[
        list[str] | None, typer.Option(help="A further user that may connect, by name or id.", show_default=False)
    ] = None,
) -> None:
    """Run one HSM process until SIGTERM or SIGINT; SIGHUP reloads the keys.

    The switch starts its own, unless `hsm.sockets` names those that run already. For production see
    deploy/systemd/payswitch-hsm@.service, which needs none of the switch's settings.
    """
    from hsm.serve import main
    from switch.config import ConfigurationError, load

    try:
        settings = load()
    except ConfigurationError as error:
        typer.echo(f"payswitch: {error}", err=True)
        raise typer.Exit(2) from None
    arguments = ["--directory", str(token_dir or settings.token_dir), "--socket", str(socket), "--only", only.value]
    if settings.hsm.module:
        arguments += ["--module", settings.hsm.module]
    for user in admit or []:
        arguments += ["--admit", user]
    raise typer.Exit(main(arguments))
